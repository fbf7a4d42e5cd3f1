//! How many requests are let in: one token bucket for each source and one for all of them together, asked before anything of a
//! request but its head is read.
//!
//! In this process and in memory only: a number for each bucket, as many buckets as there are sources. Time comes in as a
//! parameter and only ever measures how long ago something was. What one source is refused takes nothing from the others.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderName, HeaderValue};

use super::source::Sources;
use crate::config::ingress::{IngressConfig, RateConfig};
use crate::problem::Problem;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// All buckets.
#[derive(Debug)]
pub(super) struct Throttle {
    began: Instant,
    whole: Bucket,
    sources: BTreeMap<String, Bucket>,
}

/// Which bucket was empty, and for how long it stays so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limited {
    /// `source` or `all`.
    policy: &'static str,
    rate: RateConfig,
    wait: Duration,
}

#[derive(Debug)]
struct Bucket {
    rate: RateConfig,
    /// The time for one token.
    each: Duration,
    /// When the bucket will be full again, counted from [`Throttle::began`].
    full_at: Mutex<Duration>,
}

impl Throttle {
    pub(super) fn new(config: &IngressConfig, sources: &Sources, now: Instant) -> Self {
        let rate = |name: &str| config.sources.get(name).map_or_else(RateConfig::for_a_source, |source| source.rate);
        Self {
            began: now,
            whole: Bucket::new(config.rate),
            sources: sources.names().map(|name| (name.to_owned(), Bucket::new(rate(name)))).collect(),
        }
    }

    /// Lets one request in. A name that no source has is counted in the whole alone.
    pub(super) fn admit(&self, source: &str, now: Instant) -> Result<(), Limited> {
        let now = now.saturating_duration_since(self.began);
        let limited = |policy, bucket: &Bucket, wait| Limited { policy, rate: bucket.rate, wait };
        // Nothing panics while a lock is held, and a number can't be half written. Always in this order: whole, then source.
        let mut whole = self.whole.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.sources.get(source);
        let mut own = own.map(|bucket| (bucket, bucket.full_at.lock().unwrap_or_else(PoisonError::into_inner)));
        if let Some((bucket, full_at)) = &own {
            bucket.look(**full_at, now).map_err(|wait| limited("source", bucket, wait))?;
        }
        *whole = self.whole.look(*whole, now).map_err(|wait| limited("all", &self.whole, wait))?;
        if let Some((bucket, full_at)) = &mut own {
            **full_at = bucket.after_one(**full_at, now);
        }
        Ok(())
    }
}

impl Bucket {
    fn new(rate: RateConfig) -> Self {
        let each = Duration::from_nanos(1_000_000_000 / rate.per_second.max(1));
        Self { rate, each, full_at: Mutex::new(Duration::ZERO) }
    }

    /// When it will be full again with one token less, or how long until it has one.
    fn look(&self, full_at: Duration, now: Duration) -> Result<Duration, Duration> {
        let next = self.after_one(full_at, now);
        match next.checked_sub(now + self.capacity()) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(next),
        }
    }

    fn after_one(&self, full_at: Duration, now: Duration) -> Duration {
        full_at.max(now) + self.each
    }

    /// The time in which an empty bucket fills.
    fn capacity(&self) -> Duration {
        self.each * u32::try_from(self.rate.burst()).unwrap_or(u32::MAX)
    }
}

impl Limited {
    /// 429 with `Retry-After` and the RateLimit fields (draft-ietf-httpapi-ratelimit-headers).
    pub(super) fn into_problem(self) -> Problem {
        let burst = self.rate.burst();
        let seconds = self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0);
        let window = burst.div_ceil(self.rate.per_second.max(1)).max(1);
        let detail = match self.policy {
            "source" => "this source sends more than it may; try the same request again later",
            _ => "more webhooks come in than are taken; try the same request again later",
        };
        let mut problem = Problem::too_many(detail, self.wait);
        let fields = [
            (POLICY, format!("\"{}\";q={burst};w={window}", self.policy)),
            (LIMIT, format!("\"{}\";r=0;t={}", self.policy, seconds.max(1))),
        ];
        for (name, text) in fields {
            if let Ok(value) = HeaderValue::from_str(&text) {
                problem = problem.header(name, value);
            }
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn throttle(all: (u64, u64), source: (u64, u64)) -> (Throttle, Instant) {
        let config: IngressConfig = serde_json::from_value(serde_json::json!({
            "rate": { "per_second": all.0, "burst": all.1 },
            "sources": {
                "a": { "scheme": "stripe", "secret_env": "S", "rate": { "per_second": source.0, "burst": source.1 } },
                "b": { "scheme": "stripe", "secret_env": "S" },
            },
        }))
        .unwrap();
        let env = |name: &str| ["S", "STRIPE_WEBHOOK_SECRET"].contains(&name).then(|| "whsec_secret".to_owned());
        let sources = Sources::resolve(&config, &env).unwrap();
        let now = Instant::now();
        (Throttle::new(&config, &sources, now), now)
    }

    fn admitted(throttle: &Throttle, source: &str, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| throttle.admit(source, now).is_ok()).count()
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let (throttle, start) = throttle((1_000, 1_000), (10, 5));
        assert_eq!(admitted(&throttle, "a", start, 50), 5);
        let mut got = 0;
        for step in 1..=100 {
            got += admitted(&throttle, "a", start + Duration::from_millis(step * 10), 50);
        }
        assert_eq!(got, 10, "ten in the second after");
        assert_eq!(
            admitted(&throttle, "a", start + Duration::from_secs(3_600), 50),
            5,
            "it holds no more than its burst"
        );
    }

    #[test]
    fn after_the_wait_that_was_said_there_is_a_token_and_not_before() {
        let (throttle, start) = throttle((1_000, 1_000), (3, 2));
        assert_eq!(admitted(&throttle, "a", start, 9), 2);
        let wait = throttle.admit("a", start).unwrap_err().wait;
        assert!(throttle.admit("a", start + wait - Duration::from_nanos(1)).is_err());
        assert!(throttle.admit("a", start + wait).is_ok());
    }

    #[test]
    fn a_source_that_is_refused_takes_nothing_from_the_others() {
        let (throttle, start) = throttle((10, 10), (1, 1));
        assert_eq!(admitted(&throttle, "a", start, 1_000), 1);
        assert_eq!(admitted(&throttle, "b", start, 1_000), 9, "what is left of the whole");
        let limited = throttle.admit("b", start).unwrap_err();
        assert_eq!(limited.policy, "all");
    }

    #[test]
    fn names_that_nobody_has_are_bounded_together_and_kept_nowhere() {
        let (throttle, start) = throttle((10, 10), (1, 1));
        let got = (0..1_000).filter(|n| throttle.admit(&format!("x{n}"), start).is_ok()).count();
        assert_eq!((got, throttle.sources.len()), (10, 3));
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_gives_nothing_away() {
        let (throttle, start) = throttle((100, 100), (10, 5));
        let later = start + Duration::from_secs(5);
        assert_eq!(admitted(&throttle, "a", later, 50), 5);
        assert_eq!(admitted(&throttle, "a", start, 50), 0);
        assert_eq!(admitted(&throttle, "a", later, 50), 0);
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let (throttle, start) = throttle((1_000, 1_000), (1, 3));
        admitted(&throttle, "a", start, 3);
        let response = throttle.admit("a", start).unwrap_err().into_problem().into_response();
        assert_eq!(response.status(), 429);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("retry-after"), "1");
        assert_eq!(header("ratelimit-policy"), "\"source\";q=3;w=3");
        assert_eq!(header("ratelimit"), "\"source\";r=0;t=1");
    }
}
