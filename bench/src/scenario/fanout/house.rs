//! The shipped sender over an empty place: queue store, data file, worker, upkeep, at the configuration's defaults. Only loopback is open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tempfile::TempDir;
use tidemill::clock::{Clock, Entropy};
use tidemill::config::fanout::FanoutConfig;
use tidemill::config::queues::{QueueConfig, QueuesConfig, WorkerConfig};
use tidemill::data::Database;
use tidemill::fanout::endpoints::{NewEndpoint, create};
use tidemill::fanout::{Event, FanoutState, fan_out, register};
use tidemill::job::{JobError, QueueName};
use tidemill::queue::Queue;
use tidemill::sealing::Sealer;
use tidemill::store::Store;
use tidemill::upkeep::Upkeep;
use tidemill::worker::{Registry, Worker, WorkerOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::receiver::now_us;
use crate::place::{Place, open_url};

/// The width of the pool of `notifications` as it is shipped.
pub(super) const PLACES: usize = 64;
const TENANT: &str = "bench";

pub(super) struct House {
    state: Arc<FanoutState>,
    store: Arc<dyn Store>,
    queue: Queue,
    name: QueueName,
    entropy: Entropy,
    tasks: TaskTracker,
    stop: CancellationToken,
    _folder: TempDir,
}

impl House {
    pub(super) async fn open(place: &Place) -> anyhow::Result<Self> {
        let store = open_url(place.url()).await?;
        let name: QueueName = "notifications".parse()?;
        let queues = QueuesConfig(BTreeMap::from([(name.clone(), QueueConfig::default())]));
        store.declare_queues(queues.settings()).await?;
        let folder = tempfile::Builder::new().prefix("tidemill-bench-").tempdir()?;
        let db = Database::open(&folder.path().join("tidemill.db")).await?;
        db.migrate(None).await?;
        let config =
            FanoutConfig { allow_http: true, allow_addresses: vec!["127.0.0.0/8".parse()?], ..FanoutConfig::default() };
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let sealer = Sealer::new(&Sealer::new_key(&entropy), &[])?;
        let state = Arc::new(FanoutState::new(db, config, sealer, clock.clone(), entropy.clone())?);
        let queue = Queue::new(Arc::clone(&store), BTreeSet::from([name.clone()]), clock, entropy.clone());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self { state, store, queue, name, entropy, tasks, stop, _folder: folder })
    }

    pub(super) async fn endpoint(&self, url: String) -> anyhow::Result<()> {
        let new =
            NewEndpoint { tenant: TENANT.to_owned(), url, event_types: vec!["*".to_owned()], ..NewEndpoint::default() };
        create(&self.state, new).await?;
        Ok(())
    }

    /// Event `n`, whose body on the wire has about 330 bytes; it says when it was published.
    fn event(n: u64) -> Event {
        let payload = json!({ "n": n, "sent_us": now_us(), "currency": "EUR", "note": "x".repeat(140) });
        Event { id: format!("evt_{n:012}"), event_type: "invoice.paid".to_owned(), tenant: TENANT.to_owned(), payload }
    }

    /// Publishes event `n` the ordinary way.
    pub(super) async fn publish(&self, n: u64) -> anyhow::Result<()> {
        let done = self.queue.enqueue(Self::event(n).into_spec()?).await?;
        ensure!(done.is_new(), "event {n} was taken for a duplicate");
        Ok(())
    }

    /// Fans event `n` out without a worker: its deliveries wait.
    pub(super) async fn prepare(&self, n: u64) -> anyhow::Result<()> {
        let done = fan_out(&self.state, &self.queue, &Self::event(n), Clock::system().now(), |spec| spec).await;
        done.map(drop).map_err(|e| match e {
            JobError::Retry { error, .. } | JobError::Dead { error } => error,
            JobError::Snooze { reason, .. } | JobError::Cancelled { reason } => anyhow::anyhow!(reason),
        })
    }

    pub(super) async fn worker(&self) -> anyhow::Result<Worker> {
        let mut registry = Registry::new();
        register(&mut registry, Arc::clone(&self.state))?;
        let shipped = WorkerConfig::default();
        let options = WorkerOptions {
            pools: BTreeMap::from([(self.name.clone(), PLACES)]),
            label: format!("bench:{}", std::process::id()).into(),
            lease: Duration::from_millis(shipped.lease_ms),
            beat_every: Duration::from_millis(shipped.beat_ms),
        };
        let (queue, entropy) = (self.queue.clone(), self.entropy.clone());
        let worker = Worker::start(queue, Arc::new(registry), Clock::system(), entropy, options).await?;
        let (upkeep, stop) = (Upkeep::new(Arc::clone(&self.store)), self.stop.clone());
        self.tasks.spawn(async move { upkeep.run(stop).await });
        Ok(worker)
    }

    /// Waits until so many jobs are durably completed.
    pub(super) async fn completed(&self, jobs: u64, patience: Duration) -> anyhow::Result<()> {
        let (began, mut look) = (Instant::now(), tokio::time::interval(Duration::from_millis(5)));
        loop {
            let counts = self.store.counts().await?;
            let done = counts.queues.iter().find(|q| q.queue == self.name).map_or(0, |q| q.completed_total);
            if done >= jobs {
                return Ok(());
            }
            ensure!(began.elapsed() < patience, "{done} of {jobs} were done within {patience:?}");
            look.tick().await;
        }
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
