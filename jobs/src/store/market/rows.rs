//! The rows of `market_data`.

use rust_decimal::Decimal;
use tidemill::clock::Timestamp;
use tidemill::data::{Database, Tx};
use tidemill::{on_pool, on_tx};

use super::Reading;
use crate::store::{decimal_column, unreadable};

pub(super) async fn upsert(tx: &mut Tx, r: &Reading) -> Result<(), sqlx::Error> {
    let text = |d: Option<Decimal>| d.map(|d| d.normalize().to_string());
    let done = on_tx!(tx, conn => {
        sqlx::query(
            "insert into market_data
                 (platform, region, gpu_model, observed_at, rented, available, total,
                  utilization, price, price_p10, price_p90)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict (platform, region, gpu_model, observed_at) do update set
                 rented = excluded.rented, available = excluded.available, total = excluded.total,
                 utilization = excluded.utilization, price = excluded.price,
                 price_p10 = excluded.price_p10, price_p90 = excluded.price_p90",
        )
        .bind(&r.platform)
        .bind(&r.region)
        .bind(&r.gpu_model)
        .bind(r.observed_at.as_ms())
        .bind(i64::from(r.rented))
        .bind(i64::from(r.available))
        .bind(i64::from(r.total))
        .bind(text(r.utilization))
        .bind(text(r.price))
        .bind(text(r.price_p10))
        .bind(text(r.price_p90))
        .execute(conn)
        .await?
        .rows_affected()
    });
    if done == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

pub(super) async fn readings_at(
    db: &Database,
    source: &str,
    observed_at: Timestamp,
) -> Result<Vec<Reading>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        platform: String,
        region: String,
        gpu_model: String,
        rented: i64,
        available: i64,
        total: i64,
        utilization: Option<String>,
        price: Option<String>,
        price_p10: Option<String>,
        price_p90: Option<String>,
    }
    let rows: Vec<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select platform, region, gpu_model, rented, available, total,
                    utilization, price, price_p10, price_p90
             from market_data where platform = $1 and observed_at = $2 order by region, gpu_model",
        )
        .bind(source)
        .bind(observed_at.as_ms())
        .fetch_all(pool)
        .await?
    });
    let count = |n: i64| u32::try_from(n).map_err(|e| unreadable("market_data.total", e));
    let read = |r: Row| {
        Ok(Reading {
            platform: r.platform,
            region: r.region,
            gpu_model: r.gpu_model,
            observed_at,
            rented: count(r.rented)?,
            available: count(r.available)?,
            total: count(r.total)?,
            utilization: decimal_column("market_data.utilization", r.utilization)?,
            price: decimal_column("market_data.price", r.price)?,
            price_p10: decimal_column("market_data.price_p10", r.price_p10)?,
            price_p90: decimal_column("market_data.price_p90", r.price_p90)?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// Takes away up to `limit` readings from before `before`; how many it was.
///
/// # Errors
/// When the database did not do it.
pub async fn prune(db: &Database, before: Timestamp, limit: u32) -> Result<u64, sqlx::Error> {
    on_pool!(db.write(), pool => {
        sqlx::query(
            "delete from market_data where (platform, region, gpu_model, observed_at) in
                 (select platform, region, gpu_model, observed_at from market_data
                  where observed_at < $1 order by observed_at limit $2)",
        )
        .bind(before.as_ms())
        .bind(i64::from(limit))
        .execute(pool)
        .await
        .map(|done| done.rows_affected())
    })
}
