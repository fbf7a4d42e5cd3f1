//! `webhook.fanout`: one event becomes one message, a delivery for each matching endpoint, and a job for each delivery.
//!
//! May die anywhere and be run again: rows are inserted once, jobs are unique per (message, endpoint), and a message
//! that is through is marked, so that a later run changes nothing, not even for endpoints that came since.

use super::deliver::Deliver;
use super::event_types::{self, EventTypeError};
use super::ledger::{self, BATCH};
use super::{Event, FanoutState};
use crate::clock::Timestamp;
use crate::job::{Done, JobError, JobSpec, PayloadError};
use crate::queue::Queue;
use crate::store::BATCH_MAX;
use crate::worker::{Context, Handler};

const _: () = assert!(BATCH <= BATCH_MAX, "a batch of deliveries must fit one call of the queue");

/// A part of a fan-out.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) message: String,
    /// Endpoints whose job is to be enqueued.
    pub(super) pending: Vec<String>,
    /// The last endpoint looked at; `None`: there are no more.
    pub(super) last: Option<String>,
    /// An earlier run has finished.
    pub(super) fanned: bool,
}

impl Handler for Event {
    type State = FanoutState;

    async fn run(self, ctx: Context, state: &FanoutState) -> Result<Done, JobError> {
        fan_out(state, ctx.queue(), &self, ctx.created_at(), |spec| ctx.descend(spec)).await
    }
}

/// One run of `webhook.fanout`. `at` is when the event was published, the same at every run; `dress` is given each
/// `webhook.deliver` job before it is enqueued.
///
/// # Errors
/// Dead when the event is malformed; otherwise the database or the queue did not take it, and a later run goes on
/// where this one stopped.
pub async fn fan_out(
    state: &FanoutState,
    queue: &Queue,
    event: &Event,
    at: Timestamp,
    dress: impl Fn(JobSpec) -> JobSpec,
) -> Result<Done, JobError> {
    event.check().map_err(JobError::dead)?;
    event_types::check_event(&state.db, event).await.map_err(EventTypeError::into_job_error)?;
    let mut after = String::new();
    let mut deliveries = 0;
    loop {
        let batch = ledger::open_batch(state, event, at, &after).await?;
        if batch.fanned {
            return Ok(report(&batch.message, 0));
        }
        let specs = batch.pending.iter().map(|endpoint| {
            let spec = delivery(state, &batch.message, endpoint, &event.tenant)?;
            Ok(dress(spec))
        });
        let specs = specs.collect::<Result<Vec<_>, PayloadError>>()?;
        deliveries += specs.len();
        if !specs.is_empty() {
            queue.enqueue_all(specs).await?;
        }
        let Some(last) = batch.last else {
            ledger::close_message(state, &batch.message).await?;
            return Ok(report(&batch.message, deliveries));
        };
        after = last;
    }
}

/// The job that brings one message to one endpoint.
pub(super) fn delivery(
    state: &FanoutState,
    message: &str,
    endpoint: &str,
    tenant: &str,
) -> Result<JobSpec, PayloadError> {
    let job = Deliver { message: message.to_owned(), endpoint: endpoint.to_owned() };
    let mut spec = JobSpec::of(&job)?.tenant(tenant).unique(&format!("deliver:{message}:{endpoint}"));
    spec.max_attempts = state.config.max_attempts();
    spec.timeout = state.config.timeout() + super::deliver::MARGIN;
    Ok(spec)
}

fn report(message: &str, deliveries: usize) -> Done {
    Done::with(serde_json::json!({ "message": message, "deliveries": deliveries }))
}
