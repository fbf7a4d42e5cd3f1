//! What happens to endpoints, told to those who asked: ordinary events of the same tenant.
//!
//! A notice is written in the transaction of what it tells, and becomes a `webhook.fanout` job afterwards; a process that
//! dies in between leaves it to the next [`tell`]. **The loop is cut at two places**: what happens to a delivery of a
//! notice is never told, and an endpoint is never told about itself (see `endpoints/matching.rs`).

use serde_json::{Value, json};

use super::operational::OPERATIONAL;
use super::{Event, FanoutState};
use crate::clock::Timestamp;
use crate::data::Tx;
use crate::queue::Queue;
use crate::{on_pool, on_tx};

/// So many failures in a row make an endpoint failing.
pub(super) const FAILING_AT: i64 = 5;
/// Notices made into jobs in one call; the next one takes the rest.
const STEP: i64 = 100;

/// What is told.
#[derive(Debug)]
pub(super) struct Notice<'a> {
    pub(super) event_type: &'static str,
    pub(super) endpoint: &'a str,
    /// The delivery with which it happened, if it was one.
    pub(super) delivery: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
    pub(super) at: Timestamp,
}

/// Writes it down; nothing when it happened to a delivery of a notice. True when it is to be told.
pub(super) async fn note(tx: &mut Tx, notice: Notice<'_>) -> Result<bool, sqlx::Error> {
    let about: Option<(String, String)> = match notice.delivery {
        Some(delivery) => on_tx!(&mut *tx, conn => {
            sqlx::query_as(
                "select m.id, m.event_type from deliveries d join messages m on m.id = d.message_id where d.id = $1",
            )
            .bind(delivery)
            .fetch_optional(conn)
            .await?
        }),
        None => None,
    };
    let (message, of) = about.unzip();
    if of.as_deref().is_some_and(|of| OPERATIONAL.contains(&of)) {
        return Ok(false);
    }
    let payload = json!({
        "endpoint": notice.endpoint, "reason": notice.reason, "message": message, "event_type": of,
        "delivery": notice.delivery, "at": notice.at,
    });
    let rows = on_tx!(tx, conn => {
        sqlx::query(
            "insert into endpoint_notices (tenant, event_type, payload, created_at)
             select tenant, $2, $3, $4 from endpoints where id = $1",
        )
        .bind(notice.endpoint)
        .bind(notice.event_type)
        .bind(payload.to_string())
        .bind(notice.at.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    Ok(rows == 1)
}

/// Makes what was written down into jobs, each once: a repeated one has the same event id.
///
/// # Errors
/// When the database or the queue did not answer; the rest stays for the next call.
pub async fn tell(state: &FanoutState, queue: &Queue) -> anyhow::Result<u64> {
    let rows: Vec<(i64, String, String, String)> = on_pool!(state.db.read(), pool => {
        sqlx::query_as("select seq, tenant, event_type, payload from endpoint_notices order by seq limit $1")
            .bind(STEP)
            .fetch_all(pool)
            .await?
    });
    let mut told = 0;
    for (seq, tenant, event_type, payload) in rows {
        let payload: Value = serde_json::from_str(&payload)?;
        let event = Event { id: format!("notice-{seq}"), event_type, tenant, payload };
        queue.enqueue(event.into_spec()?).await?;
        on_pool!(state.db.write(), pool => {
            // Zero rows: another process has told it too.
            sqlx::query("delete from endpoint_notices where seq = $1").bind(seq).execute(pool).await?;
        });
        told += 1;
    }
    Ok(told)
}
