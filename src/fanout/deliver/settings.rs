//! How an endpoint is sent to: order, concurrency, rate, schedule. An endpoint without a row has the defaults.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::clock::Timestamp;
use crate::config::fanout::{FanoutConfig, InvalidFanoutConfig};
use crate::data::Database;
use crate::on_pool;
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

/// Why settings were not kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SendingError {
    /// A field is out of range.
    #[error("{field} is {value}; allowed: {allowed}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        allowed: &'static str,
    },
    /// There is none with this id.
    #[error("there is no endpoint `{0}`")]
    NoSuchEndpoint(String),
    /// A row that can't be read.
    #[error("the delivery settings of `{0}` are unreadable in the database")]
    Corrupt(String),
    /// The database did not take it.
    #[error("the database did not answer: {0}")]
    Data(#[from] sqlx::Error),
}

impl Rate {
    /// As a bucket of a second's worth, so that no minute holds more than limit and that.
    pub(in super::super) fn bucket(self) -> RateLimit {
        let burst = (u64::from(self.limit) * 1_000 / self.window_ms).clamp(1, u64::from(self.limit));
        RateLimit::TokenBucket {
            burst: u32::try_from(burst).unwrap_or(self.limit),
            limit: self.limit,
            window_ms: self.window_ms,
        }
    }
}

impl Sending {
    pub(super) fn max_concurrency(&self, config: &FanoutConfig) -> u32 {
        self.max_concurrency.unwrap_or(config.max_concurrency)
    }

    fn check(&self) -> Result<(), SendingError> {
        let invalid = |field, value, allowed| Err(SendingError::Invalid { field, value, allowed });
        if let Some(n) = self.max_concurrency.filter(|n| !(1..=1_000).contains(n)) {
            return invalid("max_concurrency", n.to_string(), "1 to 1000");
        }
        if let Some(rate) = self.rate {
            if !(1..=1_000_000).contains(&rate.limit) {
                return invalid("rate.limit", rate.limit.to_string(), "1 to 1000000");
            }
            if !(1_000..=86_400_000).contains(&rate.window_ms) {
                return invalid("rate.window_ms", rate.window_ms.to_string(), "1000 to 86400000");
            }
        }
        if let Some(delays) = &self.retry_delays_ms {
            let like = FanoutConfig { retry_delays_ms: delays.clone(), ..FanoutConfig::default() };
            if let Err(InvalidFanoutConfig { field, value, allowed }) = like.check() {
                return invalid(field, value, allowed);
            }
        }
        Ok(())
    }
}

#[derive(FromRow)]
pub(in super::super) struct SendingRow {
    pub(in super::super) ordering: Option<String>,
    max_concurrency: Option<i64>,
    rate_limit: Option<i64>,
    rate_window_ms: Option<i64>,
    retry_delays_ms: Option<String>,
}

impl SendingRow {
    /// `None`: unreadable.
    pub(in super::super) fn read(&self) -> Option<Sending> {
        let rate = match (self.rate_limit, self.rate_window_ms) {
            (Some(limit), Some(window)) => {
                Some(Rate { limit: u32::try_from(limit).ok()?, window_ms: u64::try_from(window).ok()? })
            }
            _ => None,
        };
        Some(Sending {
            ordering: if self.ordering.as_deref() == Some("strict") { Ordering::Strict } else { Ordering::None },
            max_concurrency: self.max_concurrency.map(u32::try_from).transpose().ok()?,
            rate,
            retry_delays_ms: self.retry_delays_ms.as_deref().map(serde_json::from_str).transpose().ok()?,
        })
    }
}

/// An endpoint's settings; the defaults where none were kept.
///
/// # Errors
/// When the database did not answer.
pub async fn sending(db: &Database, endpoint: &str) -> Result<Sending, SendingError> {
    let row: Option<SendingRow> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select ordering, max_concurrency, rate_limit, rate_window_ms, retry_delays_ms from endpoint_delivery
             where endpoint_id = $1",
        )
        .bind(endpoint)
        .fetch_optional(pool)
        .await?
    });
    match row {
        None => Ok(Sending::default()),
        Some(row) => row.read().ok_or_else(|| SendingError::Corrupt(endpoint.to_owned())),
    }
}

/// Keeps an endpoint's settings, all of them. Strict order begins with the next event.
///
/// # Errors
/// When a field is out of range or there is no such endpoint.
pub async fn set_sending(db: &Database, endpoint: &str, to: &Sending, now: Timestamp) -> Result<(), SendingError> {
    to.check()?;
    let delays = to.retry_delays_ms.as_ref().map(|delays| serde_json::Value::from(delays.as_slice()).to_string());
    let rows = on_pool!(db.write(), pool => {
        sqlx::query(
            "insert into endpoint_delivery
               (endpoint_id, ordering, max_concurrency, rate_limit, rate_window_ms, retry_delays_ms, updated_at)
             select id, $2, $3, $4, $5, $6, $7 from endpoints where id = $1
             on conflict (endpoint_id) do update set ordering = excluded.ordering,
               max_concurrency = excluded.max_concurrency, rate_limit = excluded.rate_limit,
               rate_window_ms = excluded.rate_window_ms, retry_delays_ms = excluded.retry_delays_ms,
               updated_at = excluded.updated_at",
        )
        .bind(endpoint)
        .bind(if to.ordering == Ordering::Strict { "strict" } else { "none" })
        .bind(to.max_concurrency.map(i64::from))
        .bind(to.rate.map(|r| i64::from(r.limit)))
        .bind(to.rate.map(|r| i64::try_from(r.window_ms).unwrap_or(i64::MAX)))
        .bind(delays)
        .bind(now.as_ms())
        .execute(pool)
        .await?
        .rows_affected()
    });
    if rows == 1 { Ok(()) } else { Err(SendingError::NoSuchEndpoint(endpoint.chars().take(80).collect())) }
}
