//! The engine as it is shipped: store, queue, worker, upkeep, at the defaults of the configuration.
//!
//! Only the pool's width is a scenario's own. Leases, beats, retries, counters and retention are the shipped ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tidemill::clock::{Clock, Entropy};
use tidemill::config::queues::{QueueConfig, QueuesConfig, WorkerConfig};
use tidemill::job::{JobId, QueueName, RunAt};
use tidemill::queue::Queue;
use tidemill::store::{QueueCounts, Store};
use tidemill::telemetry::Recorder;
use tidemill::upkeep::Upkeep;
use tidemill::worker::{Handler, Registry, Worker, WorkerOptions};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::payload::{Noop, QUEUE, Stage};
use crate::place::open_url;

/// Jobs in one enqueue call; the store's own limit.
pub const BATCH: u64 = 1_000;
/// How many jobs run at once in every scenario with a worker.
pub const CONCURRENCY: usize = 200;
/// As the shipped program folds its samples.
const FOLD_EVERY: Duration = Duration::from_secs(5);
/// What the store's counters may take to follow the handler.
const SETTLING: Duration = Duration::from_secs(60);

/// A store with the road into it.
#[derive(Debug)]
pub struct Rig {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The road in.
    pub queue: Queue,
    /// Its one queue.
    pub name: QueueName,
    entropy: Entropy,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Folds the metrics' samples for as long as the task lives.
pub fn fold(recorder: Recorder) -> JoinHandle<()> {
    TaskTracker::new().spawn(async move {
        let mut tick = tokio::time::interval(FOLD_EVERY);
        loop {
            tick.tick().await;
            recorder.run_upkeep();
        }
    })
}

impl Rig {
    /// Opens the store at `url` and makes the bench's queue known.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        Self::open_on(url, QUEUE).await
    }

    /// The same with another queue.
    ///
    /// # Errors
    /// As [`Rig::open`].
    pub async fn open_on(url: &str, queue: &str) -> anyhow::Result<Self> {
        let store = open_url(url).await?;
        let name: QueueName = queue.parse()?;
        let queues = QueuesConfig(BTreeMap::from([(name.clone(), QueueConfig::default())]));
        store.declare_queues(queues.settings()).await?;
        let entropy = Entropy::system();
        let queue = Queue::new(Arc::clone(&store), BTreeSet::from([name.clone()]), Clock::system(), entropy.clone());
        Ok(Self { store, queue, name, entropy, tasks: TaskTracker::new(), stop: CancellationToken::new() })
    }

    /// Enqueues jobs `from..to` in full batches, due as `run_at` says; `look` sees every job's id.
    ///
    /// # Errors
    /// When the store does not take them.
    pub async fn fill(
        &self,
        from: u64,
        to: u64,
        run_at: impl Fn(u64) -> RunAt,
        mut look: impl FnMut(u64, JobId),
    ) -> anyhow::Result<()> {
        let mut next = from;
        while next < to {
            let last = (next + BATCH).min(to);
            let mut batch = Vec::with_capacity(usize::try_from(last - next)?);
            for i in next..last {
                let mut spec = Noop::spec(i)?;
                spec.run_at = run_at(i);
                batch.push(spec);
            }
            for (i, job) in (next..last).zip(self.queue.enqueue_all(batch).await?) {
                ensure!(job.is_new(), "job {i} was taken for a duplicate");
                look(i, job.job());
            }
            next = last;
        }
        Ok(())
    }

    /// Enqueues jobs `from..to`, due at once.
    ///
    /// # Errors
    /// When the store does not take them.
    pub async fn fill_now(&self, from: u64, to: u64) -> anyhow::Result<()> {
        self.fill(from, to, |_| RunAt::Now, |_, _| {}).await
    }

    /// Starts a worker process' parts here: the worker and the upkeep beside it.
    ///
    /// # Errors
    /// When the store does not take the first beat.
    pub async fn worker(&self, stage: &Arc<Stage>, concurrency: usize) -> anyhow::Result<Worker> {
        self.worker_of::<Noop>(Arc::clone(stage), concurrency).await
    }

    /// The same for another handler.
    ///
    /// # Errors
    /// As [`Rig::worker`].
    pub async fn worker_of<H: Handler>(&self, state: Arc<H::State>, concurrency: usize) -> anyhow::Result<Worker> {
        let mut registry = Registry::new();
        registry.register::<H>(state)?;
        let shipped = WorkerConfig::default();
        let options = WorkerOptions {
            pools: BTreeMap::from([(self.name.clone(), concurrency)]),
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

    /// The bench's queue's counters.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn counts(&self) -> anyhow::Result<QueueCounts> {
        let counts = self.store.counts().await?;
        counts.queues.into_iter().find(|queue| queue.queue == self.name).context("the bench's queue has no counters")
    }

    /// Waits until `completed` jobs in all are durably finished.
    ///
    /// # Errors
    /// When they are not within a minute after the handler has seen the last.
    pub async fn settled(&self, completed: u64) -> anyhow::Result<()> {
        let patience = Instant::now() + SETTLING;
        let mut look = tokio::time::interval(Duration::from_millis(1));
        loop {
            let counts = self.counts().await?;
            if counts.completed_total >= completed {
                return Ok(());
            }
            ensure!(Instant::now() < patience, "the handler has seen all, but the store says {counts:?}");
            look.tick().await;
        }
    }

    /// Runs everything that waits and checks by the outside count that jobs `0..jobs` are all there, once.
    ///
    /// # Errors
    /// When one is not.
    pub async fn drain_and_count(&self, jobs: u64) -> anyhow::Result<()> {
        let stage = Stage::counting(jobs);
        let worker = self.worker(&stage, CONCURRENCY).await?;
        stage.census.reaches(jobs).await?;
        worker.drain(Duration::from_secs(25)).await?;
        Ok(stage.census.verdict()?)
    }

    /// Stops what runs here.
    pub async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
