//! `market_data` and `market_sources`: readings by time, and how fresh their source is.
//!
//! A batch and the ETag it came with are kept in one transaction, and [`known_etag`] gives an ETag only while the rows
//! it stands for are still there; so "not modified" never refers to data that is gone.

mod rows;

use std::time::Duration;

use rust_decimal::Decimal;
use serde::Serialize;
use tidemill::clock::Timestamp;
use tidemill::data::Database;
use tidemill::{on_pool, on_tx};

use super::at;

pub use rows::prune;

/// Readings are kept for so long.
pub const KEEP: Duration = Duration::from_secs(48 * 3600);
/// Older readings are not served any more.
pub const SERVE_AT_MOST: Duration = Duration::from_secs(4 * 3600);
/// Older readings are served, but marked stale: two polls were missed.
pub const FRESH_FOR: Duration = Duration::from_secs(30 * 60);

/// One GPU model at one time. Prices in US dollars per GPU-hour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// `vast.ai`
    pub platform: String,
    /// `global`
    pub region: String,
    /// `RTX 4090`
    pub gpu_model: String,
    /// When the source took it.
    pub observed_at: Timestamp,
    /// GPUs rented out.
    pub rented: u32,
    /// GPUs on offer.
    pub available: u32,
    /// All GPUs.
    pub total: u32,
    /// Rented of all, 0 to 1, four places; `None` when there are none.
    pub utilization: Option<Decimal>,
    /// Median; `None` when there are none.
    pub price: Option<Decimal>,
    /// 10th percentile.
    pub price_p10: Option<Decimal>,
    /// 90th percentile.
    pub price_p90: Option<Decimal>,
}

/// How a source is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Freshness {
    /// When it took its newest figures.
    pub observed_at: Option<Timestamp>,
    /// When it last answered well.
    pub confirmed_at: Option<Timestamp>,
    /// Since when it has not.
    pub failing_since: Option<Timestamp>,
    /// How often in a row.
    pub failures: i64,
    /// Its last failure.
    pub last_error: Option<String>,
}

/// The newest readings, and whether they can be taken for the present.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latest {
    /// In the order of their models.
    pub readings: Vec<Reading>,
    /// When the source took them.
    pub observed_at: Timestamp,
    /// Older than [`FRESH_FOR`], or the source is failing.
    pub stale: bool,
}

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
pub enum NoData {
    /// Nothing was ever read from it.
    #[error("no market data has been read from {0} yet")]
    Never(String),
    /// What there is, is too old.
    #[error(
        "the newest market data of {source_name} is {} min old; at most {} min are served",
        .age.as_secs() / 60, SERVE_AT_MOST.as_secs() / 60
    )]
    TooOld {
        /// Which source.
        source_name: String,
        /// How old.
        age: Duration,
    },
    /// The database did not answer.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Keeps a batch and what it says of its source, all or nothing. A reading that is there already is replaced.
///
/// # Errors
/// When the database did not take it.
pub async fn save(
    db: &Database,
    source: &str,
    etag: Option<&str>,
    observed_at: Timestamp,
    readings: &[Reading],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    for reading in readings {
        rows::upsert(&mut tx, reading).await?;
    }
    let done = on_tx!(&mut tx, conn => {
        sqlx::query(
            "insert into market_sources (source, etag, observed_at, confirmed_at, failing_since, failures)
             values ($1, $2, $3, $4, null, 0)
             on conflict (source) do update set
                 etag = excluded.etag, confirmed_at = excluded.confirmed_at, failing_since = null, failures = 0,
                 observed_at = case when market_sources.observed_at > excluded.observed_at
                                    then market_sources.observed_at else excluded.observed_at end",
        )
        .bind(source)
        .bind(etag)
        .bind(observed_at.as_ms())
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    if done != 1 {
        return Err(sqlx::Error::RowNotFound);
    }
    tx.commit().await
}

/// The source said that nothing has changed. False: nothing was ever saved from it.
///
/// # Errors
/// When the database did not take it.
pub async fn confirm(db: &Database, source: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    on_pool!(db.write(), pool => {
        sqlx::query(
            "update market_sources set confirmed_at = $2, failing_since = null, failures = 0 where source = $1",
        )
        .bind(source)
        .bind(now.as_ms())
        .execute(pool)
        .await
        .map(|done| done.rows_affected() == 1)
    })
}

/// The source failed.
///
/// # Errors
/// When the database did not take it.
pub async fn record_failure(db: &Database, source: &str, error: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    let done = on_pool!(db.write(), pool => {
        sqlx::query(
            "insert into market_sources (source, failing_since, failures, last_error) values ($1, $2, 1, $3)
             on conflict (source) do update set
                 failing_since = coalesce(market_sources.failing_since, excluded.failing_since),
                 failures = market_sources.failures + 1, last_error = excluded.last_error",
        )
        .bind(source)
        .bind(now.as_ms())
        .bind(error)
        .execute(pool)
        .await?
        .rows_affected()
    });
    if done == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// The ETag of the newest readings, as long as they are still there.
///
/// # Errors
/// When the database did not answer.
pub async fn known_etag(db: &Database, source: &str) -> Result<Option<String>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_scalar(
            "select s.etag from market_sources s
             where s.source = $1 and s.etag is not null
               and exists (select 1 from market_data d where d.platform = s.source and d.observed_at = s.observed_at)",
        )
        .bind(source)
        .fetch_optional(pool)
        .await
    })
}

/// How a source is doing; nothing known of it: the default.
///
/// # Errors
/// When the database did not answer.
pub async fn freshness(db: &Database, source: &str) -> Result<Freshness, sqlx::Error> {
    type Row = (Option<i64>, Option<i64>, Option<i64>, i64, Option<String>);
    let row: Option<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select observed_at, confirmed_at, failing_since, failures, last_error from market_sources
             where source = $1",
        )
        .bind(source)
        .fetch_optional(pool)
        .await?
    });
    Ok(row.map_or_else(Freshness::default, |(observed, confirmed, failing, failures, last_error)| Freshness {
        observed_at: at(observed),
        confirmed_at: at(confirmed),
        failing_since: at(failing),
        failures,
        last_error,
    }))
}

/// The newest readings of a source, while they are at most [`SERVE_AT_MOST`] old: also when the source is failing.
///
/// # Errors
/// When there are none, or only older ones; the message names their age.
pub async fn latest(db: &Database, source: &str, now: Timestamp) -> Result<Latest, NoData> {
    let fresh = freshness(db, source).await?;
    let observed_at = fresh.observed_at.ok_or_else(|| NoData::Never(source.to_owned()))?;
    let age = now.since(observed_at);
    if age > SERVE_AT_MOST {
        return Err(NoData::TooOld { source_name: source.to_owned(), age });
    }
    let readings = rows::readings_at(db, source, observed_at).await?;
    Ok(Latest { readings, observed_at, stale: age > FRESH_FOR || fresh.failing_since.is_some() })
}
