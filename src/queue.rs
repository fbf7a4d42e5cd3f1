//! The one road in: everything that becomes a job becomes one here.
//!
//! Checks what a caller may get wrong (queue, payload, limits), gives the job its id, hands it to the store, and counts what
//! became of it. Webhooks, schedules, fan-out, operators and handlers all come this way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Entropy, Timestamp};
use crate::job::{JobId, JobSpec, PayloadError, QueueName};
use crate::store::{BATCH_MAX, Enqueued, NewJob, Store, StoreError, Ticked};

use counted::CountedQueues;

mod counted;

/// No job may be put further into the future.
pub const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);
const MAX_TAGS: usize = 16;
const MAX_TEXT: usize = 255;
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Why a job was not enqueued. [`EnqueueError::Store`] may be temporary, the others stay wrong.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The payload is no JSON or too large.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// No such queue is configured.
    #[error("queue `{queue}` is not configured; known queues: {known}")]
    UnknownQueue {
        /// What was asked for.
        queue: QueueName,
        /// What there is.
        known: String,
    },
    /// A field is out of range.
    #[error("{field} is {value}; allowed: {allowed}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        allowed: String,
    },
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Enqueues jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Arc<dyn Store>,
    names: Arc<BTreeSet<QueueName>>,
    counted: Arc<CountedQueues>,
    clock: Clock,
    entropy: Entropy,
}

impl Queue {
    /// Enqueues into `store`, only to the queues in `names`.
    pub fn new(store: Arc<dyn Store>, names: BTreeSet<QueueName>, clock: Clock, entropy: Entropy) -> Self {
        let counted = Arc::new(CountedQueues::of(&names));
        Self { store, names: Arc::new(names), counted, clock, entropy }
    }

    /// Keeps one job. Durable when it returns.
    ///
    /// # Errors
    /// When the job is not acceptable, or the store did not take it.
    pub async fn enqueue(&self, spec: JobSpec) -> Result<Enqueued, EnqueueError> {
        self.put(self.admit(spec)?).await
    }

    /// Keeps one job under an id that its caller has for it: the same id again is a duplicate, whatever became of the
    /// job, for as long as its queue keeps finished jobs.
    ///
    /// # Errors
    /// As [`Queue::enqueue`].
    pub async fn enqueue_as(&self, id: JobId, spec: JobSpec) -> Result<Enqueued, EnqueueError> {
        let job = self.admit(spec)?;
        self.put(NewJob { id, ..job }).await
    }

    async fn put(&self, job: NewJob) -> Result<Enqueued, EnqueueError> {
        let (id, queue) = (job.id, job.spec.queue.clone());
        let done = self.store.enqueue(vec![job]).await?;
        self.counted.kept([&queue], &done);
        Ok(done.first().copied().unwrap_or(Enqueued::Inserted(id)))
    }

    /// Keeps up to [`BATCH_MAX`] jobs that were [admitted](Queue::admit) before: all, or none on an error.
    ///
    /// # Errors
    /// When the store did not take them.
    pub async fn keep(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreError> {
        let queues: Vec<QueueName> = jobs.iter().map(|job| job.spec.queue.clone()).collect();
        let done = self.store.enqueue(jobs).await?;
        self.counted.kept(&queues, &done);
        Ok(done)
    }

    /// Counts the jobs that the store has kept with the completion of another one.
    pub fn followed(&self, children: &[NewJob]) {
        self.counted.followed(children);
    }

    /// Counts what a schedule's tick has made in `queue`.
    pub fn ticked(&self, queue: &QueueName, ticked: Ticked) {
        match ticked {
            Ticked::Enqueued(_) => self.counted.made(queue),
            Ticked::SkippedOverlap(_) | Ticked::Held | Ticked::AlreadyDecided | Ticked::Paused => {}
        }
    }

    /// Keeps up to [`BATCH_MAX`] jobs: all, or none on an error.
    ///
    /// # Errors
    /// When one of them is not acceptable, or the store did not take them.
    pub async fn enqueue_all(&self, specs: Vec<JobSpec>) -> Result<Vec<Enqueued>, EnqueueError> {
        if specs.len() > BATCH_MAX {
            let (field, value) = ("the batch", format!("{} jobs", specs.len()));
            return Err(EnqueueError::Invalid { field, value, allowed: format!("at most {BATCH_MAX} in one call") });
        }
        let jobs = specs.into_iter().map(|spec| self.admit(spec)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.keep(jobs).await?)
    }

    /// Checks a job and gives it its id, for those who hand it to the store inside something larger (tick, settle).
    ///
    /// # Errors
    /// When the job is not acceptable.
    pub fn admit(&self, spec: JobSpec) -> Result<NewJob, EnqueueError> {
        if !self.names.contains(&spec.queue) {
            let known = self.names.iter().map(QueueName::as_str).collect::<Vec<_>>().join(", ");
            return Err(EnqueueError::UnknownQueue { queue: spec.queue, known });
        }
        check(&spec, self.clock.now())?;
        Ok(NewJob { id: JobId::new(self.clock.now(), &self.entropy), spec })
    }

    /// The queues that may be enqueued to.
    pub fn names(&self) -> &BTreeSet<QueueName> {
        &self.names
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

fn check(spec: &JobSpec, now: Timestamp) -> Result<(), EnqueueError> {
    let invalid =
        |field, value: String, allowed: &str| Err(EnqueueError::Invalid { field, value, allowed: allowed.to_owned() });
    if spec.max_attempts == 0 || spec.max_attempts > 1_000 {
        return invalid("max_attempts", spec.max_attempts.to_string(), "1 to 1000");
    }
    // Stores count milliseconds: a shorter one would be zero there.
    if spec.timeout < Duration::from_millis(1) || spec.timeout > MAX_TIMEOUT {
        return invalid("timeout", format!("{:?}", spec.timeout), "1 ms to 24 h");
    }
    if spec.run_at.resolve(now).since(now) > MAX_DELAY {
        return invalid("run_at", format!("{:?}", spec.run_at), "at most 366 days ahead");
    }
    if spec.tags.len() > MAX_TAGS || spec.tags.iter().any(|t| t.is_empty() || t.len() > 64) {
        return invalid("tags", format!("{:?}", spec.tags), "at most 16, each 1 to 64 bytes");
    }
    let texts = [
        ("kind", Some(&*spec.kind)),
        ("tenant", spec.tenant.as_deref()),
        ("correlation_id", spec.correlation_id.as_deref()),
        ("traceparent", spec.traceparent.as_deref()),
        ("unique_key", spec.unique.as_ref().map(|u| &*u.key)),
        ("enqueued_by", Some(&*spec.enqueued_by)),
    ];
    for (field, text) in texts {
        let Some(text) = text else { continue };
        if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            let value = text.chars().take(80).collect();
            return invalid(field, value, "1 to 255 bytes without control characters");
        }
    }
    Ok(())
}
