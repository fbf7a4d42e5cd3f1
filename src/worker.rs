//! Runs jobs: claim, decode, run under a timeout, settle.
//!
//! One apalis worker for each queue, each with its own places, so that a slow queue never delays another. The way of an
//! attempt: [`backend`] claims it, [`begin`] takes its lease, [`starter`] gives it a thread, [`run`] runs the handler in a span,
//! under its timeout and behind a panic guard, [`settle`] turns the decision into a verdict, [`settler`] gives it to the store
//! and [`report`] says what became of it. [`heartbeat`] keeps the leases from a thread of its own.

mod attempt;
mod backend;
mod begin;
mod context;
mod handler;
mod heartbeat;
mod identity;
mod place;
mod places;
mod pulse;
mod registry;
mod report;
mod run;
mod settle;
mod settler;
mod starter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use apalis::layers::catch_panic::CatchPanicLayer;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use context::Context;
pub use handler::Handler;
pub use pulse::Pulse;
pub use registry::{Entry, Prepared, Registry, RegistryError};

use self::attempt::{Interruption, Running, StopReason};
use self::backend::{QueueBackend, Source};
use self::begin::Begin;
use self::context::Surroundings;
use self::heartbeat::Heartbeat;
use self::identity::Identity;
use self::places::Places;
use self::run::Run;
use self::settle::Desk;
use self::settler::Settler;
use self::starter::Starter;
use crate::clock::{Clock, Entropy};
use crate::job::{Incarnation, QueueName};
use crate::queue::Queue;
use crate::store::StoreError;

/// How a worker process runs.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The queues it serves and how many jobs of each it runs at once.
    pub pools: BTreeMap<QueueName, usize>,
    /// A host and process name for people.
    pub label: Arc<str>,
    /// Without a beat for so long its jobs are given to others.
    pub lease: Duration,
    /// How often it beats; a third of the lease or less.
    pub beat_every: Duration,
}

/// A running worker process. Dropping it does not stop it: call [`Worker::drain`].
#[derive(Debug)]
pub struct Worker {
    contexts: Vec<WorkerContext>,
    pools: TaskTracker,
    running: Arc<Running>,
    pulses: BTreeMap<QueueName, Arc<Pulse>>,
    life: Identity,
    queue: Queue,
    stop_beats: CancellationToken,
    hard_stop: CancellationToken,
    heartbeat: Option<JoinHandle<()>>,
}

impl Worker {
    /// Registers the process with the store and starts its pools.
    ///
    /// # Errors
    /// When the store does not take the first beat.
    pub async fn start(
        queue: Queue,
        registry: Arc<Registry>,
        clock: Clock,
        entropy: Entropy,
        options: WorkerOptions,
    ) -> Result<Self, StoreError> {
        let running = Arc::new(Running::default());
        let life = Identity::new(entropy.clone());
        let (stop_beats, hard_stop) = (CancellationToken::new(), CancellationToken::new());
        let heartbeat = Heartbeat {
            store: Arc::clone(queue.store()),
            life: life.clone(),
            running: Arc::clone(&running),
            queues: options.pools.keys().cloned().collect(),
            label: Arc::clone(&options.label),
            lease: options.lease,
            every: options.beat_every,
            clock: clock.clone(),
            stop: stop_beats.clone(),
        };
        let heartbeat = Some(heartbeat.start().await?);
        let pools = TaskTracker::new();
        let (settler, settling) = Settler::new(queue.clone(), Arc::clone(&running), pools.clone(), hard_stop.clone());
        pools.spawn(settling);
        let desk = Desk { settler, registry: Arc::clone(&registry), queue: queue.clone(), entropy: entropy.clone() };
        let around = Arc::new(Surroundings { queue: queue.clone(), clock, entropy });
        let begin = Begin {
            run: Arc::new(Run { registry, around }),
            desk: Arc::new(desk),
            running: Arc::clone(&running),
            starter: Starter::new(hard_stop.clone()),
            attempts: pools.clone(),
        };
        let mut worker = Self {
            contexts: Vec::new(),
            pools,
            running,
            pulses: BTreeMap::new(),
            life,
            queue,
            stop_beats,
            hard_stop,
            heartbeat,
        };
        for (name, places) in options.pools {
            worker.start_pool(name, places, begin.clone());
        }
        Ok(worker)
    }

    fn start_pool(&mut self, name: QueueName, places: usize, begin: Begin) {
        let pulse = Arc::new(Pulse::default());
        let source = Source {
            store: Arc::clone(self.queue.store()),
            queue: name.clone(),
            places: Places::new(places),
            seats: Arc::new(Semaphore::new(place::SEATS)),
            at_once: backend::at_once(places),
            worth_a_call: places.div_ceil(4).max(8),
            life: self.life.clone(),
            pulse: Arc::clone(&pulse),
        };
        let context = WorkerContext::new(name.as_str());
        let worker = WorkerBuilder::new(context.clone())
            .backend(QueueBackend::new(source))
            .layer(CatchPanicLayer::<_, Interruption>::with_panic_handler(run::panicked))
            .build(begin);
        // The clone is the switch that stops it.
        self.contexts.push(context);
        self.pulses.insert(name.clone(), pulse);
        self.pools.spawn(async move {
            if let Err(error) = worker.run().await {
                tracing::error!(queue = %name, %error, "a pool ended; restart the process");
            }
        });
    }

    /// Who this process is to the store now.
    pub fn incarnation(&self) -> Incarnation {
        self.life.now()
    }

    /// How many attempts run now.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Each pool's pulse, for readiness.
    pub fn pulses(&self) -> &BTreeMap<QueueName, Arc<Pulse>> {
        &self.pulses
    }

    /// Stops cleanly: no more claims; what runs has `grace` to finish; the rest is handed back, its attempt not counted.
    ///
    /// # Errors
    /// When the store did not take the sign-off; rescue gives the jobs to others then.
    pub async fn drain(mut self, grace: Duration) -> Result<usize, StoreError> {
        for context in &self.contexts {
            // A pool that was started a moment ago can't be stopped before its first poll.
            while context.stop().is_err() && context.is_pending() {
                tokio::task::yield_now().await;
            }
        }
        self.pools.close();
        let mut handed_back = 0;
        let (idle, ()) = tokio::join!(tokio::time::timeout(grace, self.idle()), self.claim_no_more());
        if idle.is_err() {
            handed_back = self.running.len();
            self.running.ring_all(StopReason::Shutdown);
            // Rung attempts end at once; what blocks its thread is left to the sign-off.
            drop(tokio::time::timeout(Duration::from_secs(2), self.idle()).await);
        }
        self.stop_beats.cancel();
        let signed_off = self.queue.store().sign_off(self.life.now()).await;
        self.hard_stop.cancel();
        if let Some(heartbeat) = self.heartbeat.take() {
            drop(tokio::task::spawn_blocking(move || heartbeat.join()).await);
        }
        signed_off.map(|_| handed_back)
    }

    /// Tells the store to give this process nothing more: a claim that waits there outlives its pool's last look while
    /// other jobs of the pool still run, and what it got would lie here unbegun until the last of them ends.
    async fn claim_no_more(&self) {
        if let Err(error) = self.queue.store().drain_worker(self.life.now()).await {
            tracing::warn!(%error, "the store was not told that this worker stops");
        }
    }

    /// Resolves when no attempt runs and every pool has stopped claiming.
    async fn idle(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        // The settler's own task stays until the sign-off.
        while self.pools.len() > 1 {
            tick.tick().await;
        }
    }
}
