//! Our store as an apalis backend: the only file that speaks both languages.
//!
//! Polls yield the jobs of a claim; never more are claimed than the pool has places, and none begins without one. A store that
//! hiccups is asked again with backoff, for ever: an error never reaches apalis, which would end the worker.

use std::collections::VecDeque;
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
use super::places::Places;
use super::pulse::Pulse;
use crate::job::QueueName;
use crate::metrics;
use crate::store::{Claimed, Lease, Settlement, Store, StoreError, Verdict};

/// A claim that finds nothing comes back after this, so that the pulse is felt.
const CLAIM_WAIT: Duration = Duration::from_secs(2);
/// One claim takes at most so many, however large the pool.
const CLAIM_MAX: usize = 256;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(5);

type Claiming = Pin<Box<dyn Future<Output = Catch> + Send>>;
type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Gives one queue's jobs to one apalis worker.
pub(super) struct QueueBackend {
    source: Source,
    claiming: Option<Claiming>,
    closing: Option<Closing>,
    /// Claimed for places that somebody has come back to since.
    late: VecDeque<Claimed>,
    /// With their places, not handed out.
    buffer: Batch,
}

/// What a claim has brought, and the places that it still holds.
struct Catch {
    jobs: Vec<Claimed>,
    places: Option<OwnedSemaphorePermit>,
}

/// What a claim needs; cloned into each.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: QueueName,
    pub(super) places: Arc<Places>,
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
        Self { source, claiming: None, closing: None, late: VecDeque::new(), buffer: Batch::new() }
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
        if self.claiming.is_some() || self.source.places.free() < self.source.worth_a_call {
            return;
        }
        let mut claiming = self.next();
        match claiming.as_mut().poll(cx) {
            Poll::Ready(catch) => self.seat(catch),
            Poll::Pending => self.claiming = Some(claiming),
        }
    }

    /// The next claim, or the wait for places for what an earlier one has brought.
    fn next(&self) -> Claiming {
        let source = self.source.clone();
        match self.late.len() {
            0 => Box::pin(source.claim()),
            late => Box::pin(source.places_for(late)),
        }
    }

    /// Gives each job its place.
    fn seat(&mut self, catch: Catch) {
        let Catch { jobs, mut places } = catch;
        self.late.extend(jobs);
        while let Some(job) = self.late.pop_front() {
            let Some(place) = places.as_mut().and_then(|places| places.split(1)) else {
                return self.late.push_front(job);
            };
            let (all, seats) = (Arc::clone(&self.source.places), Arc::clone(&self.source.seats));
            self.buffer.push(Ticket::new(job, Place::new(place, all, seats)));
        }
    }
}

impl Source {
    /// Waits for places, then for jobs.
    async fn claim(self) -> Catch {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let Some(places) = self.places.take(self.at_once).await else { return std::future::pending().await };
            let (waiting, n) = self.places.wait_with(places);
            if n == 0 {
                // Somebody wanted to come back in this very moment.
                tokio::task::yield_now().await;
                continue;
            }
            let worker = self.life.now();
            self.pulse.asked();
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            let claimed = self.store.claim(&self.queue, worker, n, CLAIM_WAIT).await;
            match claimed {
                Ok(jobs) if jobs.is_empty() => self.pulse.answered(),
                Ok(jobs) => {
                    self.pulse.answered();
                    ::metrics::counter!(metrics::CLAIMED, "queue" => self.queue.to_string())
                        .increment(u64::try_from(jobs.len()).unwrap_or(0));
                    return Catch { jobs, places: waiting.end() };
                }
                Err(StoreError::DeadIncarnation(dead)) => {
                    // The heartbeat makes a new life; claim again when it has.
                    self.life.reborn_after(dead).await;
                }
                Err(e) => {
                    tracing::warn!(queue = %self.queue, error = %e, retry_ms = backoff.as_millis(), "claim failed");
                    drop(waiting);
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_LAST);
                }
            }
        }
    }

    /// Waits for places for so many jobs that are here already, or some of them.
    async fn places_for(self, jobs: usize) -> Catch {
        let Some(places) = self.places.take(jobs).await else { return std::future::pending().await };
        Catch { jobs: Vec::new(), places: Some(places) }
    }

    /// Hands jobs back that were claimed and never begun.
    async fn release(self, leases: Vec<Lease>) {
        let batch: Arc<[Settlement]> =
            leases.into_iter().map(|lease| Settlement { lease, verdict: Verdict::Release }).collect();
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
            let mut claiming = self.claiming.take().unwrap_or_else(|| self.next());
            match claiming.as_mut().poll(cx) {
                Poll::Ready(catch) => self.seat(catch),
                Poll::Pending => {
                    self.claiming = Some(claiming);
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        // A claim under way is dropped: the store takes back what it would have given.
        self.claiming = None;
        let placed = self.buffer.drain(..).filter_map(|mut ticket| ticket.lease.take());
        let leases: Vec<Lease> = placed.chain(self.late.drain(..).map(|job| job.lease)).collect();
        if self.closing.is_none() && leases.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let source = &self.source;
        let closing = self.closing.get_or_insert_with(|| Box::pin(source.clone().release(leases)));
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
    use std::pin::pin;

    use futures_util::poll;

    use super::*;
    use crate::clock::{Clock, Entropy};
    use crate::job::{JobId, JobSpec, JobState};
    use crate::queue::Queue;
    use crate::store::sqlite::{SqliteOptions, SqliteStore};
    use crate::store::{Beat, QueueSettings, Retention};

    #[test]
    fn a_claim_asks_for_half_of_the_places() {
        assert_eq!((at_once(200), at_once(5), at_once(1), at_once(5_000)), (100, 3, 1, CLAIM_MAX));
    }

    /// A pool of one place over a queue of its own.
    async fn pool(folder: &tempfile::TempDir) -> (Source, Queue) {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let store = SqliteStore::open(SqliteOptions::at(folder.path().join("queue.db")), clock.clone()).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let name: QueueName = "notifications".parse().unwrap();
        let settings = QueueSettings { name: name.clone(), rate: None, retention: Retention::default() };
        store.declare_queues(vec![settings]).await.unwrap();
        let life = Life::new(entropy.clone());
        let (incarnation, lease, worker_now) = (life.now(), Duration::from_secs(3_600), clock.now());
        let queues = vec![name.clone()];
        let beat = Beat { incarnation, label: "test".into(), queues, running: 0, lease, worker_now };
        store.heartbeat(beat).await.unwrap();
        let queue = Queue::new(Arc::clone(&store), [name.clone()].into(), clock, entropy);
        let source = Source {
            store,
            queue: name,
            places: Places::new(1),
            seats: Arc::new(Semaphore::new(super::super::place::SEATS)),
            at_once: 1,
            worth_a_call: 8,
            life,
            pulse: Arc::default(),
        };
        (source, queue)
    }

    async fn next(backend: &mut QueueBackend) -> Ticket {
        let context = WorkerContext::new("test");
        let task = std::future::poll_fn(|cx| backend.poll_next(cx, &context)).await;
        let mut batch = task.unwrap().unwrap().args;
        assert_eq!(batch.len(), 1);
        batch.remove(0)
    }

    /// An attempt that has come back to the pool's one place, and the job that a waiting claim has brought meanwhile.
    async fn one_too_many(backend: &mut QueueBackend, queue: &Queue) -> (Ticket, JobId) {
        let spec = || JobSpec::raw("notifications".parse().unwrap(), "webhook.deliver", "{}".to_owned());
        queue.enqueue(spec()).await.unwrap();
        let first = next(backend).await;
        assert!(first.place.step_out());
        {
            let mut claiming = pin!(next(backend));
            assert!(poll!(claiming.as_mut()).is_pending(), "there is no other job");
        }
        assert_eq!(backend.source.places.free(), 0, "the claim waits with the place");
        assert!(poll!(pin!(first.place.step_in())).is_ready(), "the place is the attempt's first");

        let second = queue.enqueue(spec()).await.unwrap().job();
        let late = async {
            while backend.late.is_empty() {
                let mut claiming = pin!(next(backend));
                assert!(poll!(claiming.as_mut()).is_pending(), "two at one place");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), late).await.unwrap();
        (first, second)
    }

    #[tokio::test]
    async fn an_attempt_comes_back_to_its_place_though_a_claim_waits_and_what_that_brings_waits_for_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let (source, queue) = pool(&folder).await;
        let places = Arc::clone(&source.places);
        let mut backend = QueueBackend::new(source);
        let (first, late) = one_too_many(&mut backend, &queue).await;
        drop(first.place.take());
        let second = next(&mut backend).await;
        assert_eq!(second.info.lease.job, late);
        drop(second);
        assert_eq!(places.free(), 1);
    }

    #[tokio::test]
    async fn what_waits_for_a_place_is_handed_back_when_the_pool_closes() {
        let folder = tempfile::tempdir().unwrap();
        let (source, queue) = pool(&folder).await;
        let mut backend = QueueBackend::new(source);
        let (_first, late) = one_too_many(&mut backend, &queue).await;
        let context = WorkerContext::new("test");
        std::future::poll_fn(|cx| backend.poll_close(cx, &context)).await.unwrap();
        assert_eq!(queue.store().get(late).await.unwrap().unwrap().state, JobState::Ready);
    }
}
