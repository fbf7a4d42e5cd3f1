//! When a schedule is due: cron fields on a zone's clock, or an interval counted from 1970. Pure: no clock, no store.
//!
//! The cron fields are matched on the local time line alone; [`local_time`] then says at which instant
//! each local time counts. So the time zone handling of the `cron` crate, which drops local times that do not exist and
//! repeats those that exist twice, is never used. Intervals are multiples since the epoch, so all nodes agree.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;

use super::{InvalidPlan, cron_text, local_time, span};
use crate::clock::Timestamp;

/// The `cron` crate knows the years up to 2100; after this nothing is due any more.
const HORIZON: Timestamp = Timestamp::from_ms(4_134_067_200_000);
const EVERY_MIN: Duration = Duration::from_millis(100);
const EVERY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// When a schedule is due. Equal when written alike.
#[derive(Clone, Debug)]
pub struct Cadence(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Cron { text: String, zone: Tz, patterns: Vec<cron::Schedule> },
    Every(Duration),
}

/// How many due times lie in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// So many.
    pub(super) count: u32,
    /// The last one that was counted.
    pub(super) last: Timestamp,
    /// False: there are more, the bound was reached.
    pub(super) complete: bool,
}

impl Cadence {
    /// Cron `text` (five fields, or six with seconds first) read on the clocks of the IANA zone `zone`.
    ///
    /// Written as in a crontab: weekdays 0 to 7 with Sunday as both 0 and 7, names in English, `?` for `*` in a day field.
    /// When day of month and weekday are both restricted, a day that fits either is due, as in POSIX cron.
    ///
    /// # Errors
    /// When the text or the zone is none; says which field is wrong and what is allowed.
    pub fn cron(text: &str, zone: &str) -> Result<Self, InvalidPlan> {
        let patterns = cron_text::parse(text)?;
        let zone = zone.parse::<Tz>().map_err(|_| {
            InvalidPlan::new("time_zone", zone, "an IANA name like `Europe/Berlin`, `America/New_York` or `UTC`")
        })?;
        Ok(Self(Kind::Cron { text: text.trim().to_owned(), zone, patterns }))
    }

    /// Every multiple of `interval` since the epoch, UTC. Below a second several due times are decided together: the
    /// scheduler wakes at whole seconds.
    ///
    /// # Errors
    /// When it is shorter than 100 ms or longer than 366 days.
    pub fn every(interval: Duration) -> Result<Self, InvalidPlan> {
        // A fraction of a millisecond would be lost in every due time.
        let whole = interval.subsec_nanos().is_multiple_of(1_000_000);
        if whole && (EVERY_MIN..=EVERY_MAX).contains(&interval) {
            Ok(Self(Kind::Every(interval)))
        } else {
            let given = format!("{interval:?}");
            Err(InvalidPlan::new("every", &given, "100ms to 366d in whole milliseconds, like `500ms`, `15m` or `1h`"))
        }
    }

    /// The first due time after `at`; `None` when there is none (30 February, or after the year 2100).
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every(interval) => {
                let every = i64::try_from(interval.as_millis()).ok()?;
                at.as_ms().div_euclid(every).checked_add(1)?.checked_mul(every).map(Timestamp::from_ms)
            }
            Kind::Cron { zone, patterns, .. } => {
                // The crate knows no years before 1970.
                let at = at.max(Timestamp::from_ms(-1));
                if at > HORIZON {
                    return None;
                }
                let mut shown = local_time::shown(*zone, at)?;
                // More than one step only while clocks show an hour for the second time: its first showing counted.
                loop {
                    shown = next_fit(patterns, shown)?;
                    let due = local_time::instant(*zone, shown);
                    if due > at {
                        return Some(due);
                    }
                }
            }
        }
    }

    /// Counts the due times in (`after`, `until`], at most `max` of them unless the sum is plain arithmetic. `None`: there is none.
    pub(super) fn count(&self, after: Timestamp, until: Timestamp, max: u32) -> Option<Counted> {
        let first = self.next_after(after).filter(|due| *due <= until)?;
        if let Kind::Every(interval) = &self.0 {
            let every = i64::try_from(interval.as_millis()).ok()?;
            let more = until.as_ms().saturating_sub(first.as_ms()) / every;
            let count = u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1);
            return Some(Counted { count, last: Timestamp::from_ms(first.as_ms() + more * every), complete: true });
        }
        let mut counted = Counted { count: 1, last: first, complete: true };
        while let Some(due) = self.next_after(counted.last).filter(|due| *due <= until) {
            if counted.count >= max {
                return Some(Counted { complete: false, ..counted });
            }
            counted = Counted { count: counted.count + 1, last: due, complete: true };
        }
        Some(counted)
    }

    /// The cron text and the zone's name, or `None` for an interval.
    pub fn as_cron(&self) -> Option<(&str, &'static str)> {
        match &self.0 {
            Kind::Cron { text, zone, .. } => Some((text, zone.name())),
            Kind::Every(_) => None,
        }
    }

    /// The interval, or `None` for cron.
    pub fn as_every(&self) -> Option<Duration> {
        match &self.0 {
            Kind::Cron { .. } => None,
            Kind::Every(interval) => Some(*interval),
        }
    }
}

impl PartialEq for Cadence {
    fn eq(&self, other: &Self) -> bool {
        (self.as_cron(), self.as_every()) == (other.as_cron(), other.as_every())
    }
}

impl std::fmt::Display for Cadence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Cron { text, zone, .. } => write!(f, "{text} ({})", zone.name()),
            Kind::Every(interval) => write!(f, "every {}", span::write(*interval)),
        }
    }
}

/// The first local time after `shown` that one of the patterns fits. The crate is told that local time is UTC, which
/// has neither gaps nor repetitions.
fn next_fit(patterns: &[cron::Schedule], shown: NaiveDateTime) -> Option<NaiveDateTime> {
    let after: DateTime<Utc> = shown.and_utc();
    patterns.iter().filter_map(|p| p.after(&after).next()).min().map(|fit| fit.naive_utc())
}
