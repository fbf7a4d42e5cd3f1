//! How each source does, seen from this process: when it last spoke, how long it usually stays silent, what it was answered, and
//! how fast.
//!
//! A fixed number of bytes for each configured source. A source speaks with every event whose signature was good; what was
//! refused does not count, so a secret that was changed on one side only looks like the silence that it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::source::Sources;
use crate::clock::Timestamp;
use crate::config::ingress::SilenceConfig;

/// A source that spoke less often has no usual gap yet.
const USED_TO_SPEAK: u64 = 5;
/// The longest gap counts half after so long: a week has a weekend in it.
const HALF_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Times of answers are of the last one to two of these.
const WINDOW: Duration = Duration::from_secs(600);
/// Four steps to a doubling, from 1 µs to more than a minute.
const STEPS: usize = 27 * 4;

/// All sources.
#[derive(Debug)]
pub struct Senders {
    by_name: BTreeMap<String, Mutex<Sender>>,
    silence: SilenceConfig,
}

/// How a source does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SenderReport {
    /// Its name.
    pub source: String,
    /// Whether it speaks as it used to.
    pub voice: Voice,
    /// When its last good event came.
    pub last_at: Option<Timestamp>,
    /// The longest it usually stays silent, milliseconds; none: it has not spoken often enough.
    pub usual_gap_ms: Option<u64>,
    /// It is called silent after so many milliseconds.
    pub silent_after_ms: Option<u64>,
    /// What it was answered since this process started: `accepted`, `duplicate`, `duplicate_differs`, and reasons of refusal.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// 99 of 100 answers of the last 10 to 20 minutes came within so many milliseconds.
    pub p99_ms: Option<f64>,
}

/// Whether a source speaks as it used to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Voice {
    /// It does.
    Speaking,
    /// It has been silent for much longer than it usually is.
    Silent,
    /// It has not spoken often enough to tell.
    Unknown,
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) outcome: &'static str,
    /// Its signature was good.
    pub(super) spoke: bool,
    pub(super) took: Duration,
    pub(super) at: Timestamp,
}

#[derive(Debug, Default)]
struct Sender {
    last_at: Option<Timestamp>,
    spoken: u64,
    longest_gap: Duration,
    outcomes: BTreeMap<&'static str, u64>,
    times: Times,
}

impl Senders {
    pub(super) fn new(sources: &Sources, silence: SilenceConfig) -> Self {
        Self { by_name: sources.names().map(|name| (name.to_owned(), Mutex::default())).collect(), silence }
    }

    pub(super) fn answered(&self, source: &str, answered: Answered) {
        let Some(sender) = self.by_name.get(source) else { return };
        let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
        *sender.outcomes.entry(answered.outcome).or_insert(0) += 1;
        sender.times.note(answered.took, answered.at);
        if answered.spoke {
            sender.speak(answered.at);
        }
    }

    /// Tells when a source spoke before this process started, oldest first, so that a silence that began then is noticed.
    pub fn remember(&self, source: &str, times: impl IntoIterator<Item = Timestamp>) {
        let Some(sender) = self.by_name.get(source) else { return };
        let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
        times.into_iter().for_each(|at| sender.speak(at));
    }

    /// The sources' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// True when a source that used to speak is silent.
    pub fn degraded(&self, now: Timestamp) -> bool {
        self.by_name.values().any(|sender| {
            sender.lock().unwrap_or_else(PoisonError::into_inner).voice(self.silence, now) == Voice::Silent
        })
    }

    /// How each source does.
    pub fn reports(&self, now: Timestamp) -> Vec<SenderReport> {
        let report = |(name, sender): (&String, &Mutex<Sender>)| {
            let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
            let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            SenderReport {
                source: name.clone(),
                voice: sender.voice(self.silence, now),
                last_at: sender.last_at,
                usual_gap_ms: sender.usual_gap(now).map(ms),
                silent_after_ms: sender.silent_after(self.silence, now).map(ms),
                outcomes: sender.outcomes.clone(),
                p99_ms: sender.times.p99(now).map(|p99| p99.as_secs_f64() * 1e3),
            }
        };
        self.by_name.iter().map(report).collect()
    }
}

impl Sender {
    fn speak(&mut self, at: Timestamp) {
        if let Some(last) = self.last_at {
            let gap = at.since(last);
            self.longest_gap = faded(self.longest_gap, gap).max(gap);
        }
        self.last_at = self.last_at.max(Some(at));
        self.spoken += 1;
    }

    /// The longest gap, old ones counting less. Not the average: nights and weekends are usual too.
    fn usual_gap(&self, now: Timestamp) -> Option<Duration> {
        let last = self.last_at.filter(|_| self.spoken >= USED_TO_SPEAK)?;
        Some(faded(self.longest_gap, now.since(last)))
    }

    fn silent_after(&self, silence: SilenceConfig, now: Timestamp) -> Option<Duration> {
        let at_least = Duration::from_secs(silence.at_least_minutes * 60);
        let times = u32::try_from(silence.times_usual).unwrap_or(u32::MAX);
        Some(self.usual_gap(now)?.saturating_mul(times).max(at_least))
    }

    fn voice(&self, silence: SilenceConfig, now: Timestamp) -> Voice {
        match (self.silent_after(silence, now), self.last_at) {
            (Some(limit), Some(last)) if now.since(last) > limit => Voice::Silent,
            (Some(_), _) => Voice::Speaking,
            (None, _) => Voice::Unknown,
        }
    }
}

fn faded(gap: Duration, age: Duration) -> Duration {
    gap.mul_f64(0.5_f64.powf(age.as_secs_f64() / HALF_LIFE.as_secs_f64()))
}

/// How long answers took, in two windows: the one that is being filled and the one before.
#[derive(Debug)]
struct Times {
    began: Option<Timestamp>,
    now: [u32; STEPS],
    before: [u32; STEPS],
}

impl Default for Times {
    fn default() -> Self {
        Self { began: None, now: [0; STEPS], before: [0; STEPS] }
    }
}

impl Times {
    fn note(&mut self, took: Duration, at: Timestamp) {
        self.turn(at);
        let step = &mut self.now[step(took)];
        *step = step.saturating_add(1);
    }

    fn turn(&mut self, at: Timestamp) {
        let age = at.since(*self.began.get_or_insert(at));
        if age >= WINDOW {
            self.before = if age >= WINDOW * 2 { [0; STEPS] } else { self.now };
            (self.now, self.began) = ([0; STEPS], Some(at));
        }
    }

    fn p99(&mut self, at: Timestamp) -> Option<Duration> {
        self.turn(at);
        let counts = || self.now.iter().zip(&self.before).map(|(a, b)| u64::from(*a) + u64::from(*b));
        let all: u64 = counts().sum();
        let mut left = all.checked_mul(99)?.div_ceil(100);
        if all == 0 {
            return None;
        }
        for (step, count) in counts().enumerate() {
            if count >= left {
                return Some(upper(step));
            }
            left -= count;
        }
        None
    }
}

/// A doubling of microseconds and the quarter within it.
fn step(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
    let power = us.ilog2();
    let quarter = (us >> (power - 2)) & 3;
    ((power as usize) * 4 + usize::try_from(quarter).unwrap_or(0)).min(STEPS - 1)
}

/// Where a step ends.
fn upper(step: usize) -> Duration {
    let (power, quarter) = (step / 4, step % 4);
    Duration::from_micros((5 + quarter as u64) << power >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ingress::IngressConfig;

    const MINUTE: Duration = Duration::from_secs(60);
    const START: Timestamp = Timestamp::from_ms(1_780_000_000_000);

    fn senders() -> Senders {
        let config = IngressConfig::default();
        let env = |name: &str| (name == "STRIPE_WEBHOOK_SECRET").then(|| "whsec_secret".to_owned());
        let sources = Sources::resolve(&config, &env).unwrap();
        Senders::new(&sources, config.silence)
    }

    fn voice(senders: &Senders, at: Timestamp) -> Voice {
        senders.reports(at)[0].voice
    }

    fn speak_every(senders: &Senders, gap: Duration, times: u32) -> Timestamp {
        senders.remember("stripe", (0..times).map(|n| START.after(gap * n)));
        START.after(gap * (times - 1))
    }

    #[test]
    fn a_source_that_spoke_every_hour_is_silent_after_three_and_speaks_again_with_its_next_word() {
        let senders = senders();
        let last = speak_every(&senders, MINUTE * 60, 30);
        assert_eq!(voice(&senders, last.after(MINUTE * 175)), Voice::Speaking);
        let silent = last.after(MINUTE * 181);
        assert_eq!((voice(&senders, silent), senders.degraded(silent)), (Voice::Silent, true));
        senders.remember("stripe", [silent]);
        assert_eq!((voice(&senders, silent), senders.degraded(silent)), (Voice::Speaking, false));
    }

    #[test]
    fn a_source_that_speaks_all_the_time_is_given_ten_minutes() {
        let senders = senders();
        let last = speak_every(&senders, Duration::from_millis(10), 100);
        assert_eq!(voice(&senders, last.after(MINUTE * 10)), Voice::Speaking);
        assert_eq!(voice(&senders, last.after(MINUTE * 11)), Voice::Silent);
    }

    #[test]
    fn a_night_is_usual_for_a_source_that_works_by_day() {
        let senders = senders();
        let mut at = START;
        for _ in 0..5 {
            for _ in 0..100 {
                at = at.after(MINUTE * 5);
                senders.remember("stripe", [at]);
            }
            at = at.after(MINUTE * 60 * 15);
            assert_eq!(
                voice(&senders, at.before(MINUTE)),
                if at.since(START) > MINUTE * 1_500 { Voice::Speaking } else { Voice::Silent }
            );
        }
    }

    #[test]
    fn who_hardly_ever_spoke_is_not_missed() {
        let senders = senders();
        speak_every(&senders, MINUTE, 4);
        assert_eq!(voice(&senders, START.after(MINUTE * 100_000)), Voice::Unknown);
    }

    #[test]
    fn what_is_refused_is_counted_and_is_no_speech() {
        let senders = senders();
        let last = speak_every(&senders, MINUTE, 50);
        let later = last.after(MINUTE * 60);
        let answered = |outcome, spoke| Answered { outcome, spoke, took: Duration::from_millis(3), at: later };
        senders.answered("stripe", answered("signature", false));
        senders.answered("nobody", answered("signature", true));
        let report = &senders.reports(later)[0];
        assert_eq!((report.voice, report.last_at, report.outcomes["signature"]), (Voice::Silent, Some(last), 1));
        senders.answered("stripe", answered("accepted", true));
        assert_eq!(voice(&senders, later), Voice::Speaking);
    }

    #[test]
    fn the_p99_is_of_the_last_minutes_and_true_to_a_quarter_of_a_doubling() {
        let mut times = Times::default();
        assert_eq!(times.p99(START), None);
        for n in 0..1_000 {
            times.note(Duration::from_micros(if n < 20 { 40_000 } else { 900 }), START);
        }
        let p99 = times.p99(START).unwrap();
        assert!((Duration::from_millis(40)..Duration::from_millis(50)).contains(&p99), "{p99:?}");
        let next = START.after(WINDOW);
        assert_eq!(times.p99(next), Some(p99), "the window before still counts");
        times.note(Duration::from_millis(1), next);
        assert!(times.p99(next.after(WINDOW)).unwrap() < Duration::from_millis(2));
        assert_eq!(times.p99(next.after(WINDOW * 3)), None);
    }

    #[test]
    fn every_duration_lies_below_the_end_of_its_step() {
        let mut before = 0;
        for us in (1..100_000_u64).chain([1_000_000, 30_000_000, 67_000_000]) {
            let (took, n) = (Duration::from_micros(us), step(Duration::from_micros(us)));
            assert!(n >= before && upper(n) > took && upper(n) <= took * 5 / 4 + Duration::from_micros(4), "{us}: {n}");
            before = n;
        }
    }
}
