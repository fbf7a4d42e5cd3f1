//! When a failed job is tried again. Pure: chance comes in as [`Entropy`].

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock::{Entropy, Timestamp};

/// The wait between attempts.
#[derive(Clone, Debug, PartialEq)]
pub enum RetryPolicy {
    /// `base · 2^(attempt − 1)`, at most `cap`, then spread by ± `jitter` (0.0 to 1.0) of itself.
    Exponential {
        /// Wait after the first attempt.
        base: Duration,
        /// No wait is longer, before jitter.
        cap: Duration,
        /// Share of the wait by which it may vary to either side.
        jitter: f64,
    },
    /// `step · attempt`, at most `cap`.
    Linear {
        /// Wait after the first attempt, and what each later one adds.
        step: Duration,
        /// No wait is longer.
        cap: Duration,
    },
    /// At once.
    Immediate,
    /// The nth wait for the nth failed attempt; the last one repeats. Spread by ± `jitter`.
    List {
        /// The waits, in order; an empty list means at once.
        delays: Vec<Duration>,
        /// Share of the wait by which it may vary to either side.
        jitter: f64,
    },
}

impl Default for RetryPolicy {
    /// 1 s doubling to an hour, ± 20 %.
    fn default() -> Self {
        Self::Exponential { base: Duration::from_secs(1), cap: Duration::from_secs(3600), jitter: 0.2 }
    }
}

impl RetryPolicy {
    /// The wait after attempt number `attempt` (from 1) has failed.
    pub fn delay(&self, attempt: u32, entropy: &Entropy) -> Duration {
        let failed = attempt.max(1);
        match self {
            Self::Exponential { base, cap, jitter } => {
                let factor = 1_u32.checked_shl(failed - 1).unwrap_or(u32::MAX);
                spread(base.saturating_mul(factor).min(*cap), *jitter, entropy)
            }
            Self::Linear { step, cap } => step.saturating_mul(failed).min(*cap),
            Self::Immediate => Duration::ZERO,
            Self::List { delays, jitter } => {
                let nth = usize::try_from(failed - 1).unwrap_or(usize::MAX);
                let delay = delays.get(nth).or(delays.last()).copied().unwrap_or_default();
                spread(delay, *jitter, entropy)
            }
        }
    }
}

fn spread(delay: Duration, jitter: f64, entropy: &Entropy) -> Duration {
    let share = jitter.clamp(0.0, 1.0) * (2.0 * entropy.fraction() - 1.0);
    // `mul_f64` would panic on a wait near the end of time.
    Duration::try_from_secs_f64(delay.as_secs_f64() * (1.0 + share)).unwrap_or(Duration::MAX)
}

/// Reads a `Retry-After` value: seconds (a fraction is allowed) or an HTTP date, as a wait from `now`.
///
/// `None` when it is neither. A past date or a negative number is a wait of zero; more than `cap` is `cap`.
pub fn parse_retry_after(value: &str, now: Timestamp, cap: Duration) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        if seconds.is_nan() {
            return None;
        }
        return Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(cap).min(cap));
    }
    let at: DateTime<Utc> = httpdate::parse_http_date(value).ok()?.into();
    Some(Timestamp::from(at).since(now).min(cap))
}
