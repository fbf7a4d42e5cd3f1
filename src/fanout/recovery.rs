//! Sending again: one delivery, all that failed, all that was missed, or everything since a time, for one endpoint.
//!
//! A [`Recovery`] is a row, and a `webhook.recover` job that works on it in batches. It has no cap: a long one works for a
//! slice of time, gives its place back, and goes on where it was. Killed anywhere it goes on too: a batch first opens its
//! deliveries under the run's id, then gives them jobs (unique per delivery), then moves the cursor, and each of the three
//! may be repeated. Its deliveries have the last priority, so that live traffic goes before them, and the ordinary
//! retries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fan_out::{job_of, new_job};
use super::{Deliver, FanoutState};
use crate::clock::Timestamp;
use crate::job::{Done, JobError, JobKind, JobSpec, JobState, Priority, RetryPolicy};
use crate::queue::Queue;
use crate::store::{Enqueued, StoreError};
use crate::worker::{Context, Handler};

mod batch;
mod record;
mod start;

use batch::Batch;

pub use record::{Recovery, RecoveryState, What};
pub use start::{NewRecovery, RecoveryError, cancel, get, go_on, list, resend, start, test};

/// A run gives its place back after so long.
const SLICE: Duration = Duration::from_secs(20);
/// And takes it again after so long, or when what it waits for may have changed.
const PAUSE: Duration = Duration::from_secs(1);

/// The payload of `webhook.recover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recover {
    /// `rcv_…`.
    pub recovery: String,
}

impl JobKind for Recover {
    const KIND: &'static str = "webhook.recover";
    const QUEUE: &'static str = "notifications";
    const MAX_ATTEMPTS: u32 = 20;
    const TIMEOUT: Duration = Duration::from_secs(120);

    fn retry_policy() -> RetryPolicy {
        RetryPolicy::Exponential { base: Duration::from_secs(1), cap: Duration::from_secs(300), jitter: 0.2 }
    }
}

impl Handler for Recover {
    type State = FanoutState;

    async fn run(self, ctx: Context, state: &FanoutState) -> Result<Done, JobError> {
        let started = ctx.clock().now();
        let go_on = || !ctx.cancelled().is_cancelled() && ctx.clock().now().since(started) < SLICE;
        let outcome = recover(state, ctx.queue(), &self.recovery, |spec| ctx.descend(spec), go_on).await?;
        let (percent, note) = outcome.progress();
        ctx.progress(percent, &note).await?;
        match outcome.state {
            RecoveryState::Running => Err(JobError::snooze(PAUSE, note)),
            _ => Ok(Done::with(outcome)),
        }
    }
}

/// Works on a recovery while `go_on` says so; how it stands then.
///
/// # Errors
/// When the database or the queue did not take a batch: the next call repeats it. Cancelled when there is no such
/// recovery.
pub async fn recover(
    state: &FanoutState,
    queue: &Queue,
    id: &str,
    dress: impl Fn(JobSpec) -> JobSpec,
    go_on: impl Fn() -> bool,
) -> Result<Recovery, JobError> {
    loop {
        let Some(run) = start::find(&state.db, id).await? else {
            return Err(JobError::cancelled("there is no such recovery"));
        };
        if run.state != RecoveryState::Running || !go_on() {
            return Ok(run);
        }
        let batch = batch::open(state, &run).await?;
        let jobs = batch.ready.iter().filter_map(|ready| {
            let job = Deliver { message: ready.message.clone(), endpoint: run.endpoint_id.clone() };
            let id = job_of(&ready.job)?;
            let priority = if run.what == What::One { Priority::FIRST } else { Priority::LAST };
            let with_priority = |spec| JobSpec { priority, ..dress(spec) };
            Some(new_job(state, queue, &job, id, &run.tenant, batch.retry_delays_ms.as_deref(), with_priority))
        });
        let jobs = jobs.collect::<anyhow::Result<Vec<_>>>()?;
        let enqueued = if jobs.is_empty() { Vec::new() } else { queue.keep(jobs).await? };
        if !settle(state, queue, &run, &batch, &enqueued).await? {
            // The cursor stays: the next call repeats this batch.
            return Ok(run);
        }
        batch::close(state, &run, &batch).await?;
    }
}

/// Looks after those that had a job. False: the last attempt of one is just ending, and its job still has the unique key
/// though it will bring nothing more.
async fn settle(
    state: &FanoutState,
    queue: &Queue,
    run: &Recovery,
    batch: &Batch,
    enqueued: &[Enqueued],
) -> anyhow::Result<bool> {
    for (ready, job) in batch.ready.iter().zip(enqueued) {
        let other = !job.is_new() && job_of(&ready.job) != Some(job.job());
        if !other {
            // It is the one that was asked for, by this call or an earlier one.
            continue;
        }
        let Some(found) = queue.store().get(job.job()).await? else { return Ok(false) };
        let from_before = found.created_at < run.created_at;
        match found.state {
            JobState::Running if from_before => return Ok(false),
            // A person or a resumed endpoint wants it now, and not when its next attempt is due.
            JobState::Scheduled if matches!(run.what, What::One | What::Backlog) => {
                match queue.store().retry(job.job()).await {
                    // It has moved meanwhile, which serves as well.
                    Ok(_) | Err(StoreError::WrongState { .. } | StoreError::NoSuchJob(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            _ => {}
        }
        batch::follow(state, &ready.job, &ready.delivery, job.job()).await?;
    }
    Ok(true)
}

impl Recovery {
    /// How far it has come on its way through time, and the same in words.
    pub fn progress(&self) -> (u8, String) {
        let note = format!("{}: {} looked at, {} sent again", self.state, self.looked_at, self.sent_again);
        let whole = self.until.since(self.since).as_millis().max(1);
        let done = self.reached.since(self.since).as_millis().saturating_mul(100) / whole;
        let percent = if self.state == RecoveryState::Completed { 100 } else { done.min(99) };
        (u8::try_from(percent).unwrap_or(99), note)
    }
}

/// The id that sorts before all those made at `at` or later.
pub(super) fn first_id(prefix: &str, at: Timestamp) -> String {
    format!("{prefix}{:012x}", at.as_ms().max(0))
}
