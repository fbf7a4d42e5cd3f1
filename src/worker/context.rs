//! What a handler can reach besides its own state.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::attempt::Stop;
use super::place::Place;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::job::{Attempt, JobId, JobSpec, Progress, QueueName};
use crate::queue::{EnqueueError, Queue};
use crate::store::{Enqueued, LeaseToken, Store, StoreError};

/// One attempt's surroundings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) attempt: Arc<AttemptInfo>,
    pub(super) around: Arc<Surroundings>,
    pub(super) stop: Stop,
    pub(super) place: Place,
}

/// What all attempts of a process share.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) queue: Queue,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
}

/// What does not change during one attempt.
#[derive(Debug)]
pub(super) struct AttemptInfo {
    pub(super) lease: LeaseToken,
    pub(super) queue: QueueName,
    pub(super) kind: Arc<str>,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) number: Attempt,
    pub(super) max_attempts: u32,
    pub(super) crashes: u32,
    pub(super) correlation_id: Option<Arc<str>>,
    pub(super) traceparent: Option<Arc<str>>,
    pub(super) created_at: Timestamp,
}

impl Context {
    /// The job's id, the same at every attempt: an idempotency key for the outside world.
    pub fn job_id(&self) -> JobId {
        self.attempt.lease.job
    }

    /// This attempt's lease: its epoch rises with every claim, so `… where epoch <= $1` keeps a stale attempt out.
    pub fn lease(&self) -> LeaseToken {
        self.attempt.lease
    }

    /// The queue it runs on.
    pub fn queue_name(&self) -> &QueueName {
        &self.attempt.queue
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        &self.attempt.kind
    }

    /// Whose work this is.
    pub fn tenant(&self) -> Option<&str> {
        self.attempt.tenant.as_deref()
    }

    /// This attempt's number, from 1.
    pub fn attempt(&self) -> Attempt {
        self.attempt.number
    }

    /// True when a failure now is the end.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt.number >= self.attempt.max_attempts
    }

    /// How often a worker died while it ran this job: above zero means that the work may be half done.
    pub fn crashes(&self) -> u32 {
        self.attempt.crashes
    }

    /// Ties together all that came from one cause; the job's own id where nobody gave one.
    pub fn correlation_id(&self) -> String {
        self.attempt.correlation_id.as_deref().map_or_else(|| self.job_id().to_string(), str::to_owned)
    }

    /// The W3C trace context it came with.
    pub fn traceparent(&self) -> Option<&str> {
        self.attempt.traceparent.as_deref()
    }

    /// When the store accepted the job.
    pub fn created_at(&self) -> Timestamp {
        self.attempt.created_at
    }

    /// The worker's clock: for measuring and for times shown to people, not for deciding who may do what.
    pub fn clock(&self) -> &Clock {
        &self.around.clock
    }

    /// Random numbers.
    pub fn entropy(&self) -> &Entropy {
        &self.around.entropy
    }

    /// Rings when the job shall stop: cancelled by a person, its lease lost, or the process is going down.
    pub fn cancelled(&self) -> &CancellationToken {
        self.stop.token()
    }

    /// Enqueues another job at once, tied to this one's cause. To enqueue only if this job completes, use
    /// [`Done::then`](crate::job::Done::then).
    ///
    /// # Errors
    /// As [`Queue::enqueue`].
    pub async fn enqueue(&self, spec: JobSpec) -> Result<Enqueued, EnqueueError> {
        self.around.queue.enqueue(descend(&self.attempt, spec)).await
    }

    /// `spec` with this job's correlation, trace, tenant and name where it has none, as [`Context::enqueue`] gives them.
    pub fn descend(&self, spec: JobSpec) -> JobSpec {
        descend(&self.attempt, spec)
    }

    /// The road in, for code that enqueues in its own way.
    pub fn queue(&self) -> &Queue {
        &self.around.queue
    }

    /// Keeps how far this job is, for operators. False: the lease is lost and the handler should stop.
    ///
    /// # Errors
    /// When the store did not take it.
    pub async fn progress(&self, percent: u8, note: &str) -> Result<bool, StoreError> {
        let progress = Progress { percent: percent.min(100), note: note.to_owned() };
        self.store().progress(self.lease(), progress).await
    }

    /// Keeps a line with the job, for operators. False: the lease is lost and the handler should stop.
    ///
    /// # Errors
    /// When the store did not take it.
    pub async fn log(&self, line: impl Into<String>) -> Result<bool, StoreError> {
        self.store().log(self.lease(), vec![line.into()]).await
    }

    /// Caches, rate limits and breakers shared by the cluster.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.around.queue.store()
    }

    /// Leaves this job's place in its pool to the next one, for the rest of the attempt: for a handler that has nothing to do
    /// but wait for somebody outside. False: too many of the pool wait like this, or it has left already; nothing has
    /// changed.
    pub fn leave_place(&self) -> bool {
        self.place.leave()
    }

    /// Leaves this job's place in its pool for a while: for a handler that waits for its turn before it begins with its work
    /// proper, and then comes back with [`Context::step_in`]. False: enough of the pool are outside; nothing has changed.
    pub fn step_out(&self) -> bool {
        self.place.step_out()
    }

    /// Waits for a place in the pool again.
    pub async fn step_in(&self) {
        self.place.step_in().await;
    }

    /// Waits `delay`, or less when the job shall stop. False: it shall stop.
    pub async fn pause(&self, delay: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = self.cancelled().cancelled() => false,
        }
    }
}

/// Gives `spec` the correlation, trace, tenant and name of the job that enqueues it, where it has none.
pub(super) fn descend(parent: &AttemptInfo, mut spec: JobSpec) -> JobSpec {
    if spec.correlation_id.is_none() {
        let own = || parent.lease.job.to_string().into();
        spec.correlation_id = Some(parent.correlation_id.clone().unwrap_or_else(own));
    }
    if spec.traceparent.is_none() {
        spec.traceparent.clone_from(&parent.traceparent);
    }
    if spec.tenant.is_none() {
        spec.tenant.clone_from(&parent.tenant);
    }
    if &*spec.enqueued_by == "unknown" {
        spec.enqueued_by = format!("job:{}", parent.lease.job).into();
    }
    spec
}
