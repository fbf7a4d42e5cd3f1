//! What became of each delivery: the rows of `messages`, `deliveries` and `delivery_attempts` that handlers write.
//!
//! A delivery that has succeeded stays so, whoever reports late. Any other report is kept out when it comes with an
//! older epoch than the row has seen, so a worker that lost its lease changes no state; the POST it made is logged all
//! the same.

use serde::Serialize;
use sqlx::FromRow;

use super::fan_out::Batch;
use super::history::DeliveryState;
use super::post::{Answer, Posted};
use super::{Deliver, Event, FanoutState, Pattern, Turn};
use crate::clock::Timestamp;
use crate::data::Tx;
use crate::{on_pool, on_tx};

/// Endpoints looked at in one transaction, and jobs enqueued in one call.
pub(super) const BATCH: usize = 500;

/// A delivery as its handler needs it.
#[derive(Debug, FromRow)]
pub(super) struct Due {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) body: String,
    /// `None`: the endpoint was deleted.
    pub(super) url: Option<String>,
    /// Why it is disabled.
    pub(super) reason: Option<String>,
}

/// What an attempt makes of its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The receiver has it.
    Succeeded,
    /// Another attempt at this time.
    Again(Timestamp),
    /// That was the last attempt.
    Exhausted,
    /// The receiver wants no more of anything (410).
    Gone,
    /// Nothing: it was stopped.
    Unchanged,
}

/// What receivers get, in the shape that Standard Webhooks recommends.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: Timestamp,
    data: &'a serde_json::Value,
}

/// Keeps the message, and a pending delivery for each matching endpoint among the next [`BATCH`] after `after`; all in
/// one transaction, and all of it again without effect.
pub(super) async fn open_batch(
    state: &FanoutState,
    event: &Event,
    at: Timestamp,
    after: &str,
) -> anyhow::Result<Batch> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let (message, fanned_at) = keep_message(&mut tx, state, event, at).await?;
    if fanned_at.is_some() {
        return Ok(Batch { message, pending: Vec::new(), last: None, fanned: true });
    }
    let page = enabled_endpoints(&mut tx, &event.tenant, after).await?;
    let last = (page.len() == BATCH).then(|| page.last().map(|(id, _)| id.clone())).flatten();
    let mut pending = Vec::new();
    for (endpoint, patterns) in page {
        let patterns: Vec<Pattern> = serde_json::from_str(&patterns)?;
        if !patterns.iter().any(|p| p.matches(&event.event_type)) {
            continue;
        }
        let delivery = state.new_id("dlv_", now);
        if open_delivery(&mut tx, &delivery, &message, &endpoint, &event.tenant, now).await? {
            pending.push(endpoint);
        }
    }
    tx.commit().await?;
    Ok(Batch { message, pending, last, fanned: false })
}

async fn keep_message(
    tx: &mut Tx,
    state: &FanoutState,
    event: &Event,
    at: Timestamp,
) -> anyhow::Result<(String, Option<i64>)> {
    let body = Body { id: &event.id, event_type: &event.event_type, timestamp: at, data: &event.payload };
    let body = serde_json::to_string(&body)?;
    let new_id = state.new_id("msg_", state.clock.now());
    on_tx!(tx, conn => {
        // Zero rows: it was kept before, and what was kept first stands.
        sqlx::query(
            "insert into messages (id, tenant, event_id, event_type, body, created_at) values ($1, $2, $3, $4, $5, $6)
             on conflict (tenant, event_id) do nothing",
        )
        .bind(new_id)
        .bind(&event.tenant)
        .bind(&event.id)
        .bind(&event.event_type)
        .bind(body)
        .bind(at.as_ms())
        .execute(&mut *conn)
        .await?;
        let kept = sqlx::query_as("select id, fanned_at from messages where tenant = $1 and event_id = $2")
            .bind(&event.tenant)
            .bind(&event.id)
            .fetch_one(conn)
            .await?;
        Ok(kept)
    })
}

async fn enabled_endpoints(tx: &mut Tx, tenant: &str, after: &str) -> Result<Vec<(String, String)>, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query_as(
            "select id, event_types from endpoints
             where tenant = $1 and id > $2 and state = 'enabled' order by id limit $3",
        )
        .bind(tenant)
        .bind(after)
        .bind(BATCH as i64)
        .fetch_all(conn)
        .await
    })
}

/// True when its job is still to be enqueued: it is new, or an earlier run died before its first attempt.
async fn open_delivery(
    tx: &mut Tx,
    id: &str,
    message: &str,
    endpoint: &str,
    tenant: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    on_tx!(tx, conn => {
        let inserted = sqlx::query(
            "insert into deliveries
               (id, message_id, endpoint_id, tenant, state, attempts, epoch, created_at, updated_at)
             values ($1, $2, $3, $4, 'pending', 0, 0, $5, $5)
             on conflict (message_id, endpoint_id) do nothing",
        )
        .bind(id)
        .bind(message)
        .bind(endpoint)
        .bind(tenant)
        .bind(now.as_ms())
        .execute(&mut *conn)
        .await?
        .rows_affected();
        if inserted == 1 {
            return Ok(true);
        }
        let state: String =
            sqlx::query_scalar("select state from deliveries where message_id = $1 and endpoint_id = $2")
                .bind(message)
                .bind(endpoint)
                .fetch_one(conn)
                .await?;
        Ok(state == DeliveryState::Pending.as_str())
    })
}

/// Says that every endpoint has its delivery and every delivery its job. False: another run has said so.
pub(super) async fn close_message(state: &FanoutState, message: &str) -> Result<bool, sqlx::Error> {
    let rows = on_pool!(state.db.write(), pool => {
        sqlx::query("update messages set fanned_at = $2 where id = $1 and fanned_at is null")
            .bind(message)
            .bind(state.clock.now().as_ms())
            .execute(pool)
            .await?
            .rows_affected()
    });
    Ok(rows == 1)
}

/// The delivery of a job; `None`: retention has taken it.
pub(super) async fn load(state: &FanoutState, job: &Deliver) -> Result<Option<Due>, sqlx::Error> {
    on_pool!(state.db.read(), pool => {
        sqlx::query_as(
            "select d.id, d.state, m.body, e.url, e.reason
             from deliveries d join messages m on m.id = d.message_id left join endpoints e on e.id = d.endpoint_id
             where d.message_id = $1 and d.endpoint_id = $2",
        )
        .bind(&job.message)
        .bind(&job.endpoint)
        .fetch_optional(pool)
        .await
    })
}

/// Ends a delivery that nobody wants any more. False: it was settled before, or by a newer attempt.
pub(super) async fn cancel(state: &FanoutState, delivery: &str, why: &str, turn: &Turn) -> Result<bool, sqlx::Error> {
    let rows = on_pool!(state.db.write(), pool => {
        sqlx::query(
            "update deliveries
             set state = 'cancelled', next_at = null, last_error = $2, epoch = $3, updated_at = $4, settled_at = $4
             where id = $1 and state in ('pending', 'failed') and epoch <= $3",
        )
        .bind(delivery)
        .bind(why)
        .bind(turn.epoch)
        .bind(state.clock.now().as_ms())
        .execute(pool)
        .await?
        .rows_affected()
    });
    Ok(rows == 1)
}

/// Logs the POST and moves its delivery on, in one transaction. False: the log has it, but nothing else was changed,
/// because it was stopped, or the delivery had succeeded before or belongs to a newer attempt.
pub(super) async fn record(
    state: &FanoutState,
    job: &Deliver,
    delivery: &str,
    host: &str,
    posted: &Posted,
    turn: &Turn,
    next: Next,
) -> Result<bool, sqlx::Error> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    log_attempt(&mut tx, &state.new_id("att_", now), delivery, host, posted, turn, now).await?;
    let moved = move_on(&mut tx, delivery, posted, turn, next, now).await?;
    if next == Next::Gone {
        disable_gone(&mut tx, &job.endpoint, now).await?;
    }
    tx.commit().await?;
    Ok(moved)
}

async fn log_attempt(
    tx: &mut Tx,
    id: &str,
    delivery: &str,
    host: &str,
    posted: &Posted,
    turn: &Turn,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (status, class, error) = words(&posted.answer);
    on_tx!(tx, conn => {
        sqlx::query(
            "insert into delivery_attempts
               (id, delivery_id, attempt, at, host, address, status, error_class, error, duration_ms, reply)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(id)
        .bind(delivery)
        .bind(i64::from(turn.number))
        .bind(now.as_ms())
        .bind(host)
        .bind(posted.address.map(|a| a.to_string()))
        .bind(status)
        .bind(class)
        .bind(error)
        .bind(i64::try_from(posted.duration.as_millis()).unwrap_or(i64::MAX))
        .bind(&posted.reply)
        .execute(&mut *conn)
        .await?;
        let counted = sqlx::query("update deliveries set attempts = attempts + 1 where id = $1")
            .bind(delivery)
            .execute(conn)
            .await?
            .rows_affected();
        if counted == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
    })
}

async fn move_on(
    tx: &mut Tx,
    delivery: &str,
    posted: &Posted,
    turn: &Turn,
    next: Next,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let (status, _, error) = words(&posted.answer);
    let (becomes, next_at) = match next {
        Next::Unchanged => return Ok(false),
        Next::Succeeded => (DeliveryState::Succeeded, None),
        Next::Again(at) => (DeliveryState::Failed, Some(at.as_ms())),
        Next::Exhausted => (DeliveryState::Exhausted, None),
        Next::Gone => (DeliveryState::Cancelled, None),
    };
    let settled_at = next_at.is_none().then_some(now.as_ms());
    let rows = on_tx!(tx, conn => {
        sqlx::query(
            "update deliveries
             set state = $2, next_at = $3, last_status = $4, last_error = $5, updated_at = $6, settled_at = $7,
                 epoch = case when epoch > $8 then epoch else $8 end
             where id = $1 and state <> 'succeeded' and (epoch <= $8 or $2 = 'succeeded')",
        )
        .bind(delivery)
        .bind(becomes.as_str())
        .bind(next_at)
        .bind(status)
        .bind(error)
        .bind(now.as_ms())
        .bind(settled_at)
        .bind(turn.epoch)
        .execute(conn)
        .await?
        .rows_affected()
    });
    Ok(rows == 1)
}

/// Zero rows: somebody has disabled or deleted it meanwhile, which serves as well.
async fn disable_gone(tx: &mut Tx, endpoint: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    let rows = on_tx!(tx, conn => {
        sqlx::query(
            "update endpoints set state = 'disabled', reason = $2, updated_at = $3 where id = $1 and state = 'enabled'",
        )
        .bind(endpoint)
        .bind("the receiver answered 410 Gone")
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    Ok(rows == 1)
}

fn words(answer: &Answer) -> (Option<i64>, Option<&'static str>, Option<&str>) {
    match answer {
        Answer::Status { status, .. } => (Some(i64::from(*status)), None, None),
        Answer::Nothing { class, error } => (None, Some(class.as_str()), Some(error)),
    }
}
