//! Begins, shows and ends recoveries; sends test events.

use serde_json::json;

use super::super::endpoints::{self, EndpointError, EndpointState, wish_of};
use super::super::fan_out::{job_of, new_job};
use super::super::ledger::{CloseMessage, OpenBatch, keep_message, open_delivery};
use super::super::operational::WEBHOOK_TEST;
use super::super::{Deliver, Event, FanoutState, InvalidCursor, Page, PageRequest, event_types};
use super::record::{Recovery, Row, What};
use super::{Recover, first_id};
use crate::clock::Timestamp;
use crate::data::{Database, Write as _};
use crate::job::{JobSpec, PayloadError, Priority};
use crate::on_pool;
use crate::queue::{EnqueueError, Queue};

macro_rules! columns {
    () => {
        "id, tenant, endpoint_id, what, delivery_id, since, until, state, reason, cursor, looked_at, sent_again, created_at,
         updated_at"
    };
}

/// What shall be sent again.
#[derive(Clone, Debug)]
pub struct NewRecovery {
    /// To this endpoint.
    pub endpoint: String,
    /// What of it.
    pub what: What,
    /// From when on.
    pub since: Timestamp,
}

/// Why nothing is sent again.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The endpoint is not there, or can't be read.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It gets nothing now.
    #[error("endpoint `{0}` is {1}; enable it first")]
    NotEnabled(String, &'static str),
    /// A time that lies ahead.
    #[error("since is {0}, which lies ahead")]
    Since(Timestamp),
    /// There is none with this id.
    #[error("there is no recovery `{0}`")]
    NoSuchRecovery(String),
    /// There is none with this id.
    #[error("there is no delivery `{0}`")]
    NoSuchDelivery(String),
    /// It is over.
    #[error("recovery `{0}` is {1} already")]
    Over(String, String),
    /// A cursor that is none.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The queue did not take its job.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database did not answer.
    #[error("the database did not answer: {0}")]
    Data(#[from] sqlx::Error),
    /// A test event could not be kept.
    #[error("the test event can't be kept: {0}")]
    Test(anyhow::Error),
}

/// Begins to send again. The run is durable when this returns; its job works on it.
///
/// # Errors
/// When there is no such endpoint, it is not enabled, or `since` lies ahead.
pub async fn start(state: &FanoutState, queue: &Queue, new: NewRecovery) -> Result<Recovery, RecoveryError> {
    let now = state.clock.now();
    if new.since > now {
        return Err(RecoveryError::Since(new.since));
    }
    // What was made in this very millisecond belongs to it.
    let until = now.after(std::time::Duration::from_millis(1));
    begin(state, queue, &new.endpoint, new.what, None, new.since, until).await
}

/// Sends one delivery again, whatever has become of it, with the ordinary retries.
///
/// # Errors
/// When there is no such delivery, or its endpoint is not enabled.
pub async fn resend(state: &FanoutState, queue: &Queue, delivery: &str) -> Result<Recovery, RecoveryError> {
    let found: Option<(String, i64)> = on_pool!(state.db.read(), pool => {
        sqlx::query_as("select endpoint_id, created_at from deliveries where id = $1")
            .bind(delivery)
            .fetch_optional(pool)
            .await?
    });
    let missing = || RecoveryError::NoSuchDelivery(delivery.chars().take(80).collect());
    let (endpoint, at) = found.ok_or_else(missing)?;
    let at = Timestamp::from_ms(at);
    begin(state, queue, &endpoint, What::One, Some(delivery), at, at).await
}

/// Sends the endpoint a `webhook.test` event, or the example of a declared type, whatever it has subscribed to. Answers
/// the message's id.
///
/// # Errors
/// When there is no such endpoint, it is not enabled, or the type has no example.
pub async fn test(
    state: &FanoutState,
    queue: &Queue,
    endpoint: &str,
    event_type: Option<&str>,
) -> Result<String, RecoveryError> {
    let to = enabled(state, endpoint).await?;
    let now = state.clock.now();
    let payload = match event_type {
        None => json!({ "endpoint": to.id, "test": true }),
        Some(name) => {
            let found = event_types::get(&state.db, name).await.map_err(|e| RecoveryError::Test(e.into()))?;
            let none = || RecoveryError::Test(anyhow::anyhow!("event type `{name}` was declared without an example"));
            found.example.ok_or_else(none)?
        }
    };
    let event = Event {
        id: state.new_id("test_", now),
        event_type: event_type.unwrap_or(WEBHOOK_TEST).to_owned(),
        tenant: to.tenant.clone(),
        payload,
    };
    let (delivery, entropy) = (state.new_id("dlv_", now), state.entropy.clone());
    let open = OpenBatch { event, at: now, after: String::new(), now, entropy };
    let mut tx = state.db.begin().await?;
    let wish = wish_of(&mut tx, endpoint).await?;
    let wish = wish.ok_or_else(|| RecoveryError::NotEnabled(to.id.clone(), "disabled"))?;
    let message = keep_message(&mut tx, &open).await.map_err(RecoveryError::Test)?.message;
    open_delivery(&mut tx, delivery.clone(), &message, &wish, &to.tenant, now).await?;
    // Nobody else is to get it.
    CloseMessage { message: message.clone(), now }.write(&mut tx).await?;
    tx.commit().await?;
    let job = Deliver { message: message.clone(), endpoint: to.id };
    if let Some(id) = job_of(&delivery) {
        let first = |spec| JobSpec { priority: Priority::FIRST, ..spec };
        let new = new_job(state, queue, &job, id, &to.tenant, wish.retry_delays_ms.as_deref(), first);
        queue.keep(vec![new.map_err(RecoveryError::Test)?]).await.map_err(EnqueueError::from)?;
    }
    Ok(message)
}

/// Gives every run that is under way its job, if it has lost it: a process may die between the two.
///
/// # Errors
/// When the database or the queue did not answer.
pub async fn go_on(state: &FanoutState, queue: &Queue) -> Result<(), RecoveryError> {
    let ids: Vec<(String, String)> = on_pool!(state.db.read(), pool => {
        sqlx::query_as("select id, tenant from recoveries where state = 'running' order by id limit 1000")
            .fetch_all(pool)
            .await?
    });
    for (id, tenant) in ids {
        queue.enqueue(job(&id, &tenant).map_err(EnqueueError::from)?).await?;
    }
    Ok(())
}

/// One recovery.
///
/// # Errors
/// When there is none with this id.
pub async fn get(db: &Database, id: &str) -> Result<Recovery, RecoveryError> {
    find(db, id).await?.ok_or_else(|| RecoveryError::NoSuchRecovery(id.chars().take(80).collect()))
}

/// A page of recoveries, all or of one endpoint, newest first.
///
/// # Errors
/// When the cursor is none.
pub async fn list(db: &Database, endpoint: Option<&str>, page: &PageRequest) -> Result<Page<Recovery>, RecoveryError> {
    let (below, look) = (page.below("rcv_")?, page.look(false));
    let rows: Vec<Row> = on_pool!(db.read(), pool => match endpoint {
        Some(endpoint) => sqlx::query_as(concat!(
            "select ", columns!(), " from recoveries where endpoint_id = $1 and id < $2 order by id desc limit $3"
        ))
        .bind(endpoint)
        .bind(below)
        .bind(look)
        .fetch_all(pool)
        .await?,
        None => sqlx::query_as(concat!("select ", columns!(), " from recoveries where id < $1 order by id desc limit $2"))
            .bind(below)
            .bind(look)
            .fetch_all(pool)
            .await?,
    });
    let rows = rows.into_iter().map(Recovery::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(rows, page, look, |r| &r.id, |_| true))
}

/// Ends a run; what it has sent stays sent.
///
/// # Errors
/// When there is none with this id, or it is over.
pub async fn cancel(state: &FanoutState, id: &str) -> Result<Recovery, RecoveryError> {
    let rows = on_pool!(state.db.write(), pool => {
        sqlx::query("update recoveries set state = 'cancelled', updated_at = $2 where id = $1 and state = 'running'")
            .bind(id)
            .bind(state.clock.now().as_ms())
            .execute(pool)
            .await?
            .rows_affected()
    });
    let run = get(&state.db, id).await?;
    if rows == 1 { Ok(run) } else { Err(RecoveryError::Over(run.id, run.state.to_string())) }
}

pub(super) async fn find(db: &Database, id: &str) -> Result<Option<Recovery>, sqlx::Error> {
    let row: Option<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(concat!("select ", columns!(), " from recoveries where id = $1"))
            .bind(id)
            .fetch_optional(pool)
            .await?
    });
    row.map(Recovery::try_from).transpose()
}

async fn begin(
    state: &FanoutState,
    queue: &Queue,
    endpoint: &str,
    what: What,
    delivery: Option<&str>,
    since: Timestamp,
    until: Timestamp,
) -> Result<Recovery, RecoveryError> {
    let to = enabled(state, endpoint).await?;
    let now = state.clock.now();
    let id = state.new_id("rcv_", now);
    let row: Row = on_pool!(state.db.write(), pool => {
        sqlx::query_as(concat!(
            "insert into recoveries (id, tenant, endpoint_id, what, delivery_id, since, until, state, cursor, looked_at,
               sent_again, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, 'running', $8, 0, 0, $9, $9) returning ",
            columns!()
        ))
        .bind(&id)
        .bind(&to.tenant)
        .bind(endpoint)
        .bind(what.as_str())
        .bind(delivery)
        .bind(since.as_ms())
        .bind(until.as_ms())
        .bind(first_id(what.prefix(), since))
        .bind(now.as_ms())
        .fetch_one(pool)
        .await?
    });
    queue.enqueue(job(&id, &to.tenant).map_err(EnqueueError::from)?).await?;
    Ok(row.try_into()?)
}

fn job(id: &str, tenant: &str) -> Result<JobSpec, PayloadError> {
    Ok(JobSpec::of(&Recover { recovery: id.to_owned() })?.tenant(tenant).unique(&format!("recover:{id}")))
}

async fn enabled(state: &FanoutState, endpoint: &str) -> Result<endpoints::Endpoint, RecoveryError> {
    let found = endpoints::get(&state.db, endpoint).await?;
    match found.state {
        EndpointState::Enabled => Ok(found),
        EndpointState::Paused => Err(RecoveryError::NotEnabled(found.id, "paused")),
        EndpointState::Disabled => Err(RecoveryError::NotEnabled(found.id, "disabled")),
    }
}
