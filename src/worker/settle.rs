//! Turns what a handler decided into the job's next state.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::attempt::{Interruption, Stop, StopReason};
use super::context::AttemptInfo;
use super::registry::Registry;
use super::run::Decided;
use super::settler::Settler;
use crate::clock::Entropy;
use crate::job::{DeadReason, Done, JobError, JobSpec, RetryPolicy};
use crate::queue::Queue;
use crate::store::{NewJob, Verdict};

/// No `Retry-After` delays a job by more.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// What settling needs; shared by all attempts of a process.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) settler: Settler,
    pub(super) registry: Arc<Registry>,
    pub(super) queue: Queue,
    pub(super) entropy: Entropy,
}

impl Desk {
    /// The one match that makes a decision a row.
    pub(super) fn verdict(&self, decided: Decided, info: &AttemptInfo, stop: &Stop) -> Verdict {
        let failed = |error: String, after: Option<Duration>| match stop.reason() {
            // What fails because it was asked to stop has not failed by itself.
            Some(StopReason::Shutdown | StopReason::LeaseLost) => Verdict::Release,
            Some(StopReason::Cancelled) => {
                Verdict::Cancel { reason: format!("cancelled while it was running: {error}") }
            }
            None => self.retry(info, error, after),
        };
        match decided {
            Ok(Ok(done)) => self.complete(info, done),
            Ok(Err(JobError::Retry { error, after })) => failed(format!("{error:#}"), after),
            Ok(Err(JobError::Snooze { after, reason })) => {
                Verdict::Snooze { reason, delay: after.min(RETRY_AFTER_MAX) }
            }
            Ok(Err(JobError::Dead { error })) => {
                Verdict::Dead { reason: DeadReason::Permanent, error: format!("{error:#}") }
            }
            Ok(Err(JobError::Cancelled { reason })) => Verdict::Cancel { reason },
            Err(Interruption::Refused(reason, error)) => Verdict::Dead { reason, error },
            Err(Interruption::Stopped(StopReason::Cancelled)) => {
                Verdict::Cancel { reason: "cancelled; the handler did not stop in time and was ended".into() }
            }
            Err(Interruption::Stopped(StopReason::Shutdown | StopReason::LeaseLost)) => Verdict::Release,
            Err(error @ (Interruption::TimedOut(_) | Interruption::Panicked(_))) => failed(error.to_string(), None),
        }
    }

    fn retry(&self, info: &AttemptInfo, error: String, after: Option<Duration>) -> Verdict {
        if info.number >= info.max_attempts {
            return Verdict::Dead { reason: DeadReason::Exhausted, error };
        }
        let by_policy = || {
            let policy = self.registry.get(&info.kind).map_or_else(RetryPolicy::default, |entry| entry.retry.clone());
            policy.delay(info.number, &self.entropy)
        };
        Verdict::Retry { error, delay: after.unwrap_or_else(by_policy).min(RETRY_AFTER_MAX) }
    }

    fn complete(&self, info: &AttemptInfo, done: Done) -> Verdict {
        let result = done.result.map(|value| RawValue::from_string(value.to_string())).transpose();
        let children = done.then.into_iter().map(|spec| self.child(info, spec)).collect::<Result<Vec<_>, _>>();
        match (result, children) {
            (Ok(result), Ok(children)) => Verdict::Complete { result, children },
            (Err(e), _) => self.retry(info, format!("its result is no JSON: {e}"), None),
            (_, Err(e)) => self.retry(info, format!("a job that should follow it can't be enqueued: {e}"), None),
        }
    }

    fn child(&self, info: &AttemptInfo, spec: JobSpec) -> Result<NewJob, crate::queue::EnqueueError> {
        self.queue.admit(super::context::descend(info, spec))
    }
}
