//! The outermost layer: turns what a handler decided into the job's next state and hands it to the settler.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use serde_json::value::RawValue;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};

use super::attempt::{Interruption, Running, Stop, StopReason, Ticket};
use super::context::AttemptInfo;
use super::layers::Decided;
use super::registry::Registry;
use super::report::Run;
use super::settler::{Ended, Settler};
use super::starter::Starter;
use crate::clock::Entropy;
use crate::job::{DeadReason, Done, JobError, JobSpec, RetryPolicy};
use crate::queue::Queue;
use crate::store::{NewJob, Settlement, Verdict};

/// No `Retry-After` delays a job by more.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// What settling needs; shared by all attempts of a process.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) settler: Settler,
    pub(super) registry: Arc<Registry>,
    pub(super) queue: Queue,
    pub(super) entropy: Entropy,
    pub(super) running: Arc<Running>,
    pub(super) starter: Starter,
    /// Counts attempts for a clean stop.
    pub(super) attempts: TaskTracker,
}

/// Settles what the inner services decide.
#[derive(Clone, Debug)]
pub(super) struct SettleLayer(pub(super) Arc<Desk>);

#[derive(Clone, Debug)]
pub(super) struct Settling<S> {
    inner: S,
    desk: Arc<Desk>,
}

impl<S> Layer<S> for SettleLayer {
    type Service = Settling<S>;

    fn layer(&self, inner: S) -> Settling<S> {
        Settling { inner, desk: Arc::clone(&self.0) }
    }
}

impl<S> Service<Task<Ticket>> for Settling<S>
where
    S: Service<Task<Ticket>, Response = Result<Done, JobError>, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = Ready<Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut task: Task<Ticket>) -> Self::Future {
        let ticket = &mut task.args;
        // Taken before anything inside runs; the backend always puts it in.
        let Some(lease) = ticket.lease.take() else { return ready(Err("a ticket without a lease".into())) };
        let (info, stop, place) = (Arc::clone(&ticket.info), ticket.stop.clone(), ticket.place.clone());
        let waited = ticket.claimed_at.since(ticket.run_at);
        self.desk.running.begin(info.lease, stop.clone());
        let deciding = self.inner.call(task);
        let (desk, pending) = (Arc::clone(&self.desk), self.desk.attempts.token());
        self.desk.starter.begin(Box::pin(async move {
            let begun = Instant::now();
            let decided = deciding.await;
            let ran = begun.elapsed();
            let verdict = desk.verdict(decided, &info, &stop);
            let (settlement, place) = (Settlement { lease, verdict }, place.take());
            desk.settler.settle(Ended { settlement, run: Run { info, ran, waited }, place, pending });
        }));
        // apalis is told that it is done: what is under way is counted by the tracker, its number bounded by the places.
        ready(Ok(()))
    }
}

impl Desk {
    /// The one match that makes a decision a row.
    fn verdict(&self, decided: Decided, info: &AttemptInfo, stop: &Stop) -> Verdict {
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
            Err(error) => match error.downcast_ref::<Interruption>() {
                Some(Interruption::Refused(reason, text)) => Verdict::Dead { reason: *reason, error: text.clone() },
                Some(Interruption::Stopped(StopReason::Cancelled)) => {
                    Verdict::Cancel { reason: "cancelled; the handler did not stop in time and was ended".into() }
                }
                Some(Interruption::Stopped(StopReason::Shutdown | StopReason::LeaseLost)) => Verdict::Release,
                Some(Interruption::TimedOut(_) | Interruption::Panicked(_)) | None => failed(error.to_string(), None),
            },
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
