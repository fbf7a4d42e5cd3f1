//! Due times of every IANA zone whose clocks were changed in 2022 to 2026, against a walker that goes through those five
//! years minute by minute.
//!
//! The walker knows nothing of the implementation: it reads crontab fields by itself, asks the zone only what its clocks
//! show at an instant, and marks every local minute when clocks first reach or pass it. Every zone meets every pattern; rare
//! due times are all compared, frequent ones around each change of clocks and at random minutes (the seed is printed).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike};
use chrono_tz::{TZ_VARIANTS, Tz};
use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::schedule::Cadence;

const FROM: i64 = 1_640_995_200 / 60; // 2022-01-01 00:00 UTC, in minutes
const UNTIL: i64 = 1_798_761_600 / 60; // 2027-01-01 00:00 UTC
const MARGIN: i64 = 2 * 24 * 60;

/// At most 64: the walker keeps the patterns that fit a minute in one word.
const PATTERNS: [&str; 56] = [
    "* * * * *",
    "*/2 * * * *",
    "*/5 * * * *",
    "*/7 * * * *",
    "*/15 * * * *",
    "3-59/20 * * * *",
    "0 * * * *",
    "30 * * * *",
    "59 * * * *",
    "0,1,59 * * * *",
    "0 */2 * * *",
    "0 */3 * * *",
    "45 1-23/2 * * *",
    "*/10 9-17 * * mon-fri",
    "*/30 0-3 * * *",
    "0 0 * * *",
    "1 0 * * *",
    "30 0 * * *",
    "59 0 * * *",
    "0 1 * * *",
    "15 1 * * *",
    "30 1 * * *",
    "59 1 * * *",
    "0 2 * * *",
    "1 2 * * *",
    "15 2 * * *",
    "30 2 * * *",
    "45 2 * * *",
    "59 2 * * *",
    "0 3 * * *",
    "30 3 * * *",
    "0 4 * * *",
    "0 23 * * *",
    "30 23 * * *",
    "59 23 * * *",
    "*/20 2 * * sun",
    "*/15 1,2 * * sun",
    "30 1 * * 1-5",
    "30 1 * * 6,0",
    "30 2 * 3,10 sun",
    "0 0 * * 0",
    "0 0 * * 7",
    "0 12 * * fri-sun",
    "0 0 1 * *",
    "30 2 1 * *",
    "0 0 15 * *",
    "0 0 31 * *",
    "0 6 28-31 * *",
    "30 2 29 2 *",
    "0 0 1 1 *",
    "0 0 1 */3 *",
    "15 10 1-7 * mon",
    "0 0 13 * fri",
    "30 2 */2 * sun",
    "0 2 25-31 3,10 *",
    "0 0 29 feb mon",
];
/// The first so many are compared near changed clocks and at random; of the others every due time is compared.
const FREQUENT: usize = 39;

#[test]
fn every_zone_and_pattern_agrees_with_a_walk_through_every_minute_of_five_years() {
    let seed = Clock::system().now().as_ms().unsigned_abs();
    println!("seed {seed}");
    let fits = minutes_and_what_fits_them();
    let groups = zones_by_their_clocks();
    let zones: usize = groups.iter().map(Vec::len).sum();
    assert!(zones > 150, "only {zones} zones change their clocks");

    let (next, compared) = (AtomicUsize::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(zones) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut walk = Walk::new(zones, &fits, Entropy::seeded(seed));
                    walk.go();
                    let met = walk.asked.iter().filter(|asked| asked.compared > 0).count();
                    assert_eq!(met, zones.len() * PATTERNS.len(), "{zones:?} met all patterns");
                    compared.fetch_add(walk.asked.iter().map(|asked| asked.compared).sum(), Ordering::Relaxed);
                }
            });
        }
    });
    let (compared, walks) = (compared.into_inner(), groups.len());
    println!("{zones} zones in {walks} walks, {} patterns, {compared} due times", PATTERNS.len());
    assert!(compared > 50 * (zones * PATTERNS.len()) as u64, "only {compared} due times were compared");
}

/// One walk with all patterns, for all zones whose clocks show the same.
struct Walk<'a> {
    zone: Tz,
    fits: &'a [u64],
    /// Half hours in which clocks are changed, the next one last.
    changes: Vec<i64>,
    /// For each pattern all zones, so that `asked[n * zones ..][.. zones]` is what is asked of pattern n.
    asked: Vec<Asked>,
    zones: usize,
    /// The patterns of which a due time was said and not yet walked to.
    waiting: u64,
    entropy: Entropy,
}

/// The implementation's part: one pattern in one zone.
struct Asked {
    cadence: Cadence,
    /// The next due minute, where it was asked.
    said: Option<i64>,
    compared: u64,
}

impl<'a> Walk<'a> {
    fn new(zones: &[Tz], fits: &'a [u64], entropy: Entropy) -> Self {
        let cadence = |cron, zone: &Tz| Cadence::cron(cron, zone.name()).unwrap();
        let asked = PATTERNS.iter().flat_map(|cron| zones.iter().map(move |zone| cadence(cron, zone)));
        let asked = asked.map(|cadence| Asked { cadence, said: None, compared: 0 }).collect();
        let changes = changes(&offsets(zones[0])).into_iter().rev().collect();
        Self { zone: zones[0], fits, changes, asked, zones: zones.len(), waiting: 0, entropy }
    }

    fn go(&mut self) {
        let mut earliest = self.ask_and_compare(FROM, 0, true);
        let mut lucky = FROM;
        // The furthest that clocks have shown so far: a minute counts when they first reach or pass it.
        let mut furthest = shown(self.zone, FROM);
        for minute in FROM + 1..UNTIL {
            let shown = shown(self.zone, minute);
            let mut fit = 0;
            while furthest < shown {
                furthest += 1;
                fit |= self.fits[(furthest - FROM + MARGIN) as usize];
            }
            let ask = minute == lucky || self.near_change(minute);
            if minute >= lucky {
                lucky = minute + 1 + self.entropy.below(65_536) as i64;
            }
            if ask || minute >= earliest || fit & self.waiting != 0 {
                earliest = self.ask_and_compare(minute, fit, ask);
            }
        }
    }

    /// True within two and a half hours; moves on to the next change when this one is past.
    fn near_change(&mut self, minute: i64) -> bool {
        if self.changes.last().is_some_and(|change| change + 150 < minute) {
            self.changes.pop();
        }
        self.changes.last().is_some_and(|change| change - 150 < minute)
    }

    /// Compares what was said with what the walk has found, asks again, and answers the earliest minute that was said.
    fn ask_and_compare(&mut self, minute: i64, fit: u64, ask: bool) -> i64 {
        self.waiting = 0;
        let mut earliest = UNTIL;
        for n in 0..PATTERNS.len() {
            for asked in &mut self.asked[n * self.zones..][..self.zones] {
                asked.compare(minute, fit >> n & 1 == 1);
                if asked.said.is_none() && (ask || n >= FREQUENT) {
                    asked.ask(minute);
                }
                if let Some(said) = asked.said {
                    self.waiting |= 1 << n;
                    earliest = earliest.min(said);
                }
            }
        }
        earliest
    }
}

impl Asked {
    fn ask(&mut self, minute: i64) {
        let next = self.cadence.next_after(Timestamp::from_ms(minute * 60_000));
        self.said = next.map(|due| {
            assert_eq!(due.as_ms() % 60_000, 0, "{}", self.cadence);
            due.as_ms() / 60_000
        });
    }

    fn compare(&mut self, minute: i64, due: bool) {
        let Some(said) = self.said.filter(|said| due || *said <= minute) else { return };
        assert!(due && said == minute, "{}: walked to {}, said {}", self.cadence, utc(minute), utc(said));
        self.said = None;
        self.compared += 1;
    }
}

/// All zones whose clocks were changed in these years; those in one group have shown the same in every half hour.
fn zones_by_their_clocks() -> Vec<Vec<Tz>> {
    let mut groups: BTreeMap<Vec<i64>, Vec<Tz>> = BTreeMap::new();
    for zone in TZ_VARIANTS {
        let offsets = offsets(zone);
        if !changes(&offsets).is_empty() {
            groups.entry(offsets).or_default().push(zone);
        }
    }
    groups.into_values().collect()
}

fn offsets(zone: Tz) -> Vec<i64> {
    (FROM..UNTIL).step_by(30).map(|minute| shown(zone, minute) - minute).collect()
}

/// The half hours in which clocks have been changed.
fn changes(offsets: &[i64]) -> Vec<i64> {
    let changed = offsets.windows(2).enumerate().filter(|(_, pair)| pair[0] != pair[1]);
    changed.map(|(n, _)| FROM + 30 * (n as i64 + 1)).collect()
}

/// What the zone's clocks show, as minutes since 1970 on their own line.
fn shown(zone: Tz, minute: i64) -> i64 {
    let offset = zone.offset_from_utc_datetime(&utc(minute)).fix().local_minus_utc();
    minute + i64::from(offset.div_euclid(60))
}

fn utc(minute: i64) -> NaiveDateTime {
    DateTime::from_timestamp(minute * 60, 0).unwrap().naive_utc()
}

/// For each local minute from [`MARGIN`] before to [`MARGIN`] after the five years, the patterns that fit it.
fn minutes_and_what_fits_them() -> Vec<u64> {
    let patterns = PATTERNS.map(Crontab::read);
    let minutes = FROM - MARGIN..UNTIL + MARGIN;
    let day_of = |minute: i64| patterns.iter().map(|p| p.fits_day(utc(minute))).collect::<Vec<_>>();
    let mut days = Vec::new();
    let fit = minutes.map(|minute| {
        if minute % 1440 == 0 {
            days = day_of(minute);
        }
        let (hour, minute) = (minute / 60 % 24, minute % 60);
        let fits = |(n, p): (usize, &Crontab)| days[n] && p.hours >> hour & 1 == 1 && p.minutes >> minute & 1 == 1;
        (0..PATTERNS.len()).filter(|n| fits((*n, &patterns[*n]))).fold(0, |word, n| word | 1 << n)
    });
    fit.collect()
}

/// A crontab line read in the plainest way: a bit for each number that fits.
struct Crontab {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    either: bool,
}

impl Crontab {
    fn read(text: &str) -> Self {
        let fields: Vec<&str> = text.split(' ').collect();
        let weekdays = bits(fields[4], 0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);
        let months = ["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        Self {
            minutes: bits(fields[0], 0, 59, &[]),
            hours: bits(fields[1], 0, 23, &[]),
            days: bits(fields[2], 1, 31, &[]),
            months: bits(fields[3], 1, 12, &months),
            weekdays: weekdays | weekdays >> 7,
            either: !fields[2].starts_with('*') && !fields[4].starts_with('*'),
        }
    }

    fn fits_day(&self, day: NaiveDateTime) -> bool {
        let day_of_month = self.days >> day.day() & 1 == 1;
        let weekday = self.weekdays >> day.weekday().num_days_from_sunday() & 1 == 1;
        let day_fits = if self.either { day_of_month || weekday } else { day_of_month && weekday };
        day_fits && self.months >> day.month() & 1 == 1
    }
}

fn bits(field: &str, min: usize, max: usize, names: &[&str]) -> u64 {
    let number = |text: &str| names.iter().position(|name| *name == text).unwrap_or_else(|| text.parse().unwrap());
    let item = |item: &str| {
        let (range, step) = item.split_once('/').map_or((item, 1), |(range, step)| (range, step.parse().unwrap()));
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (min, max),
            Some((first, "sun")) => (number(first), 7),
            Some((first, last)) => (number(first), number(last)),
            None => (number(range), number(range)),
        };
        (first..=last).step_by(step).fold(0, |word, n| word | 1_u64 << n)
    };
    field.split(',').map(item).fold(0, |word, more| word | more)
}

#[test]
fn seconds_agree_with_a_walk_through_every_second_around_changed_clocks() {
    for zone in [Tz::Europe__Berlin, Tz::America__New_York, Tz::Australia__Lord_Howe, Tz::America__Sao_Paulo] {
        for change in changes(&offsets(zone)).into_iter().take(4) {
            for (cron, seconds, minutes) in
                [("*/10 * * * * *", 10, 1), ("30 */7 * * * *", 60, 7), ("* 0 * * * *", 1, 60), ("7 30 * * * *", 60, 30)]
            {
                walk_seconds(zone, change * 60, cron, |shown| match cron {
                    "30 */7 * * * *" => shown.second() == 30 && shown.minute() % minutes == 0,
                    "7 30 * * * *" => shown.second() == 7 && shown.minute() == minutes,
                    _ => shown.second() % seconds == 0 && shown.minute() % minutes == 0,
                });
            }
        }
    }
}

fn walk_seconds(zone: Tz, around: i64, cron: &str, fits: impl Fn(NaiveDateTime) -> bool) {
    let cadence = Cadence::cron(cron, zone.name()).unwrap();
    let shown =
        |second: i64| zone.from_utc_datetime(&DateTime::from_timestamp(second, 0).unwrap().naive_utc()).naive_local();
    let (from, until) = (around - 3 * 3600, around + 2 * 3600);
    let mut furthest = shown(from);
    let mut said = cadence.next_after(Timestamp::from_ms(from * 1000));
    for second in from + 1..until {
        let mut due = false;
        while furthest < shown(second) {
            furthest += TimeDelta::seconds(1);
            due |= fits(furthest);
        }
        if due {
            let now = Timestamp::from_ms(second * 1000);
            assert_eq!(said, Some(now), "`{cron}` in {zone}");
            said = cadence.next_after(now);
        }
    }
    assert!(said > Some(Timestamp::from_ms((until - 1) * 1000)), "`{cron}` in {zone}: {said:?} was not walked");
}
