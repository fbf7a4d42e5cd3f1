//! The delivery's side: logs attempts and moves deliveries on.

use super::super::history::DeliveryState;
use super::super::post::{Answer, Posted};
use super::super::{Deliver, FanoutState, Turn};
use crate::clock::Timestamp;
use crate::data::Tx;
use crate::{on_pool, on_tx};

/// What an attempt makes of its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Next {
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

/// Ends a delivery that nobody wants any more. False: it was settled before, or by a newer attempt.
pub(in super::super) async fn cancel(
    state: &FanoutState,
    delivery: &str,
    why: &str,
    turn: &Turn,
) -> Result<bool, sqlx::Error> {
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
pub(in super::super) async fn record(
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
