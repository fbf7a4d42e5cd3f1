//! `webhook_events`: every verified webhook, its body as it came, and what became of it.

use tidemill::clock::Timestamp;
use tidemill::data::{Database, Tx};
use tidemill::job::JobId;
use tidemill::{on_pool, on_tx};

/// Events are kept for so long, for looking back and for running them again.
pub const KEEP: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

/// A webhook to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// `stripe`
    pub source: &'a str,
    /// The sender's id for it.
    pub event_id: &'a str,
    /// The sender's word for what happened.
    pub event_type: &'a str,
    /// When the listener took it.
    pub received_at: Timestamp,
    /// Which of the source's secrets its signature was made with.
    pub verified_with: Option<&'a str>,
    /// The headers that are kept of it, a JSON object.
    pub headers: &'a str,
    /// Its body, byte for byte.
    pub body: &'a [u8],
    /// The queue of the job that takes it.
    pub queue: &'a str,
    /// The kind of job that the source has for it.
    pub handle_as: Option<&'a str>,
    /// The job that takes it.
    pub job: JobId,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The mirror has changed.
    Applied,
    /// Something newer is in the mirror already.
    Superseded,
    /// Nobody here acts on its type.
    Ignored,
    /// It has not the shape that its type promises.
    Unreadable,
}

impl Outcome {
    /// All words of the table: these, and what a webhook is before anything has become of it.
    pub const WORDS: [&'static str; 5] = ["received", "applied", "superseded", "ignored", "unreadable"];

    /// The word that the table has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Superseded => "superseded",
            Self::Ignored => "ignored",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Records a webhook. False: it was there already, and stays as it was.
///
/// # Errors
/// When the database did not take it.
pub async fn record(tx: &mut Tx, event: Received<'_>) -> Result<bool, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query(
            "insert into webhook_events
                 (source, event_id, event_type, received_at, body, verified_with, headers, queue, handle_as, job)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (source, event_id) do nothing",
        )
        .bind(event.source)
        .bind(event.event_id)
        .bind(event.event_type)
        .bind(event.received_at.as_ms())
        .bind(event.body)
        .bind(event.verified_with)
        .bind(event.headers)
        .bind(event.queue)
        .bind(event.handle_as)
        .bind(event.job.to_string())
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
    })
}

/// Gives a recorded webhook to a later job, which processes it again. False: it is that job's already, or a later one's.
///
/// # Errors
/// When the database did not take it.
pub async fn reopen(tx: &mut Tx, source: &str, event_id: &str, job: JobId) -> Result<bool, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query(
            "update webhook_events set job = $3, outcome = 'received', finished_at = null, redeliveries = redeliveries + 1
             where source = $1 and event_id = $2 and (job is null or job < $3)",
        )
        .bind(source)
        .bind(event_id)
        .bind(job.to_string())
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
    })
}

/// The body of a recorded webhook.
///
/// # Errors
/// When the database did not answer.
pub async fn body(db: &Database, source: &str, event_id: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_scalar("select body from webhook_events where source = $1 and event_id = $2")
            .bind(source)
            .bind(event_id)
            .fetch_optional(pool)
            .await
    })
}

/// What became of a recorded webhook, as the table's word.
///
/// # Errors
/// When the database did not answer.
pub async fn outcome(db: &Database, source: &str, event_id: &str) -> Result<Option<String>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_scalar("select outcome from webhook_events where source = $1 and event_id = $2")
            .bind(source)
            .bind(event_id)
            .fetch_optional(pool)
            .await
    })
}

/// Says what became of it; the first word stays. False: it was said before, or the event is gone.
///
/// # Errors
/// When the database did not take it.
pub async fn finish(
    tx: &mut Tx,
    source: &str,
    event_id: &str,
    outcome: Outcome,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query(
            "update webhook_events set outcome = $3, finished_at = $4
             where source = $1 and event_id = $2 and outcome = 'received'",
        )
        .bind(source)
        .bind(event_id)
        .bind(outcome.as_str())
        .bind(now.as_ms())
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
    })
}

/// Takes away up to `limit` events received before `before`; how many it was.
///
/// # Errors
/// When the database did not do it.
pub async fn prune(db: &Database, before: Timestamp, limit: u32) -> Result<u64, sqlx::Error> {
    on_pool!(db.write(), pool => {
        sqlx::query(
            "delete from webhook_events where (source, event_id) in
                 (select source, event_id from webhook_events where received_at < $1 order by received_at limit $2)",
        )
        .bind(before.as_ms())
        .bind(i64::from(limit))
        .execute(pool)
        .await
        .map(|done| done.rows_affected())
    })
}
