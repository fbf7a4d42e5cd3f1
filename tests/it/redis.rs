//! What only the Redis store has: a server that promises more or less, that fills up, restarts, hangs, fails over, loses keys,
//! and a network between it and us.
//!
//! Every test here has a server of its own, started by the kit. Tests that need time to pass as the server sees it use the
//! system's clock and short leases; all others turn the clock by hand.

mod access;
mod bounds;
mod cut;
mod failover;
mod fronts;
mod full;
mod gaps;
mod gather;
mod many_schedules;
mod opening;
mod packs;
mod repair;
mod restart;
mod stage;
mod sweep;
mod tour;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::clock::{Clock, Entropy};
use tidemill::job::{Incarnation, JobId, JobState};
use tidemill::store::{
    Beat, BeatReply, Claimed, Durability, Enqueued, ListQuery, Location, NewJob, Store, StoreError, StoreRules, open,
};
use tidemill_testkit::RedisServer;

use crate::conformance::rig::{LEASE, PATIENCE, START, job, list_all, settings, work};

/// Every call ends within this, whatever the network does; the store's own limits are five seconds.
const BOUNDED: Duration = Duration::from_secs(9);

/// Where a store lies, and the clock and names of who uses it.
struct Site {
    url: String,
    clock: Clock,
    entropy: Entropy,
}

impl Site {
    /// On a clock turned by hand.
    fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), clock: Clock::manual(START), entropy: Entropy::seeded(5) }
    }

    /// On the server's own clock.
    fn in_real_time(url: impl Into<String>) -> Self {
        Self { url: url.into(), clock: Clock::system(), entropy: Entropy::seeded(5) }
    }

    async fn try_open(&self, durability: Durability) -> Result<Arc<dyn Store>, StoreError> {
        let location: Location = self.url.parse().expect("a URL");
        let rules = StoreRules { durability, ..StoreRules::default() };
        let store = open(&location, rules, self.clock.clone()).await?;
        store.declare_queues(vec![settings("work")]).await?;
        Ok(store)
    }

    async fn open(&self) -> Arc<dyn Store> {
        self.try_open(Durability::Everysec).await.expect("open the store")
    }

    async fn refused(&self, durability: Durability) -> StoreError {
        self.try_open(durability).await.expect_err("it must not open")
    }

    fn jobs(&self, n: usize) -> Vec<NewJob> {
        let new = || NewJob { id: JobId::new(self.clock.now(), &self.entropy), spec: job() };
        std::iter::repeat_with(new).take(n).collect()
    }

    async fn worker(&self, store: &Arc<dyn Store>) -> Incarnation {
        let incarnation = Incarnation::new(&self.entropy);
        self.beat(store, incarnation, LEASE).await.expect("the first beat registers");
        incarnation
    }

    async fn beat(
        &self,
        store: &Arc<dyn Store>,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<BeatReply, StoreError> {
        let (queues, worker_now) = (vec![work()], self.clock.now());
        store.heartbeat(Beat { incarnation, label: "test".into(), queues, running: 0, lease, worker_now }).await
    }
}

/// Claims without waiting.
async fn claim(store: &Arc<dyn Store>, worker: Incarnation, n: u32) -> Result<Vec<Claimed>, StoreError> {
    store.claim(&work(), worker, n, Duration::ZERO).await
}

/// Enqueues jobs that must be new; their ids.
async fn put(store: &Arc<dyn Store>, jobs: Vec<NewJob>) -> Vec<JobId> {
    let kept = store.enqueue(jobs).await.expect("enqueue");
    assert!(kept.iter().all(|kept| kept.is_new()), "{kept:?}");
    kept.into_iter().map(Enqueued::job).collect()
}

/// How many jobs of the queue are in a state, by the counters.
async fn counted(store: &Arc<dyn Store>, state: JobState) -> u64 {
    let counts = store.counts().await.expect("counts");
    counts.queues.iter().find(|queue| queue.queue == work()).expect("the queue is counted").of(state)
}

/// The ids of all jobs that are kept.
async fn all(store: &Arc<dyn Store>) -> BTreeSet<JobId> {
    let query = ListQuery { limit: 200, ..ListQuery::default() };
    list_all(&**store, query).await.into_iter().map(|job| job.id).collect()
}

/// The counters equal a full list; every running job has a holder.
async fn audit(store: &Arc<dyn Store>) {
    let jobs = list_all(&**store, ListQuery { limit: 200, ..ListQuery::default() }).await;
    for job in &jobs {
        assert_eq!(job.state == JobState::Running, job.holder.is_some(), "limbo: {job:?}");
    }
    for state in JobState::ALL {
        let there = jobs.iter().filter(|job| job.state == state).count();
        assert_eq!(counted(store, state).await, there as u64, "the counter of {state} jobs");
    }
}

/// Tries until it works: what a store that has trouble is given, and no more.
async fn at_last<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let begin = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(error.is_temporary(), "{what}: {error:?}");
                assert!(begin.elapsed() < PATIENCE * 2, "{what}: still {error}");
            }
        }
        // A real server in another process comes back when it does.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The call must fail as unavailable, and soon.
async fn unavailable<T: std::fmt::Debug>(what: &str, call: impl Future<Output = Result<T, StoreError>>) {
    let begin = Instant::now();
    let error = tokio::time::timeout(PATIENCE, call).await.expect(what).expect_err(what);
    assert!(matches!(error, StoreError::Unavailable { .. }), "{what}: {error:?}");
    assert!(begin.elapsed() < BOUNDED, "{what} took {:?}", begin.elapsed());
}

/// The version of a server, to know what it can do.
fn version(server: &RedisServer) -> (u32, u32) {
    let text = server.info("redis_version").expect("a version");
    let mut parts = text.split('.').map(|part| part.parse().expect("a number"));
    (parts.next().expect("major"), parts.next().expect("minor"))
}
