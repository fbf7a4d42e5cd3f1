//! A store, a worker and the few questions tests ask of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::clock::{Clock, Entropy};
use tidemill::job::{JobId, JobRecord, JobSpec, JobState, QueueName};
use tidemill::queue::Queue;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{QueueSettings, Retention, Store};
use tidemill::upkeep::Upkeep;
use tidemill::worker::{Registry, Worker, WorkerOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Rig {
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: Queue,
    pub(super) registry: Arc<Registry>,
    pub(super) stop: CancellationToken,
    pub(super) lease: Duration,
    entropy: Entropy,
    tasks: TaskTracker,
    _dir: tempfile::TempDir,
}

impl Rig {
    pub(super) async fn new(registry: Registry) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::at(dir.path().join("queue.db")), Clock::system()).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let names: BTreeSet<QueueName> = ["fast", "slow"].into_iter().map(|n| n.parse().unwrap()).collect();
        let settings =
            |name: &QueueName| QueueSettings { name: name.clone(), rate: None, retention: Retention::default() };
        store.declare_queues(names.iter().map(settings).collect()).await.unwrap();
        let entropy = Entropy::seeded(7);
        let queue = Queue::new(Arc::clone(&store), names, Clock::system(), entropy.clone());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (upkeep, upkeep_stop) = (Upkeep::new(Arc::clone(&store)), stop.clone());
        tasks.spawn(async move { upkeep.run(upkeep_stop).await });
        let lease = Duration::from_millis(1_500);
        Self { store, queue, registry: Arc::new(registry), stop, lease, entropy, tasks, _dir: dir }
    }

    pub(super) async fn worker(&self) -> Worker {
        self.worker_of(8).await
    }

    /// A worker with so many places for the fast queue.
    pub(super) async fn worker_of(&self, places: usize) -> Worker {
        let pools = BTreeMap::from([("fast".parse().unwrap(), places), ("slow".parse().unwrap(), 2)]);
        let options = WorkerOptions { pools, label: "test".into(), lease: self.lease, beat_every: self.lease / 4 };
        let entropy = Entropy::seeded(self.entropy.below(u64::MAX));
        Worker::start(self.queue.clone(), Arc::clone(&self.registry), Clock::system(), entropy, options).await.unwrap()
    }

    pub(super) async fn enqueue(&self, spec: JobSpec) -> JobId {
        self.queue.enqueue(spec).await.unwrap().job()
    }

    pub(super) async fn job(&self, id: JobId) -> JobRecord {
        self.store.get(id).await.unwrap().unwrap()
    }

    /// The job once it is in `state`.
    pub(super) async fn reaches(&self, id: JobId, state: JobState) -> JobRecord {
        self.until(|| async { self.job(id).await.state == state }).await;
        self.job(id).await
    }

    /// Waits for a condition of the running system.
    pub(super) async fn until<F: Future<Output = bool>>(&self, mut condition: impl FnMut() -> F) {
        let start = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(2));
        while !condition().await {
            assert!(start.elapsed() < PATIENCE, "it did not happen within {PATIENCE:?}");
            look.tick().await;
        }
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
