//! A store under test and the hands that turn it: its clock, a queue, workers, and a look at every byte of a job.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::job::{Incarnation, JobId, JobRecord, JobSpec, JobState, QueueName};
use tidemill::store::redis::{RedisAddress, RedisOptions, RedisStore};
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{
    Beat, BeatReply, Claimed, Enqueued, LeaseToken, ListQuery, NewJob, QueueCounts, QueueSettings, Rescued, Retention,
    Settled, Settlement, Store, StoreError, StoreRules, Verdict,
};

/// How long a worker of the rig lives without a beat.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// Where the manual clock begins: a multiple of every window the tests use.
pub(crate) const START: Timestamp = Timestamp::from_ms(1_800_000_000_000);
/// Longer than anything here may take; only a hanging call reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// One millisecond.
pub(crate) const MS: Duration = Duration::from_millis(1);

type Opening = Pin<Box<dyn Future<Output = Arc<dyn Store>> + Send>>;

/// A fresh store with one declared queue, `work`.
pub(crate) struct Rig {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    open: Box<dyn Fn() -> Opening + Send + Sync>,
    _dir: TempDir,
}

/// A rig over the embedded store at its shipped defaults.
pub(crate) async fn sqlite() -> Rig {
    sqlite_in(tempfile::tempdir().expect("a temporary directory")).await
}

/// The same in a directory of the caller's choice.
pub(crate) async fn sqlite_in(dir: TempDir) -> Rig {
    let path = dir.path().join("queue.db");
    let (clock, entropy) = (Clock::manual(START), Entropy::seeded(7));
    let at = clock.clone();
    let open = move || -> Opening {
        let (options, clock) = (SqliteOptions::at(path.clone()), at.clone());
        Box::pin(async move {
            let store = SqliteStore::open(options, clock).await.expect("open the store");
            Arc::new(store) as Arc<dyn Store>
        })
    };
    Rig::new(clock, entropy, Box::new(open), dir).await
}

/// A rig over the server that all tests share, with keys of its own.
pub(crate) async fn redis() -> Rig {
    redis_named().await.0
}

/// The same, with all jobs that can be in packs from the first on: the smallest packs have the most seams.
pub(crate) async fn redis_packs() -> Rig {
    redis_at("&pack_from=1").await.0
}

/// The same and its namespace, for tests that lay hands on the keys.
pub(crate) async fn redis_named() -> (Rig, String) {
    redis_at("").await
}

async fn redis_at(rest: &str) -> (Rig, String) {
    static RIGS: AtomicU32 = AtomicU32::new(0);
    let number = RIGS.fetch_add(1, Ordering::Relaxed);
    let namespace = format!("rig-{number}");
    let url = format!("{}?namespace={namespace}{rest}", tidemill_testkit::shared_redis().url());
    let (clock, entropy) = (Clock::manual(START), Entropy::seeded(7));
    let at = clock.clone();
    let open = move || -> Opening {
        let (address, clock) = (RedisAddress::parse(&url).expect("an address"), at.clone());
        Box::pin(async move {
            let options = RedisOptions { address, rules: StoreRules::default() };
            let store = RedisStore::open(options, clock).await.expect("open the store");
            Arc::new(store) as Arc<dyn Store>
        })
    };
    let rig = Rig::new(clock, entropy, Box::new(open), tempfile::tempdir().expect("a temporary directory")).await;
    (rig, namespace)
}

/// The rig's queue.
pub(crate) fn work() -> QueueName {
    named("work")
}

/// Any queue.
pub(crate) fn named(name: &str) -> QueueName {
    name.parse().expect("a queue name")
}

/// A job for the rig's queue. Its timeout is so long that only tests of deadlines meet one.
pub(crate) fn job() -> JobSpec {
    let mut spec = JobSpec::raw(work(), "test.job", r#"{"n":1}"#.to_owned());
    spec.timeout = Duration::from_secs(24 * 3600);
    spec
}

/// A queue without a rate limit.
pub(crate) fn settings(name: &str) -> QueueSettings {
    QueueSettings { name: named(name), rate: None, retention: Retention::default() }
}

/// Finished, with nothing to show.
pub(crate) fn complete() -> Verdict {
    Verdict::Complete { result: None, children: Vec::new() }
}

/// A failed attempt, tried again after `delay`.
pub(crate) fn fail_for(delay: Duration) -> Verdict {
    Verdict::Retry { error: "it failed".into(), delay }
}

/// One settlement as the batch that `settle` takes.
pub(crate) fn batch(claimed: Claimed, verdict: Verdict) -> Arc<[Settlement]> {
    [Settlement { lease: claimed.lease, verdict }].into()
}

impl Rig {
    async fn new(clock: Clock, entropy: Entropy, open: Box<dyn Fn() -> Opening + Send + Sync>, dir: TempDir) -> Self {
        let store = open().await;
        store.declare_queues(vec![settings("work")]).await.expect("declare the queue");
        Self { store, clock, entropy, open, _dir: dir }
    }

    /// Opens the same data once more, as another process would.
    pub(crate) async fn another_handle(&self) -> Arc<dyn Store> {
        (self.open)().await
    }

    /// Lets go of the store and opens its data again, as a restart does.
    pub(crate) async fn reopen(&mut self) {
        self.store = self.another_handle().await;
    }

    /// `spec` with an id.
    pub(crate) fn new_job(&self, spec: JobSpec) -> NewJob {
        NewJob { id: JobId::new(self.clock.now(), &self.entropy), spec }
    }

    /// Enqueues one job.
    pub(crate) async fn add(&self, spec: JobSpec) -> Enqueued {
        self.store.enqueue(vec![self.new_job(spec)]).await.expect("enqueue")[0]
    }

    /// Enqueues one job that must be new.
    pub(crate) async fn put(&self, spec: JobSpec) -> JobId {
        let kept = self.add(spec).await;
        assert!(kept.is_new(), "{kept:?}");
        kept.job()
    }

    /// A new worker that serves the rig's queue.
    pub(crate) async fn worker(&self) -> Incarnation {
        let worker = Incarnation::new(&self.entropy);
        self.beat(worker).await.expect("the first beat registers");
        worker
    }

    /// One beat of a worker of the rig's queue.
    pub(crate) async fn beat(&self, incarnation: Incarnation) -> Result<BeatReply, StoreError> {
        let beat = Beat {
            incarnation,
            label: "host-1:42".into(),
            queues: vec![work()],
            running: 0,
            lease: LEASE,
            worker_now: self.clock.now(),
        };
        self.store.heartbeat(beat).await
    }

    /// Claims without waiting.
    pub(crate) async fn claim(&self, worker: Incarnation, n: u32) -> Vec<Claimed> {
        self.store.claim(&work(), worker, n, Duration::ZERO).await.expect("claim")
    }

    /// Claims the one job there must be.
    pub(crate) async fn claim_one(&self, worker: Incarnation) -> Claimed {
        self.claim(worker, 1).await.pop().expect("a job was ready")
    }

    /// Enqueues a job and claims it.
    pub(crate) async fn running(&self, spec: JobSpec) -> (Incarnation, Claimed) {
        let id = self.put(spec).await;
        let worker = self.worker().await;
        let claimed = self.claim_one(worker).await;
        assert_eq!(claimed.lease.token().job, id);
        (worker, claimed)
    }

    /// Ends one attempt.
    pub(crate) async fn settle(&self, claimed: Claimed, verdict: Verdict) -> Settled {
        self.store.settle(batch(claimed, verdict)).await.expect("settle")[0]
    }

    /// Runs one job to a state it can end in.
    pub(crate) async fn finished(&self, spec: JobSpec, verdict: Verdict) -> JobId {
        let (worker, claimed) = self.running(spec).await;
        let id = claimed.lease.token().job;
        assert!(matches!(self.settle(claimed, verdict).await, Settled::Accepted(_)));
        self.store.sign_off(worker).await.expect("sign off");
        id
    }

    /// Makes all that is due ready.
    pub(crate) async fn promote(&self) -> u32 {
        self.store.promote(1_000).await.expect("promote").promoted
    }

    /// Takes what the dead have left.
    pub(crate) async fn rescue(&self) -> Rescued {
        self.store.rescue(1_000).await.expect("rescue")
    }

    /// A job that must be there.
    pub(crate) async fn get(&self, job: JobId) -> JobRecord {
        self.store.get(job).await.expect("get").expect("the job is kept")
    }

    /// Its state.
    pub(crate) async fn state(&self, job: JobId) -> JobState {
        self.get(job).await.state
    }

    /// Every byte the store shows of a job, its log included.
    pub(crate) async fn bytes(&self, job: JobId) -> String {
        let logs = self.store.logs(job).await.expect("logs");
        serde_json::to_string_pretty(&(self.get(job).await, logs)).expect("a record is JSON")
    }

    /// The counters of one queue.
    pub(crate) async fn counts(&self, queue: &QueueName) -> QueueCounts {
        let counts = self.store.counts().await.expect("counts");
        counts.queues.into_iter().find(|q| q.queue == *queue).expect("the queue is counted")
    }

    /// How many stale writes were refused.
    pub(crate) async fn refusals(&self) -> u64 {
        self.store.counts().await.expect("counts").lease_refusals
    }

    /// All pages of a list as one.
    pub(crate) async fn list(&self, query: ListQuery) -> Vec<JobRecord> {
        list_all(&*self.store, query).await
    }
}

/// All pages of a list as one.
pub(crate) async fn list_all(store: &dyn Store, mut query: ListQuery) -> Vec<JobRecord> {
    let mut jobs = Vec::new();
    loop {
        let page = store.list(query.clone()).await.expect("list");
        jobs.extend(page.jobs);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return jobs,
        }
    }
}

/// The job of a lease.
pub(crate) fn id_of(claimed: &Claimed) -> JobId {
    claimed.lease.token().job
}

/// The copyable name of a lease.
pub(crate) fn token_of(claimed: &Claimed) -> LeaseToken {
    claimed.lease.token()
}
