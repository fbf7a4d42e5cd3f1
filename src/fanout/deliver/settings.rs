//! How an endpoint is sent to: order, concurrency, rate, schedule. An endpoint without a row has the defaults.

use serde::{Deserialize, Deserializer};
use sqlx::FromRow;

use crate::clock::Timestamp;
use crate::config::fanout::InvalidFanoutConfig;
pub use crate::config::fanout::{Ordering, Rate, Sending};
use crate::data::{Database, Tx};
use crate::{on_pool, on_tx};

/// What shall change of how an endpoint is sent to. What is not named stays; null takes it back to the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendingChange {
    /// Another order; it begins with the next event.
    #[serde(deserialize_with = "named")]
    pub ordering: Option<Option<Ordering>>,
    /// Another number of POSTs at once.
    #[serde(deserialize_with = "named")]
    pub max_concurrency: Option<Option<u32>>,
    /// Another rate.
    #[serde(deserialize_with = "named")]
    pub rate: Option<Option<Rate>>,
    /// Other waits.
    #[serde(deserialize_with = "named")]
    pub retry_delays_ms: Option<Option<Vec<u64>>>,
}

/// Tells null from nothing said.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl SendingChange {
    /// The settings with this change.
    #[must_use]
    pub fn over(self, of: Sending) -> Sending {
        Sending {
            ordering: self.ordering.map_or(of.ordering, Option::unwrap_or_default),
            max_concurrency: self.max_concurrency.unwrap_or(of.max_concurrency),
            rate: self.rate.unwrap_or(of.rate),
            retry_delays_ms: self.retry_delays_ms.unwrap_or(of.retry_delays_ms),
        }
    }
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

impl From<InvalidFanoutConfig> for SendingError {
    fn from(InvalidFanoutConfig { field, value, allowed }: InvalidFanoutConfig) -> Self {
        Self::Invalid { field, value, allowed }
    }
}

#[derive(Debug, FromRow)]
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
    let mut tx = db.begin().await?;
    keep_sending(&mut tx, endpoint, to, now).await?;
    Ok(tx.commit().await?)
}

/// The same within a transaction.
pub(in super::super) async fn keep_sending(
    tx: &mut Tx,
    endpoint: &str,
    to: &Sending,
    now: Timestamp,
) -> Result<(), SendingError> {
    to.check()?;
    let delays = to.retry_delays_ms.as_ref().map(|delays| serde_json::Value::from(delays.as_slice()).to_string());
    let rows = on_tx!(tx, conn => {
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
        .bind(to.ordering.as_str())
        .bind(to.max_concurrency.map(i64::from))
        .bind(to.rate.map(|r| i64::from(r.limit)))
        .bind(to.rate.map(|r| i64::try_from(r.window_ms).unwrap_or(i64::MAX)))
        .bind(delays)
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    if rows == 1 { Ok(()) } else { Err(SendingError::NoSuchEndpoint(endpoint.chars().take(80).collect())) }
}
