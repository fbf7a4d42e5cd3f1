//! How an endpoint is sent to: order, concurrency, rate, schedule. The same words in the configuration, the operators' API
//! and the database.

use serde::{Deserialize, Serialize};

use super::{FanoutConfig, InvalidFanoutConfig};
use crate::store::RateLimit;

/// In which order an endpoint gets its deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// As they come; one that fails is passed by the next.
    #[default]
    None,
    /// In the order in which their messages were fanned out: one at a time, and the next one waits until the former has
    /// settled (succeeded, exhausted or cancelled).
    Strict,
}

/// At most `limit` POSTs in `window_ms`, over all processes, evenly spread: at most a second's worth at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// 1 to 1,000,000.
    pub limit: u32,
    /// 1,000 to 86,400,000.
    pub window_ms: u64,
}

/// How an endpoint is sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sending {
    /// The order of its deliveries.
    pub ordering: Ordering,
    /// POSTs under way at once, over all processes, 1 to 1,000; `None`: the configured number.
    pub max_concurrency: Option<u32>,
    /// `None`: no limit.
    pub rate: Option<Rate>,
    /// Its own waits after failed attempts, as `fanout.retry_delays_ms`; `None`: the configured ones. Deliveries that are
    /// under way keep their number of attempts.
    pub retry_delays_ms: Option<Vec<u64>>,
}

impl Ordering {
    /// As it is written: `none` or `strict`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Strict => "strict",
        }
    }
}

impl Rate {
    /// As a bucket of a second's worth, so that no minute holds more than limit and that.
    pub fn bucket(self) -> RateLimit {
        let burst = (u64::from(self.limit) * 1_000 / self.window_ms).clamp(1, u64::from(self.limit));
        RateLimit::TokenBucket {
            burst: u32::try_from(burst).unwrap_or(self.limit),
            limit: self.limit,
            window_ms: self.window_ms,
        }
    }
}

impl Sending {
    /// Says whether every field is in range.
    ///
    /// # Errors
    /// Names the first one that is not, as `sending.…`.
    pub fn check(&self) -> Result<(), InvalidFanoutConfig> {
        let invalid = |field, value, allowed| Err(InvalidFanoutConfig { field, value, allowed });
        if let Some(n) = self.max_concurrency.filter(|n| !(1..=1_000).contains(n)) {
            return invalid("sending.max_concurrency", n.to_string(), "1 to 1000");
        }
        if let Some(rate) = self.rate {
            if !(1..=1_000_000).contains(&rate.limit) {
                return invalid("sending.rate.limit", rate.limit.to_string(), "1 to 1000000");
            }
            if !(1_000..=86_400_000).contains(&rate.window_ms) {
                return invalid("sending.rate.window_ms", rate.window_ms.to_string(), "1000 to 86400000");
            }
        }
        if let Some(delays) = &self.retry_delays_ms {
            let like = FanoutConfig { retry_delays_ms: delays.clone(), ..FanoutConfig::default() };
            if let Err(InvalidFanoutConfig { value, allowed, .. }) = like.check() {
                return invalid("sending.retry_delays_ms", value, allowed);
            }
        }
        Ok(())
    }
}
