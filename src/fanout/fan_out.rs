//! `webhook.fanout`: one event becomes one message, a delivery for each matching endpoint, and a job for each delivery.
//!
//! May die anywhere and be run again: rows are inserted once, jobs are unique per (message, endpoint), and a message
//! that is through is marked, so that a later run changes nothing, not even for endpoints that came since.

use super::deliver::Deliver;
use super::event_types::{self, EventTypeError};
use super::ledger::{BATCH, CloseMessage, Content, OpenBatch};
use super::{Event, FanoutState};
use crate::clock::Timestamp;
use crate::job::{Done, JobError, JobId, JobSpec};
use crate::queue::Queue;
use crate::store::{BATCH_MAX, NewJob};
use crate::worker::{Context, Handler};

const _: () = assert!(BATCH <= BATCH_MAX, "a batch of deliveries must fit one call of the queue");

/// A part of a fan-out.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) message: String,
    /// Deliveries whose job is to be enqueued.
    pub(super) pending: Vec<Opened>,
    /// The last endpoint looked at; `None`: there are no more.
    pub(super) last: Option<String>,
    /// An earlier run has finished.
    pub(super) fanned: bool,
    /// What the message says, if it was written with this part.
    pub(super) content: Option<Content>,
}

/// A delivery that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) delivery: String,
    pub(super) endpoint: String,
    /// The endpoint's own schedule, as JSON.
    pub(super) retry_delays_ms: Option<String>,
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
        let (now, entropy) = (state.clock.now(), state.entropy.clone());
        let open = OpenBatch { event: event.clone(), at, after, now, entropy };
        let batch = state.db.together(open).await?;
        if let Some(content) = batch.content {
            state.contents.keep(&batch.message, content);
        }
        if batch.fanned {
            return Ok(report(&batch.message, 0));
        }
        let jobs = batch.pending.iter().filter_map(|opened| {
            let job = Deliver { message: batch.message.clone(), endpoint: opened.endpoint.clone() };
            let id = job_of(&opened.delivery)?;
            Some(new_job(state, queue, &job, id, &event.tenant, opened.retry_delays_ms.as_deref(), &dress))
        });
        let jobs = jobs.collect::<anyhow::Result<Vec<_>>>()?;
        deliveries += jobs.len();
        if !jobs.is_empty() {
            queue.keep(jobs).await?;
        }
        let Some(last) = batch.last else {
            state.db.together(CloseMessage { message: batch.message.clone(), now: state.clock.now() }).await?;
            return Ok(report(&batch.message, deliveries));
        };
        after = last;
    }
}

/// The job of a delivery has the delivery's own number, so that each is found from the other.
pub(super) fn job_of(delivery: &str) -> Option<JobId> {
    delivery.strip_prefix("dlv_")?.parse().ok()
}

/// The delivery that a job of this number brings, unless somebody has taken it up again.
pub(super) fn delivery_of(job: JobId) -> String {
    format!("dlv_{}", uuid::Uuid::from_bytes(*job.as_bytes()).simple())
}

/// The job that brings a delivery, as its endpoint's schedule (or the configured one) has it.
pub(super) fn new_job(
    state: &FanoutState,
    queue: &Queue,
    job: &Deliver,
    id: JobId,
    tenant: &str,
    retry_delays_ms: Option<&str>,
    dress: impl Fn(JobSpec) -> JobSpec,
) -> anyhow::Result<NewJob> {
    let own: Option<Vec<u64>> = retry_delays_ms.map(serde_json::from_str).transpose()?;
    let key = format!("deliver:{}:{}", job.message, job.endpoint);
    let mut spec = JobSpec::of(job)?.tenant(tenant).unique(&key);
    spec.max_attempts = state.config.attempts_of(own.as_deref());
    spec.timeout = state.config.timeout() + super::deliver::MARGIN;
    Ok(NewJob { id, ..queue.admit(dress(spec))? })
}

fn report(message: &str, deliveries: usize) -> Done {
    Done::with(serde_json::json!({ "message": message, "deliveries": deliveries }))
}
