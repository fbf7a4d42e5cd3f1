//! Gathers the ends of attempts of all pools and gives them to the store together, until it takes them.
//!
//! Up to two calls are under way: while the store commits one, the next is already at its door. The places of a batch are
//! freed together once it has been handed to the store, so that the claim of them stands right behind it there and shares
//! its commit. What waits longer keeps its place or seat: so what is held here is bounded by both and two batches. Batches may
//! be taken in any order: each settlement stands for itself.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::attempt::Running;
use super::report::{Reporter, Run};
use crate::queue::Queue;
use crate::store::{BATCH_MAX, Settled, Settlement, Verdict};

/// Calls under way at once.
const CALLS_MAX: usize = 2;
/// While a call is under way fewer than this wait for its answer, and fewer than half of all attempts: a second small call
/// would only cost a second commit. With halves one is being settled while the other runs.
const SECOND_CALL: usize = 64;
/// Turns that others get before a call, at most.
const TURNS_MAX: usize = 8;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(2);

/// An attempt that has ended and is not settled yet.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) settlement: Settlement,
    pub(super) run: Run,
    /// The pool's place, or the seat that was taken instead; free again when this has been handed to the store.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// Counts it among the attempts that a clean stop waits for.
    pub(super) pending: TaskTrackerToken,
}

/// Where finished attempts go.
#[derive(Clone, Debug)]
pub(super) struct Settler(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Queue,
    running: Arc<Running>,
    reporter: Arc<Reporter>,
    /// Reports are made here, off the way of the next settlements.
    tasks: TaskTracker,
    waiting: Mutex<Vec<Ended>>,
    /// So many that wait are worth a second call.
    enough: AtomicUsize,
    wake: Notify,
    hard_stop: CancellationToken,
}

impl Settler {
    /// The settler, and the loop that serves it until `hard_stop`.
    pub(super) fn new(
        queue: Queue,
        running: Arc<Running>,
        tasks: TaskTracker,
        hard_stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (reporter, waiting, wake) = (Arc::default(), Mutex::default(), Notify::new());
        let enough = AtomicUsize::new(SECOND_CALL);
        let shared = Arc::new(Shared { queue, running, reporter, tasks, waiting, enough, wake, hard_stop });
        (Self(Arc::clone(&shared)), async move { shared.serve().await })
    }

    /// Takes over the end of an attempt; what becomes of it is reported from here.
    pub(super) fn settle(&self, ended: Ended) {
        let mut waiting = self.0.lock();
        waiting.push(ended);
        // The loop sleeps through what would not make it call the store.
        let wakes = waiting.len() == 1 || waiting.len() == self.0.enough.load(Ordering::Relaxed);
        drop(waiting);
        if wakes {
            self.0.wake.notify_one();
        }
    }
}

impl Shared {
    async fn serve(&self) {
        let mut calls = FuturesUnordered::new();
        while !self.hard_stop.is_cancelled() {
            while calls.len() < CALLS_MAX
                && let Some(batch) = self.take(if calls.is_empty() { 1 } else { self.enough.load(Ordering::Relaxed) })
            {
                self.enough.store((self.running.len() / 2).clamp(SECOND_CALL, BATCH_MAX), Ordering::Relaxed);
                calls.push(self.call(batch));
            }
            tokio::select! {
                Some(()) = calls.next(), if !calls.is_empty() => {}
                () = self.wake.notified() => {}
                () = self.hard_stop.cancelled() => {}
            }
            if calls.is_empty() {
                self.let_more_end().await;
            }
        }
        while calls.next().await.is_some() {}
        let left = std::mem::take(&mut *self.lock()).into_iter();
        let (settlements, rest): (Vec<_>, _) = left.map(|end| (end.settlement, (end.run, end.pending))).unzip();
        self.end(&settlements.into(), None, rest);
    }

    /// Lets attempts that are about to end do so first, as long as some do: the first of a batch would else go alone, and
    /// cost a commit of its own.
    async fn let_more_end(&self) {
        let mut seen = 0;
        for _ in 0..TURNS_MAX {
            let waiting = self.lock().len();
            if waiting == seen || waiting >= self.enough.load(Ordering::Relaxed) {
                return;
            }
            seen = waiting;
            tokio::task::yield_now().await;
        }
    }

    /// The next batch, if at least `min` wait.
    fn take(&self, min: usize) -> Option<Vec<Ended>> {
        let mut waiting = self.lock();
        if waiting.len() < min {
            return None;
        }
        let n = waiting.len().min(BATCH_MAX);
        Some(waiting.drain(..n).collect())
    }

    async fn call(&self, batch: Vec<Ended>) {
        let (mut settlements, mut rest, mut places) = (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
        for Ended { settlement, run, place, pending } in batch {
            settlements.push(settlement);
            rest.push((run, pending));
            if let Some(place) = place {
                join(&mut places, place);
            }
        }
        let settlements: Arc<[Settlement]> = settlements.into();
        let mut settling = pin!(self.settle(&settlements));
        // The first poll hands the batch over: a claim that is sent after it can't be served before it.
        let settled = match futures_util::poll!(&mut settling) {
            Poll::Ready(settled) => settled,
            Poll::Pending => {
                drop(places);
                settling.await
            }
        };
        self.end(&settlements, settled, rest);
    }

    /// Gives a batch to the store until it answers. Giving it again is safe: what was taken is refused as stale. None: the
    /// process stopped first, rescue decides.
    async fn settle(&self, batch: &Arc<[Settlement]>) -> Option<Vec<Settled>> {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let error = match self.queue.store().settle(Arc::clone(batch)).await {
                Ok(settled) => return Some(settled),
                Err(error) => error,
            };
            tracing::warn!(%error, settlements = batch.len(), retry_ms = backoff.as_millis(), "settle failed");
            tokio::select! {
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_LAST),
                () = self.hard_stop.cancelled() => return None,
            }
        }
    }

    /// Ends the attempts here too, and has it told what became of them.
    fn end(&self, batch: &Arc<[Settlement]>, settled: Option<Vec<Settled>>, rest: Vec<(Run, TaskTrackerToken)>) {
        self.running.end(batch.iter().map(|settlement| settlement.lease.token()));
        let (reporter, queue, batch) = (Arc::clone(&self.reporter), self.queue.clone(), Arc::clone(batch));
        self.tasks.spawn(async move {
            let (runs, pending): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
            for (settlement, settled) in batch.iter().zip(settled.iter().flatten()) {
                if let (Verdict::Complete { children, .. }, Settled::Accepted(_)) = (&settlement.verdict, settled) {
                    queue.followed(children);
                }
            }
            reporter.report(&batch, settled.as_deref(), &runs);
            drop(pending);
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Ended>> {
        // Every change is one push or one drain: a panic elsewhere can't leave it half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a place to the others of its pool, to be freed with them in one step.
fn join(places: &mut Vec<OwnedSemaphorePermit>, place: OwnedSemaphorePermit) {
    match places.iter_mut().find(|others| Arc::ptr_eq(others.semaphore(), place.semaphore())) {
        Some(others) => others.merge(place),
        None => places.push(place),
    }
}
