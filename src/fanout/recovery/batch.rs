//! One batch of a recovery: opens deliveries (again), and moves the cursor when they have their jobs.

use serde_json::Value;
use sqlx::FromRow;

use super::super::FanoutState;
use super::super::endpoints::Wish;
use super::super::ledger::open_delivery;
use super::record::{Recovery, What};
use crate::clock::Timestamp;
use crate::data::Tx;
use crate::{on_pool, on_tx};

/// Rows looked at in one transaction.
const BATCH: i64 = 200;

/// What one transaction has opened.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Messages whose delivery needs a job.
    pub(super) ready: Vec<String>,
    looked_at: usize,
    /// Where the next batch begins; `None`: there is none.
    last: Option<String>,
    /// Why there can't be more.
    failed: Option<&'static str>,
}

#[derive(FromRow)]
struct Delivery {
    id: String,
    message_id: String,
    state: String,
    recovery_id: Option<String>,
}

#[derive(FromRow)]
struct Message {
    id: String,
    event_type: String,
    body: String,
}

/// Opens the next batch, in one transaction; the same batch again opens nothing twice.
pub(super) async fn open(state: &FanoutState, run: &Recovery) -> anyhow::Result<Batch> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let wish: Option<Wish> = on_tx!(&mut tx, conn => {
        sqlx::query_as(
            "select id, event_types, filter, paused_at from endpoints where id = $1 and state = 'enabled'",
        )
        .bind(&run.endpoint_id)
        .fetch_optional(conn)
        .await?
    });
    let Some(wish) = wish else {
        return Ok(Batch { failed: Some("the endpoint is disabled or deleted"), ..Batch::default() });
    };
    let batch = if run.what.walks_messages() {
        open_messages(&mut tx, state, run, &wish, now).await?
    } else {
        open_deliveries(&mut tx, run, now).await?
    };
    tx.commit().await?;
    Ok(batch)
}

async fn open_deliveries(tx: &mut Tx, run: &Recovery, now: Timestamp) -> anyhow::Result<Batch> {
    let rows: Vec<Delivery> = on_tx!(&mut *tx, conn => match &run.delivery_id {
        Some(id) => sqlx::query_as("select id, message_id, state, recovery_id from deliveries where id = $1")
            .bind(id)
            .fetch_all(conn)
            .await?,
        None => sqlx::query_as(
            "select id, message_id, state, recovery_id from deliveries
             where endpoint_id = $1 and id > $2 and id < $3 order by id limit $4",
        )
        .bind(&run.endpoint_id)
        .bind(&run.cursor)
        .bind(super::first_id("dlv_", run.until))
        .bind(BATCH)
        .fetch_all(conn)
        .await?,
    });
    let mut batch = Batch { looked_at: rows.len(), last: last(&rows, |row| &row.id), ..Batch::default() };
    for row in rows {
        let settled = matches!(row.state.as_str(), "succeeded" | "exhausted" | "cancelled");
        let wanted = match run.what {
            What::One => settled,
            _ => matches!(row.state.as_str(), "exhausted" | "cancelled"),
        };
        let own = row.recovery_id.as_deref() == Some(&run.id);
        let ready = match run.what {
            What::Backlog => !settled,
            // One that is not settled has a job, or lost it when it was opened here.
            What::One if !settled => true,
            _ if own => !settled,
            _ => wanted && reopen(tx, &row.id, &run.id, now).await?,
        };
        if ready {
            batch.ready.push(row.message_id);
        }
    }
    Ok(batch)
}

async fn open_messages(
    tx: &mut Tx,
    state: &FanoutState,
    run: &Recovery,
    wish: &Wish,
    now: Timestamp,
) -> anyhow::Result<Batch> {
    let rows: Vec<Message> = on_tx!(&mut *tx, conn => {
        sqlx::query_as(
            "select id, event_type, body from messages
             where tenant = $1 and id > $2 and id < $3 and fanned_at is not null order by id limit $4",
        )
        .bind(&run.tenant)
        .bind(&run.cursor)
        .bind(super::first_id("msg_", run.until))
        .bind(BATCH)
        .fetch_all(conn)
        .await?
    });
    let mut batch = Batch { looked_at: rows.len(), last: last(&rows, |row| &row.id), ..Batch::default() };
    for row in rows {
        let body: Value = serde_json::from_str(&row.body)?;
        if wish.wants(&row.event_type, &body["data"])? && wanted_now(tx, state, run, &row.id, now).await? {
            batch.ready.push(row.id);
        }
    }
    Ok(batch)
}

/// Opens the message's delivery, or for `all` opens it again. True when it needs a job.
async fn wanted_now(
    tx: &mut Tx,
    state: &FanoutState,
    run: &Recovery,
    message: &str,
    now: Timestamp,
) -> anyhow::Result<bool> {
    let row: Option<Delivery> = on_tx!(&mut *tx, conn => {
        sqlx::query_as(
            "select id, message_id, state, recovery_id from deliveries where message_id = $1 and endpoint_id = $2",
        )
        .bind(message)
        .bind(&run.endpoint_id)
        .fetch_optional(conn)
        .await?
    });
    match row {
        None => {
            let id = state.new_id("dlv_", now);
            open_delivery(tx, &id, message, &run.endpoint_id, &run.tenant, now).await?;
            mark(tx, &id, &run.id).await?;
            Ok(true)
        }
        Some(row) if row.recovery_id.as_deref() == Some(&run.id) => Ok(row.state == "pending"),
        Some(row) if run.what == What::All => reopen(tx, &row.id, &run.id, now).await.map_err(Into::into),
        Some(_) => Ok(false),
    }
}

/// False: it is not settled, so that its job still brings it.
async fn reopen(tx: &mut Tx, delivery: &str, run: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    let rows = on_tx!(tx, conn => {
        // The new job counts its epochs from the start; the old one is over.
        sqlx::query(
            "update deliveries
             set state = 'pending', next_at = null, settled_at = null, epoch = 0, recovery_id = $2, updated_at = $3
             where id = $1 and settled_at is not null",
        )
        .bind(delivery)
        .bind(run)
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    Ok(rows == 1)
}

async fn mark(tx: &mut Tx, delivery: &str, run: &str) -> Result<(), sqlx::Error> {
    let rows = on_tx!(tx, conn => {
        sqlx::query("update deliveries set recovery_id = $2 where id = $1")
            .bind(delivery)
            .bind(run)
            .execute(conn)
            .await?
            .rows_affected()
    });
    if rows == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Moves the run on behind a batch whose deliveries have their jobs. False: it is no longer running.
pub(super) async fn close(state: &FanoutState, run: &Recovery, batch: &Batch) -> Result<bool, sqlx::Error> {
    let over = run.what == What::One || batch.last.is_none();
    let becomes = if batch.failed.is_some() {
        "failed"
    } else if over {
        "completed"
    } else {
        "running"
    };
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let rows = on_pool!(state.db.write(), pool => {
        sqlx::query(
            "update recoveries
             set cursor = coalesce($2, cursor), looked_at = looked_at + $3, sent_again = sent_again + $4, state = $5,
                 reason = $6, updated_at = $7
             where id = $1 and state = 'running' and cursor = $8",
        )
        .bind(&run.id)
        .bind(&batch.last)
        .bind(count(batch.looked_at))
        .bind(count(batch.ready.len()))
        .bind(becomes)
        .bind(batch.failed)
        .bind(state.clock.now().as_ms())
        .bind(&run.cursor)
        .execute(pool)
        .await?
        .rows_affected()
    });
    Ok(rows == 1)
}

/// Where a full batch ends; one that is not full is the last.
fn last<T>(rows: &[T], id: fn(&T) -> &String) -> Option<String> {
    let full = i64::try_from(rows.len()).is_ok_and(|n| n >= BATCH);
    rows.last().filter(|_| full).map(|row| id(row).clone())
}
