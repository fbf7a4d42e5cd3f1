//! What mending needs of the tables: deliveries without an outcome, lines that nobody will close.

use sqlx::FromRow;

use super::super::history::DeliveryState;
use super::lines;
use crate::clock::Timestamp;
use crate::data::Database;
use crate::{on_pool, on_tx};

/// A delivery that has no outcome yet.
#[derive(Debug, FromRow)]
pub(in super::super) struct Found {
    pub(in super::super) id: String,
    pub(in super::super) message_id: String,
    pub(in super::super) endpoint_id: String,
    pub(in super::super) tenant: String,
    pub(in super::super) attempts: i64,
    pub(in super::super) updated_at: i64,
    /// Its job, when it has another number than its own; `dlv_…`.
    pub(in super::super) job_id: Option<String>,
    pub(in super::super) retry_delays_ms: Option<String>,
}

/// The next ones in this state after `after`, that nothing has touched since `before`.
pub(in super::super) async fn unsettled(
    db: &Database,
    state: DeliveryState,
    after: &str,
    before: Timestamp,
    limit: i64,
) -> Result<Vec<Found>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_as(
            // Those of a paused endpoint wait without a job, and a recovery under way is giving them theirs.
            "select d.id, d.message_id, d.endpoint_id, d.tenant, d.attempts, d.updated_at, d.job_id, s.retry_delays_ms
             from deliveries d left join endpoint_delivery s on s.endpoint_id = d.endpoint_id
             where d.state <> 'succeeded' and d.state = $1 and d.id > $2 and d.updated_at < $3
               and not exists (select 1 from endpoints e where e.id = d.endpoint_id and e.paused_at is not null)
               and not exists (select 1 from recoveries r where r.endpoint_id = d.endpoint_id and r.state = 'running')
             order by d.id limit $4",
        )
        .bind(state.as_str())
        .bind(after)
        .bind(before.as_ms())
        .bind(limit)
        .fetch_all(pool)
        .await
    })
}

/// Lets a delivery take the word of a new job, whose epochs begin at 1.
pub(in super::super) async fn begin_anew(db: &Database, delivery: &str) -> Result<(), sqlx::Error> {
    on_pool!(db.write(), pool => {
        sqlx::query("update deliveries set epoch = 0 where id = $1 and settled_at is null")
            .bind(delivery)
            .execute(pool)
            .await?;
    });
    Ok(())
}

/// Gives a delivery the outcome that its job has come to. False: it has got one meanwhile, or was touched.
pub(in super::super) async fn end(
    db: &Database,
    delivery: &str,
    to: DeliveryState,
    why: &str,
    untouched_since: Timestamp,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let mut tx = db.begin().await?;
    let rows = on_tx!(&mut tx, conn => {
        let rows = sqlx::query(
            "update deliveries set state = $2, next_at = null, last_error = $3, updated_at = $4, settled_at = $4
             where id = $1 and settled_at is null and updated_at < $5",
        )
        .bind(delivery)
        .bind(to.as_str())
        .bind(why)
        .bind(now.as_ms())
        .bind(untouched_since.as_ms())
        .execute(&mut *conn)
        .await?
        .rows_affected();
        if rows == 1 {
            sqlx::query("delete from delivery_order where delivery_id = $1").bind(delivery).execute(conn).await?;
        }
        rows
    });
    tx.commit().await?;
    Ok(rows == 1)
}

/// Gives up at most `limit` lines whose POST can't be under way any more; how many were.
pub(in super::super) async fn interrupt(db: &Database, now: Timestamp, limit: i64) -> Result<u64, sqlx::Error> {
    let mut tx = db.begin().await?;
    // All that are open are looked through: as many as POSTs are under way, or were when a process was killed.
    let overdue: Vec<(String, String, String)> = on_tx!(&mut tx, conn => {
        sqlx::query_as("select endpoint_id, delivery_id, id from delivery_posts where expires_at < $1 limit $2")
            .bind(now.as_ms())
            .bind(limit)
            .fetch_all(conn)
            .await?
    });
    let mut given_up = 0;
    for (endpoint, delivery, attempt) in &overdue {
        given_up += u64::from(lines::interrupt(&mut tx, endpoint, delivery, attempt, now).await?);
    }
    tx.commit().await?;
    Ok(given_up)
}
