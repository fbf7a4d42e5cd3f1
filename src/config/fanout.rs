//! Webhooks out: deadline, retry schedule, where POSTs may go, and endpoints that stand in the configuration.
//!
//! Every field has a default, so an empty `[fanout]` is a whole one. [`FanoutConfig::check`] names the first field that
//! is out of range; an unknown key is refused by serde.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::clock::Entropy;
use crate::job::RetryPolicy;

mod endpoint;
mod proxy;
mod sending;

pub use endpoint::EndpointConfig;
pub use proxy::ProxyPlace;
pub use sending::{Ordering, Rate, Sending};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// The worker lets no job wait longer for its next attempt, whoever asks for it.
const MAX_DELAY_MS: u64 = 24 * HOUR_MS;
const MAX_OVERLAP_MS: u64 = 7 * 24 * HOUR_MS;
const MAX_FAILING_MS: u64 = 90 * 24 * HOUR_MS;
/// A POST holds a place in its queue's pool; a handler may take no longer than this and a margin.
const MAX_TIMEOUT_MS: u64 = 60 * SECOND_MS;
/// Keeps one tenant's fan-out bounded.
const MAX_ENDPOINTS: u64 = 10_000;

/// `[fanout]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FanoutConfig {
    /// One POST may take so long from DNS to the reply's last byte. Default 15,000; 100 to 60,000.
    pub timeout_ms: u64,
    /// The waits after the first, second, … failed attempt; one attempt more than entries is made. The first attempt
    /// is made at once. Default 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h; at most 50 entries of at most 24 h.
    pub retry_delays_ms: Vec<u64>,
    /// Each wait varies by up to this share to either side, up to 24 h. Default 20; 0 to 100.
    pub jitter_percent: u8,
    /// A receiver's `Retry-After` is followed up to this. Default and at most 24 h.
    pub retry_after_cap_ms: u64,
    /// Allow `http://` endpoints. Default false.
    pub allow_http: bool,
    /// Ports an endpoint may have. Default 443 and 8443; with `allow_http` also 80. A literal address within
    /// `allow_addresses` may have any.
    pub ports: Vec<u16>,
    /// Private networks that endpoints may lie in, as `10.1.0.0/16`. Default none.
    pub allow_addresses: Vec<IpNet>,
    /// POSTs to one endpoint under way at once, over all processes, where it says nothing of its own. Default 16; 1 to
    /// 1,000. A hanging endpoint holds no more places than this in the pool of `notifications`.
    pub max_concurrency: u32,
    /// After so many failures in a row an endpoint is left alone for `breaker_cooldown_ms`, then tried with one POST.
    /// Default 5; 1 to 1,000.
    pub breaker_failures: u32,
    /// See `breaker_failures`. Default 60,000; 1,000 to 3,600,000.
    pub breaker_cooldown_ms: u64,
    /// An endpoint none of whose POSTs was answered with 2xx for so long is disabled; 0: never. Default 5 days; at most
    /// 90.
    pub disable_after_ms: u64,
    /// Authorities in this PEM file are trusted besides the system's, for receivers with certificates of one's own.
    pub ca_file: Option<PathBuf>,
    /// `http://host:port` of a proxy that makes tunnels (CONNECT). It is asked for vetted addresses, never for names; proxies in
    /// the environment are ignored. Default none.
    pub proxy: Option<String>,
    /// A file with the proxy's `user:password`.
    pub proxy_credentials_file: Option<PathBuf>,
    /// After a rotation the old secret signs too for so long. Default 24 h; at most 7 days.
    pub rotation_overlap_ms: u64,
    /// A tenant has no more endpoints than this, whoever adds them. Default 10,000; 1 to 10,000.
    pub max_endpoints: u64,
    /// Endpoints that are there from the start.
    pub endpoints: Vec<EndpointConfig>,
}

/// A field that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fanout.{field} is {value}; allowed: {allowed}")]
pub struct InvalidFanoutConfig {
    /// Which field.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What would be accepted.
    pub allowed: &'static str,
}

impl Default for FanoutConfig {
    fn default() -> Self {
        Self {
            timeout_ms: 15 * SECOND_MS,
            retry_delays_ms: vec![
                5 * SECOND_MS,
                5 * MINUTE_MS,
                30 * MINUTE_MS,
                2 * HOUR_MS,
                5 * HOUR_MS,
                10 * HOUR_MS,
                14 * HOUR_MS,
                20 * HOUR_MS,
                24 * HOUR_MS,
            ],
            jitter_percent: 20,
            retry_after_cap_ms: 24 * HOUR_MS,
            allow_http: false,
            ports: vec![443, 8443],
            allow_addresses: Vec::new(),
            max_concurrency: 16,
            breaker_failures: 5,
            breaker_cooldown_ms: MINUTE_MS,
            disable_after_ms: 5 * 24 * HOUR_MS,
            ca_file: None,
            proxy: None,
            proxy_credentials_file: None,
            rotation_overlap_ms: 24 * HOUR_MS,
            max_endpoints: MAX_ENDPOINTS,
            endpoints: Vec::new(),
        }
    }
}

impl FanoutConfig {
    /// Says whether every field is in range.
    ///
    /// # Errors
    /// Names the first one that is not.
    pub fn check(&self) -> Result<(), InvalidFanoutConfig> {
        let invalid = |field, value: String, allowed| Err(InvalidFanoutConfig { field, value, allowed });
        if !(100..=MAX_TIMEOUT_MS).contains(&self.timeout_ms) {
            return invalid("timeout_ms", self.timeout_ms.to_string(), "100 to 60000");
        }
        if self.retry_delays_ms.len() > 50 || self.retry_delays_ms.iter().any(|ms| *ms > MAX_DELAY_MS) {
            return invalid(
                "retry_delays_ms",
                format!("{:?}", self.retry_delays_ms),
                "at most 50, each at most 24 h, 86400000",
            );
        }
        if self.jitter_percent > 100 {
            return invalid("jitter_percent", self.jitter_percent.to_string(), "0 to 100");
        }
        if self.retry_after_cap_ms > MAX_DELAY_MS {
            return invalid("retry_after_cap_ms", self.retry_after_cap_ms.to_string(), "at most 24 h, 86400000");
        }
        if !(1..=1_000).contains(&self.max_concurrency) {
            return invalid("max_concurrency", self.max_concurrency.to_string(), "1 to 1000");
        }
        if !(1..=1_000).contains(&self.breaker_failures) {
            return invalid("breaker_failures", self.breaker_failures.to_string(), "1 to 1000");
        }
        if !(SECOND_MS..=HOUR_MS).contains(&self.breaker_cooldown_ms) {
            return invalid("breaker_cooldown_ms", self.breaker_cooldown_ms.to_string(), "1000 to 3600000");
        }
        if self.disable_after_ms > MAX_FAILING_MS {
            return invalid("disable_after_ms", self.disable_after_ms.to_string(), "at most 90 days, 7776000000");
        }
        if self.rotation_overlap_ms > MAX_OVERLAP_MS {
            return invalid("rotation_overlap_ms", self.rotation_overlap_ms.to_string(), "at most 7 days, 604800000");
        }
        if !(1..=MAX_ENDPOINTS).contains(&self.max_endpoints) {
            return invalid("max_endpoints", self.max_endpoints.to_string(), "1 to 10000");
        }
        self.proxy_place()?;
        Ok(())
    }

    /// One POST's deadline.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Attempts of one delivery: the first, and one after each wait.
    pub fn max_attempts(&self) -> u32 {
        self.attempts_of(None)
    }

    /// The same for an endpoint with waits of its own.
    pub fn attempts_of(&self, own_delays_ms: Option<&[u64]>) -> u32 {
        let delays = own_delays_ms.unwrap_or(&self.retry_delays_ms);
        u32::try_from(delays.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The wait after failed attempt number `attempt` (from 1), spread by the jitter.
    pub fn delay_after(&self, attempt: u32, entropy: &Entropy) -> Duration {
        self.delay_in(&self.retry_delays_ms, attempt, entropy)
    }

    /// The same by other waits.
    pub fn delay_in(&self, delays_ms: &[u64], attempt: u32, entropy: &Entropy) -> Duration {
        let delays = delays_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let jitter = f64::from(self.jitter_percent) / 100.0;
        RetryPolicy::List { delays, jitter }.delay(attempt, entropy).min(Duration::from_millis(MAX_DELAY_MS))
    }

    /// How long an endpoint rests when its breaker has opened.
    pub fn breaker_cooldown(&self) -> Duration {
        Duration::from_millis(self.breaker_cooldown_ms)
    }

    /// An endpoint that fails for so long is disabled; `None`: none is.
    pub fn disable_after(&self) -> Option<Duration> {
        (self.disable_after_ms > 0).then(|| Duration::from_millis(self.disable_after_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_schedule_is_ten_attempts_over_76_hours() {
        let config = FanoutConfig::default();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.max_attempts(), 10);
        let total: u64 = config.retry_delays_ms.iter().sum();
        assert_eq!(Duration::from_millis(total), Duration::from_secs(75 * 3600 + 35 * 60 + 5));
    }

    #[test]
    fn a_wait_stays_within_its_jitter() {
        let (config, entropy) = (FanoutConfig::default(), Entropy::seeded(1));
        for _ in 0..1_000 {
            let wait = config.delay_after(2, &entropy).as_millis();
            assert!((240_000..=360_000).contains(&wait), "{wait}");
            assert!(config.delay_after(9, &entropy) <= Duration::from_secs(24 * 3600));
        }
    }

    #[test]
    fn a_value_out_of_range_is_refused_by_name() {
        let cases = [
            (FanoutConfig { timeout_ms: 0, ..FanoutConfig::default() }, "timeout_ms"),
            (FanoutConfig { timeout_ms: 60_001, ..FanoutConfig::default() }, "timeout_ms"),
            (FanoutConfig { jitter_percent: 101, ..FanoutConfig::default() }, "jitter_percent"),
            (FanoutConfig { retry_delays_ms: vec![1; 51], ..FanoutConfig::default() }, "retry_delays_ms"),
            (FanoutConfig { retry_delays_ms: vec![u64::MAX], ..FanoutConfig::default() }, "retry_delays_ms"),
            (FanoutConfig { retry_after_cap_ms: u64::MAX, ..FanoutConfig::default() }, "retry_after_cap_ms"),
            (FanoutConfig { rotation_overlap_ms: u64::MAX, ..FanoutConfig::default() }, "rotation_overlap_ms"),
            (FanoutConfig { max_concurrency: 0, ..FanoutConfig::default() }, "max_concurrency"),
            (FanoutConfig { breaker_failures: 0, ..FanoutConfig::default() }, "breaker_failures"),
            (FanoutConfig { breaker_cooldown_ms: 999, ..FanoutConfig::default() }, "breaker_cooldown_ms"),
            (FanoutConfig { max_endpoints: 0, ..FanoutConfig::default() }, "max_endpoints"),
            (FanoutConfig { max_endpoints: 10_001, ..FanoutConfig::default() }, "max_endpoints"),
            (FanoutConfig { disable_after_ms: u64::MAX, ..FanoutConfig::default() }, "disable_after_ms"),
        ];
        for (config, field) in cases {
            assert_eq!(config.check().unwrap_err().field, field);
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = serde_json::from_str::<FanoutConfig>(r#"{"timeout": 5}"#).unwrap_err().to_string();
        assert!(error.contains("timeout"), "{error}");
        let config: FanoutConfig = serde_json::from_str(r#"{"allow_addresses": ["127.0.0.0/8"]}"#).unwrap();
        assert_eq!(config.allow_addresses.len(), 1);
    }
}
