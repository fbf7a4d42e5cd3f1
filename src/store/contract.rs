//! The [`Store`] trait and the values that cross it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::query::{Counts, ListQuery, LogLine, Page, StoreHealth, WhyNot, WorkerRecord};
use super::shared::{BreakerState, Budget, RateDecision, RateLimit, RememberedReply, Reservation};
use super::tick::{HistoryEntry, ScheduleChange, ScheduleDeclaration, ScheduleRecord, Tick, Ticked};
use super::{Lease, LeaseToken, StoreError};
use crate::clock::Timestamp;
use crate::job::{
    Attempt, DeadReason, Incarnation, JobId, JobRecord, JobSpec, JobState, Priority, Progress, QueueName,
};

/// A job with the id it shall have; the same id again is a duplicate, so an unsure enqueue may be repeated.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id, from [`Queue`](crate::queue::Queue).
    pub id: JobId,
    /// What is asked.
    pub spec: JobSpec,
}

/// What became of one enqueued job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "job", rename_all = "snake_case")]
pub enum Enqueued {
    /// It is kept now, durably.
    Inserted(JobId),
    /// One with the same id or unique key was there; this is it.
    Duplicate(JobId),
}

impl Enqueued {
    /// The job that is kept now, whoever brought it.
    pub fn job(self) -> JobId {
        match self {
            Self::Inserted(id) | Self::Duplicate(id) => id,
        }
    }

    /// True when this call brought it.
    pub fn is_new(self) -> bool {
        matches!(self, Self::Inserted(_))
    }
}

/// One claimed job: what a worker needs to run it, and the right to.
#[derive(Debug)]
pub struct Claimed {
    /// The right to finish this attempt.
    pub lease: Lease,
    /// The queue it came from.
    pub queue: QueueName,
    /// Its kind.
    pub kind: Arc<str>,
    /// JSON text.
    pub payload: Arc<str>,
    /// Whose work this is.
    pub tenant: Option<Arc<str>>,
    /// 0 first, 9 last.
    pub priority: Priority,
    /// This attempt's number, from 1.
    pub attempt: Attempt,
    /// Attempts until it is dead.
    pub max_attempts: u32,
    /// How often its holder died before.
    pub crashes: u32,
    /// This attempt may take so long.
    pub timeout: Duration,
    /// Ties together all that came from one cause.
    pub correlation_id: Option<Arc<str>>,
    /// W3C trace context of the cause.
    pub traceparent: Option<Arc<str>>,
    /// When the store accepted it.
    pub created_at: Timestamp,
    /// When it became due.
    pub run_at: Timestamp,
    /// When the store gave it out.
    pub claimed_at: Timestamp,
}

/// What shall become of a claimed job. The one `match` in [`worker`](crate::worker) makes it.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// To `completed`.
    Complete {
        /// Kept with it.
        result: Option<Box<RawValue>>,
        /// Enqueued in the same transaction.
        children: Vec<NewJob>,
    },
    /// A failed attempt: to `scheduled`, due after `delay`.
    Retry {
        /// Kept with it.
        error: String,
        /// The wait.
        delay: Duration,
    },
    /// Not an attempt: to `scheduled`, due after `delay`.
    Snooze {
        /// Kept as its progress note.
        reason: String,
        /// The wait.
        delay: Duration,
    },
    /// To `dead`.
    Dead {
        /// Which kind of end.
        reason: DeadReason,
        /// Kept with it.
        error: String,
    },
    /// To `cancelled`.
    Cancel {
        /// Kept with it.
        reason: String,
    },
    /// Handed back by a clean stop: to `ready` at once, the attempt is not counted.
    Release,
}

/// A lease used up by a verdict.
#[derive(Debug)]
pub struct Settlement {
    /// The right.
    pub lease: Lease,
    /// The decision.
    pub verdict: Verdict,
}

/// What became of one settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The job is in this state now, durably.
    Accepted(JobState),
    /// The lease was stale; nothing was changed, the refusal was counted.
    LeaseLost,
}

/// What a worker process says about itself every beat.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Who.
    pub incarnation: Incarnation,
    /// A host and process name for people; identifies nothing.
    pub label: Arc<str>,
    /// The queues it serves.
    pub queues: Vec<QueueName>,
    /// How many jobs it runs now.
    pub running: u32,
    /// Without another beat for so long it is dead.
    pub lease: Duration,
    /// Its own clock, so that the store can show the skew.
    pub worker_now: Timestamp,
}

/// What the store answers to a beat.
#[derive(Clone, Debug)]
pub struct BeatReply {
    /// The store's clock.
    pub store_now: Timestamp,
    /// Jobs of this worker that somebody wants cancelled.
    pub cancel: Vec<LeaseToken>,
    /// An operator wants this worker to take no more jobs.
    pub drain: bool,
}

/// What one round of rescue did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rescued {
    /// Incarnations declared dead.
    pub dead_workers: u32,
    /// Jobs given back to `ready`, or cancelled where that was asked for.
    pub to_ready: u32,
    /// Jobs that had crashed too often: to `dead`.
    pub to_dead: u32,
    /// True when the batch was full: call again at once.
    pub more: bool,
}

/// What one round of promotion did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Promoted {
    /// Jobs that became ready.
    pub promoted: u32,
    /// When the next scheduled job is due, if there is one.
    pub next_due: Option<Timestamp>,
    /// True when the batch was full: call again at once.
    pub more: bool,
}

/// How long finished jobs of a queue are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Completed and cancelled jobs older than this go.
    pub finished_for: Duration,
    /// Of each of the two states at most so many stay, newest first.
    pub finished_max: u64,
    /// Dead jobs older than this go.
    pub dead_for: Duration,
    /// Of those at most so many stay.
    pub dead_max: u64,
}

impl Default for Retention {
    /// A day and 100,000 finished; 90 days and 100,000 dead.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { finished_for: DAY, finished_max: 100_000, dead_for: DAY * 90, dead_max: 100_000 }
    }
}

/// What one round of pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Finished jobs taken away.
    pub jobs: u32,
    /// Expired keys, replies, cache entries and dead workers taken away.
    pub other: u32,
    /// True when the batch was full: call again.
    pub more: bool,
}

/// What a cancel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancel {
    /// It is cancelled.
    Cancelled,
    /// It is running; its holder is told with its next beat.
    Requested,
}

/// What an admin retry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryDead {
    /// From `dead` to `ready`, with its attempts and crashes counted from zero.
    Revived,
    /// From `scheduled` to `ready` now.
    RunNow,
}

/// What a store needs to know of a queue to hand out its jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Its name.
    pub name: QueueName,
    /// At most so many claims in a time, over all workers.
    pub rate: Option<RateLimit>,
    /// How long its finished jobs stay.
    pub retention: Retention,
}

/// Keeps jobs. See the [module](super) for what every implementation guarantees.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Makes the queues known and sets their limits. Queues not named stay as they are.
    async fn declare_queues(&self, queues: Vec<QueueSettings>) -> Result<(), StoreError>;

    /// Keeps up to [`BATCH_MAX`](super::BATCH_MAX) jobs: all of the batch or, on an error, none. Durable when it returns.
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreError>;

    /// Hands out up to `n` ready jobs of `queue`, first priority, then what has
    /// been due longest, then the order of arrival. With none it waits up to
    /// `wait` for one. A caller that drops the call loses nothing: what was claimed for it is handed back.
    async fn claim(
        &self,
        queue: &QueueName,
        worker: Incarnation,
        n: u32,
        wait: Duration,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Ends attempts, each with all that belongs to it: state, result, counters, unique key, children. Answers in the
    /// order of the batch. On an error nothing of the batch was changed and the same batch may be given again.
    async fn settle(&self, batch: Arc<[Settlement]>) -> Result<Vec<Settled>, StoreError>;

    /// Renews the lease of everything this worker runs, in one operation; the first beat registers it.
    ///
    /// # Errors
    /// [`StoreError::DeadIncarnation`] when it was declared dead.
    async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, StoreError>;

    /// Signs a worker off after a clean stop; what it still runs goes back at once, uncharged.
    async fn sign_off(&self, worker: Incarnation) -> Result<Rescued, StoreError>;

    /// Keeps how far a running job is. False: the lease was stale.
    async fn progress(&self, lease: LeaseToken, progress: Progress) -> Result<bool, StoreError>;

    /// Keeps lines with a running job (the last 200). False: the lease was stale.
    async fn log(&self, lease: LeaseToken, lines: Vec<String>) -> Result<bool, StoreError>;

    /// Takes jobs from dead workers, and jobs past their deadline, at most `limit`.
    async fn rescue(&self, limit: u32) -> Result<Rescued, StoreError>;

    /// Makes due jobs ready, at most `limit`.
    async fn promote(&self, limit: u32) -> Result<Promoted, StoreError>;

    /// Takes away what its queue's retention no longer keeps, at most `limit` rows.
    async fn prune(&self, limit: u32) -> Result<Pruned, StoreError>;

    /// Rings when a job was scheduled that may be due before the last [`Promoted::next_due`].
    fn due_signal(&self) -> Arc<Notify>;

    /// Cancels a job, or asks its holder to.
    async fn cancel(&self, job: JobId, reason: &str) -> Result<Cancel, StoreError>;

    /// Brings a dead job back, or a scheduled one forward.
    async fn retry(&self, job: JobId) -> Result<RetryDead, StoreError>;

    /// Takes a finished job away.
    async fn delete(&self, job: JobId) -> Result<(), StoreError>;

    /// Gives out no more jobs of the queue. True: it was not paused before.
    async fn pause(&self, queue: &QueueName) -> Result<bool, StoreError>;

    /// Gives them out again. True: it was paused before.
    async fn resume(&self, queue: &QueueName) -> Result<bool, StoreError>;

    /// Cancels up to `limit` waiting (ready and scheduled) jobs of the queue; how many it was.
    async fn purge(&self, queue: &QueueName, limit: u32) -> Result<u32, StoreError>;

    /// Asks a worker to take no more jobs.
    async fn drain_worker(&self, worker: Incarnation) -> Result<(), StoreError>;

    /// One job, with everything.
    async fn get(&self, job: JobId) -> Result<Option<JobRecord>, StoreError>;

    /// The lines it logged, oldest first.
    async fn logs(&self, job: JobId) -> Result<Vec<LogLine>, StoreError>;

    /// A page of jobs, keyset paged.
    async fn list(&self, query: ListQuery) -> Result<Page, StoreError>;

    /// How many jobs are in each state of each queue: read from maintained counters.
    async fn counts(&self) -> Result<Counts, StoreError>;

    /// Why a job is not running.
    async fn explain(&self, job: JobId) -> Result<WhyNot, StoreError>;

    /// The workers that are alive.
    async fn workers(&self) -> Result<Vec<WorkerRecord>, StoreError>;

    /// A round trip, and what the store can promise.
    async fn health(&self) -> Result<StoreHealth, StoreError>;

    /// The store's clock.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Makes schedules known: keeps cursor and overrides of known ones; new ones start at now.
    async fn declare_schedules(&self, schedules: Vec<ScheduleDeclaration>) -> Result<(), StoreError>;

    /// All schedules with cursor and overrides.
    async fn schedules(&self) -> Result<Vec<ScheduleRecord>, StoreError>;

    /// Enqueues the job of one due time, exactly once per (schedule, due time) in the whole cluster, and moves the cursor.
    async fn tick(&self, tick: Tick) -> Result<Ticked, StoreError>;

    /// Pauses, resumes or overrides a schedule; kept in its history. False: a [`ScheduleChange::SkipTo`] came too late and
    /// changed nothing.
    async fn change_schedule(&self, name: &str, change: ScheduleChange, by: &str) -> Result<bool, StoreError>;

    /// What happened to a schedule, newest first, at most 100.
    async fn schedule_history(&self, name: &str) -> Result<Vec<HistoryEntry>, StoreError>;

    /// A value of the TTL cache. Tenants never see each other's.
    async fn cache_get(&self, tenant: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps a value, at most 256 KiB, for `ttl`.
    async fn cache_put(&self, tenant: &str, key: &str, value: Vec<u8>, ttl: Duration) -> Result<(), StoreError>;

    /// Forgets a value.
    async fn cache_delete(&self, tenant: &str, key: &str) -> Result<(), StoreError>;

    /// Takes `cost` from the budget of `key`, or says how long to wait; over the whole cluster.
    async fn take(&self, key: &str, limit: RateLimit, cost: u32) -> Result<RateDecision, StoreError>;

    /// Reads a budget without taking.
    async fn budget(&self, key: &str, limit: RateLimit) -> Result<Budget, StoreError>;

    /// Reserves an idempotency key for a request with this fingerprint: the key and its fingerprint stay for `ttl` from the
    /// first reservation, but one request holds it for `lease` only. When that is over without a reply, an equal
    /// request is granted it again, and told when it was granted first.
    async fn reserve(
        &self,
        scope: &str,
        key: &str,
        fingerprint: &[u8],
        lease: Duration,
        ttl: Duration,
    ) -> Result<Reservation, StoreError>;

    /// Keeps the reply of a reserved key for every repetition.
    async fn remember(&self, scope: &str, key: &str, reply: RememberedReply) -> Result<(), StoreError>;

    /// Ends the lease of a reserved key without a reply, so that the next equal request may try at once.
    async fn release(&self, scope: &str, key: &str) -> Result<(), StoreError>;

    /// The shared state of a breaker. After the cooldown the first to ask is told [`BreakerState::HalfOpen`] and is the
    /// probe; everybody else sees it open until the probe has reported.
    async fn breaker(&self, name: &str) -> Result<BreakerState, StoreError>;

    /// Reports a call's end to a breaker and answers its new state. It opens for `cooldown` at the `threshold`th failure in a row,
    /// and so again when a probe fails; one that was opened at a lower threshold counts a failed probe as a failure and closes.
    async fn breaker_report(
        &self,
        name: &str,
        ok: bool,
        threshold: u32,
        cooldown: Duration,
    ) -> Result<BreakerState, StoreError>;

    /// Closes a breaker by hand; a closed one stays closed.
    async fn breaker_reset(&self, name: &str) -> Result<(), StoreError>;
}
