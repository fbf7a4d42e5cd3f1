//! The service that apalis calls with what a claim gave out: each job's attempt is begun, and goes its way from there.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::attempt::{Running, Ticket};
use super::report;
use super::run::Run;
use super::settle::Desk;
use super::settler::Ended;
use super::starter::Starter;
use crate::store::Settlement;

/// The jobs of one claim.
pub(super) type Batch = Vec<Ticket>;

/// Begins attempts.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) run: Arc<Run>,
    pub(super) desk: Arc<Desk>,
    pub(super) running: Arc<Running>,
    pub(super) starter: Starter,
    /// Counts attempts for a clean stop.
    pub(super) attempts: TaskTracker,
}

impl Service<Task<Batch>> for Begin {
    type Response = ();
    type Error = BoxDynError;
    type Future = Ready<Result<(), BoxDynError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Batch>) -> Self::Future {
        self.running.begin(&task.args);
        for ticket in task.args {
            self.begin(ticket);
        }
        // apalis is told that it is done: what is under way is counted by the tracker, its number bounded by the places.
        ready(Ok(()))
    }
}

impl Begin {
    fn begin(&self, mut ticket: Ticket) {
        // Taken before anything inside runs; the backend always puts it in.
        let Some(lease) = ticket.lease.take() else {
            tracing::error!(job.id = %ticket.info.lease.job, "a ticket without a lease");
            return;
        };
        let (run, desk, pending) = (Arc::clone(&self.run), Arc::clone(&self.desk), self.attempts.token());
        self.starter.begin(Box::pin(async move {
            let begun = Instant::now();
            let decided = run.decide(&ticket).await;
            let (ran, waited) = (begun.elapsed(), ticket.claimed_at.since(ticket.run_at));
            let settlement = Settlement { lease, verdict: desk.verdict(decided, &ticket.info, &ticket.stop) };
            let (place, run) = (ticket.place.take(), report::Run { info: ticket.info, ran, waited });
            desk.settler.settle(Ended { settlement, run, place, pending });
        }));
    }
}
