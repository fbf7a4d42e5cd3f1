//! One batch of a recovery: opens deliveries (again), and moves the cursor when they have their jobs.

use serde_json::Value;
use sqlx::FromRow;

use super::super::FanoutState;
use super::super::endpoints::{Wish, wish_of};
use super::super::ledger::open_delivery;
use super::record::{Recovery, What};
use crate::clock::Timestamp;
use crate::data::Tx;
use crate::job::JobId;
use crate::{on_pool, on_tx};

/// Rows looked at in one transaction.
const BATCH: i64 = 200;

/// What one transaction has opened.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Deliveries that need a job.
    pub(super) ready: Vec<Ready>,
    /// The endpoint's own schedule, as JSON.
    pub(super) retry_delays_ms: Option<String>,
    looked_at: usize,
    /// Those that are this run's: in a batch that is repeated, also what an earlier try has opened and what has come to its
    /// end meanwhile.
    sent_again: usize,
    /// Where the next batch begins; `None`: there is none.
    last: Option<String>,
    /// Why there can't be more.
    failed: Option<&'static str>,
}

/// A delivery that needs a job, and the number of that job.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) delivery: String,
    pub(super) message: String,
    pub(super) job: String,
}

#[derive(FromRow)]
struct Delivery {
    id: String,
    message_id: String,
    state: String,
    recovery_id: Option<String>,
    job_id: Option<String>,
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
    let Some(wish) = wish_of(&mut tx, &run.endpoint_id).await? else {
        return Ok(Batch { failed: Some("the endpoint is disabled or deleted"), ..Batch::default() });
    };
    let mut batch = if run.what.walks_messages() {
        open_messages(&mut tx, state, run, &wish, now).await?
    } else {
        open_deliveries(&mut tx, state, run, now).await?
    };
    batch.retry_delays_ms = wish.retry_delays_ms;
    tx.commit().await?;
    Ok(batch)
}

async fn open_deliveries(tx: &mut Tx, state: &FanoutState, run: &Recovery, now: Timestamp) -> anyhow::Result<Batch> {
    let rows: Vec<Delivery> = on_tx!(&mut *tx, conn => match &run.delivery_id {
        Some(id) => sqlx::query_as("select id, message_id, state, recovery_id, job_id from deliveries where id = $1")
            .bind(id)
            .fetch_all(conn)
            .await?,
        None => sqlx::query_as(
            "select id, message_id, state, recovery_id, job_id from deliveries
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
            _ if own => !settled,
            // One that is not settled has a job, or has lost it.
            What::Backlog | What::One if !settled => true,
            What::Backlog => false,
            _ => wanted,
        };
        batch.sent_again += usize::from(own || ready);
        if ready {
            let own_job = row.job_id.filter(|_| own);
            let job = match own_job {
                Some(job) => job,
                None => reopen(tx, state, &row.id, run, now).await?,
            };
            batch.ready.push(Ready { delivery: row.id, message: row.message_id, job });
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
        if !wish.wants(&row.event_type, &body["data"])? {
            continue;
        }
        let Some((delivery, job)) = job_for(tx, state, run, wish, &row.id, now).await? else { continue };
        batch.sent_again += 1;
        batch.ready.extend(job.map(|job| Ready { delivery, message: row.id, job }));
    }
    Ok(batch)
}

/// Opens the message's delivery, or for `all` opens it again. The delivery, if it is this run's, and the number of the job
/// that it needs, if it needs one (still).
async fn job_for(
    tx: &mut Tx,
    state: &FanoutState,
    run: &Recovery,
    wish: &Wish,
    message: &str,
    now: Timestamp,
) -> anyhow::Result<Option<(String, Option<String>)>> {
    let row: Option<Delivery> = on_tx!(&mut *tx, conn => {
        sqlx::query_as(
            "select id, message_id, state, recovery_id, job_id from deliveries
             where message_id = $1 and endpoint_id = $2",
        )
        .bind(message)
        .bind(&run.endpoint_id)
        .fetch_optional(conn)
        .await?
    });
    let Some(row) = row else {
        let id = state.new_id("dlv_", now);
        open_delivery(tx, id.clone(), message, wish, &run.tenant, now).await?;
        let job = reopen(tx, state, &id, run, now).await?;
        return Ok(Some((id, Some(job))));
    };
    let settled = !matches!(row.state.as_str(), "pending" | "failed");
    if row.recovery_id.as_deref() == Some(&run.id) {
        return Ok(Some((row.id, row.job_id.filter(|_| !settled))));
    }
    // One that is not settled has a job that will bring it.
    if run.what == What::All && settled {
        let job = reopen(tx, state, &row.id, run, now).await?;
        return Ok(Some((row.id, Some(job))));
    }
    Ok(None)
}

/// Makes a delivery pending (again) for a new job, and answers that job's number.
async fn reopen(
    tx: &mut Tx,
    state: &FanoutState,
    delivery: &str,
    run: &Recovery,
    now: Timestamp,
) -> Result<String, sqlx::Error> {
    let job = state.new_id("dlv_", now);
    let rows = on_tx!(tx, conn => {
        // The new job counts its epochs from the start. One that failed and waits keeps its state: its job may be alive.
        let rows = sqlx::query(
            "update deliveries
             set state = case when settled_at is null then state else 'pending' end,
                 next_at = case when settled_at is null then next_at else null end,
                 epoch = case when settled_at is null then epoch else 0 end,
                 settled_at = null, recovery_id = $2, job_id = $3, updated_at = $4
             where id = $1",
        )
        .bind(delivery)
        .bind(&run.id)
        .bind(&job)
        .bind(now.as_ms())
        .execute(&mut *conn)
        .await?
        .rows_affected();
        sqlx::query(
            "insert into delivery_order (endpoint_id, delivery_id)
             select endpoint_id, $2 from endpoint_delivery where endpoint_id = $1 and ordering = 'strict'
             on conflict (delivery_id) do nothing",
        )
        .bind(&run.endpoint_id)
        .bind(delivery)
        .execute(conn)
        .await?;
        rows
    });
    if rows == 1 { Ok(job) } else { Err(sqlx::Error::RowNotFound) }
}

/// Says that another job than the one that was meant brings a delivery.
pub(super) async fn follow(state: &FanoutState, meant: &str, delivery: &str, job: JobId) -> Result<(), sqlx::Error> {
    on_pool!(state.db.write(), pool => {
        // Zero rows: it follows it already.
        sqlx::query("update deliveries set job_id = $3 where id = $2 and job_id = $1")
            .bind(meant)
            .bind(delivery)
            .bind(format!("dlv_{}", job.to_string().replace('-', "")))
            .execute(pool)
            .await?;
    });
    Ok(())
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
        .bind(count(batch.sent_again))
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
