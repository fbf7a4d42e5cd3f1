//! Our store as an apalis backend: the only file that speaks both languages.
//!
//! Polls yield the jobs of a claim; never more are claimed than the pool has places. A store that hiccups is asked again with
//! backoff, for ever: an error never reaches apalis, which would end the worker.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::layers::Identity;
use apalis_core::task::Task;
use apalis_core::worker::context::WorkerContext;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::attempt::Ticket;
use super::begin::Batch;
use super::identity::Identity as Life;
use super::place::Place;
use super::pulse::Pulse;
use crate::job::QueueName;
use crate::metrics;
use crate::store::{Claimed, Settlement, Store, StoreError, Verdict};

/// A claim that finds nothing comes back after this, so that the pulse is felt.
const CLAIM_WAIT: Duration = Duration::from_secs(2);
/// One claim takes at most so many, however large the pool.
const CLAIM_MAX: usize = 256;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(5);

type Claiming = Pin<Box<dyn Future<Output = Batch> + Send>>;
type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Gives one queue's jobs to one apalis worker.
pub(super) struct QueueBackend {
    source: Source,
    claiming: Option<Claiming>,
    closing: Option<Closing>,
    /// Claimed, not handed out.
    buffer: Batch,
}

/// What a claim needs; cloned into each.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: QueueName,
    pub(super) places: Arc<Semaphore>,
    /// How many of them there are.
    pub(super) width: usize,
    /// Where attempts wait that have left their places.
    pub(super) seats: Arc<Semaphore>,
    /// One claim takes at most so many.
    pub(super) at_once: usize,
    /// So many free places are worth a claim while there are still jobs to hand out.
    pub(super) worth_a_call: usize,
    pub(super) life: Life,
    pub(super) pulse: Arc<Pulse>,
}

impl QueueBackend {
    pub(super) fn new(source: Source) -> Self {
        Self { source, claiming: None, closing: None, buffer: Batch::new() }
    }
}

/// How many of a pool's places one claim fills: half of them, so that the store looks for one half while the other runs.
pub(super) fn at_once(places: usize) -> usize {
    places.div_ceil(2).clamp(1, CLAIM_MAX)
}

impl QueueBackend {
    /// Sends the next claim when the jobs of the last one are handed out, if enough places are free for it to be worth a call: the
    /// store would else stand idle meanwhile.
    fn ask_ahead(&mut self, cx: &mut Context<'_>) {
        if self.claiming.is_some() || self.source.places.available_permits() < self.source.worth_a_call {
            return;
        }
        let mut claiming: Claiming = Box::pin(self.source.clone().claim());
        match claiming.as_mut().poll(cx) {
            Poll::Ready(tickets) => self.buffer.extend(tickets),
            Poll::Pending => self.claiming = Some(claiming),
        }
    }
}

impl Source {
    /// Waits for places, then for jobs.
    async fn claim(self) -> Batch {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let Some(mut places) = self.places().await else { return std::future::pending().await };
            let worker = self.life.now();
            let n = u32::try_from(places.num_permits()).unwrap_or(u32::MAX);
            self.pulse.asked();
            let claimed = self.store.claim(&self.queue, worker, n, CLAIM_WAIT).await;
            match claimed {
                Ok(jobs) if jobs.is_empty() => self.pulse.answered(),
                Ok(jobs) => {
                    self.pulse.answered();
                    ::metrics::counter!(metrics::CLAIMED, "queue" => self.queue.to_string())
                        .increment(u64::try_from(jobs.len()).unwrap_or(0));
                    return self.tickets(jobs, &mut places);
                }
                Err(StoreError::DeadIncarnation(dead)) => {
                    // The heartbeat makes a new life; claim again when it has.
                    self.life.reborn_after(dead).await;
                }
                Err(e) => {
                    tracing::warn!(queue = %self.queue, error = %e, retry_ms = backoff.as_millis(), "claim failed");
                    drop(places);
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_LAST);
                }
            }
        }
    }

    /// At least one place, and all others that are free now. None when the pool is closed, which it never is.
    async fn places(&self) -> Option<OwnedSemaphorePermit> {
        let mut places = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let free = u32::try_from(self.places.available_permits().min(self.at_once - 1)).unwrap_or(0);
        // Nobody else takes places, so that what was free just now still is.
        if let Ok(others) = Arc::clone(&self.places).try_acquire_many_owned(free) {
            places.merge(others);
        }
        Some(places)
    }

    fn tickets(&self, jobs: Vec<Claimed>, places: &mut OwnedSemaphorePermit) -> Batch {
        // The store gives out at most as many jobs as there are places.
        let seats = || Arc::clone(&self.seats);
        jobs.into_iter()
            .filter_map(|job| Some(Ticket::new(job, Place::new(places.split(1)?, self.width, seats()))))
            .collect()
    }

    /// Hands jobs back that were claimed and never begun.
    async fn release(self, tickets: Batch) {
        let batch: Arc<[Settlement]> = tickets
            .into_iter()
            .filter_map(|mut ticket| ticket.lease.take())
            .map(|lease| Settlement { lease, verdict: Verdict::Release })
            .collect();
        if let Err(e) = self.store.settle(batch).await {
            // Signing off, or else rescue, gives them back.
            tracing::warn!(queue = %self.queue, error = %e, "could not hand unstarted jobs back at once");
        }
    }
}

impl Backend for QueueBackend {
    type Task = Task<Batch>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Task<Batch>, Infallible>>> {
        loop {
            if !self.buffer.is_empty() {
                let batch = std::mem::take(&mut self.buffer);
                self.ask_ahead(cx);
                return Poll::Ready(Some(Ok(Task::new(batch))));
            }
            let source = &self.source;
            let claiming = self.claiming.get_or_insert_with(|| Box::pin(source.clone().claim()));
            let tickets = ready!(claiming.as_mut().poll(cx));
            self.claiming = None;
            self.buffer.extend(tickets);
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        // A claim under way is dropped: the store takes back what it would have given.
        self.claiming = None;
        let tickets = std::mem::take(&mut self.buffer);
        if self.closing.is_none() && tickets.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let source = &self.source;
        let closing = self.closing.get_or_insert_with(|| Box::pin(source.clone().release(tickets)));
        ready!(closing.as_mut().poll(cx));
        self.closing = None;
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for QueueBackend {
    type Args = Batch;
    type Id = ();
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_asks_for_half_of_the_places() {
        assert_eq!((at_once(200), at_once(5), at_once(1), at_once(5_000)), (100, 3, 1, CLAIM_MAX));
    }
}
