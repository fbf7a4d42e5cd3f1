//! The worker's part: the engine's own worker, upkeep and scheduler over a watched store, until SIGTERM.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tidemill::clock::{Clock, Entropy};
use tidemill::job::{JobSpec, QueueName};
use tidemill::queue::Queue;
use tidemill::schedule::{Plan as When, Schedule, Scheduler};
use tidemill::store::{Durability, Location, QueueSettings, Retention, Store, StoreError, StoreRules, open};
use tidemill::upkeep::Upkeep;
use tidemill::worker::{Registry, Worker, WorkerOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::act::{QUEUE, SCHEDULE, TICKS, Tick, Work};
use crate::event::{Log, What};
use crate::handler::Bench;
use crate::pop;
use crate::steps::{self, Doom, Plan};
use crate::watch::Watched;

/// What every part is told.
#[derive(Args, Clone, Debug)]
pub struct Part {
    /// The run's folder; logs go there.
    #[arg(long)]
    pub dir: PathBuf,
    /// Whose log it is.
    #[arg(long)]
    pub node: String,
    /// Which life of that node.
    #[arg(long)]
    pub life: u32,
    /// The store's URL.
    #[arg(long)]
    pub store: String,
    /// Its own random numbers.
    #[arg(long)]
    pub seed: u64,
    /// Less than a synced write is not enough.
    #[arg(long)]
    pub fsync: bool,
    /// Where it shall kill itself: `step:nth:micros`.
    #[arg(long)]
    pub kill: Option<Plan>,
}

impl Part {
    /// What it asks of the store.
    pub fn rules(&self) -> StoreRules {
        let durability = if self.fsync { Durability::Fsync } else { Durability::Everysec };
        StoreRules { durability, ..StoreRules::default() }
    }

    /// Its log, begun, and its end.
    ///
    /// # Errors
    /// When the log can't be opened.
    pub fn begin(&self, role: &str) -> anyhow::Result<(Arc<Log>, Doom)> {
        // The driver may be killed itself; nobody stays behind.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        let log = Arc::new(Log::open(&self.dir.join(format!("{}.{}.log", self.node, self.life)))?);
        log.write(What::Born { role: role.into(), pid: std::process::id() });
        Ok((Arc::clone(&log), Doom::new(self.kill.clone(), log)))
    }
}

/// What a worker is told.
#[derive(Args, Clone, Debug)]
pub struct WorkerPart {
    /// What every part is told.
    #[command(flatten)]
    pub part: Part,
    /// Jobs at once.
    #[arg(long, default_value_t = 8)]
    pub places: usize,
    /// Without a beat for so long it is dead.
    #[arg(long)]
    pub lease_ms: u64,
    /// How often it beats.
    #[arg(long)]
    pub beat_ms: u64,
    /// What runs at SIGTERM has so long.
    #[arg(long, default_value_t = 1_000)]
    pub grace_ms: u64,
    /// A job that has lost so many holders is dead.
    #[arg(long)]
    pub crash_limit: u32,
    /// Its clock is wrong by so much.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub clock_offset_ms: i64,
    /// But only from so long after its start.
    #[arg(long, default_value_t = 0)]
    pub clock_after_ms: u64,
    /// It runs the schedule too.
    #[arg(long)]
    pub schedule: bool,
    /// The negative control: claims are settled at once and run afterwards.
    #[arg(long)]
    pub pop: bool,
}

/// Plays a worker.
///
/// # Errors
/// When it can't begin, or the store has failed for good.
pub async fn run(args: WorkerPart) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let (log, doom) = args.part.begin("worker")?;
    let clock = clock(&args)?;
    doom.begin(steps::OPEN);
    let rules = StoreRules { crash_limit: args.crash_limit, ..args.part.rules() };
    // The embedded store's clock is its process'; a server has its own, which the worker's must not touch.
    let embedded = args.part.store.starts_with("sqlite:");
    let stores_clock = if embedded { clock.clone() } else { Clock::system() };
    let Some(store) = patiently(&mut term, async || opened(&args.part.store, rules, stores_clock.clone()).await).await
    else {
        return Ok(());
    };
    let store: Arc<dyn Store> = Arc::new(Watched::new(store?, Arc::clone(&log), doom.clone()));
    let declare = async || store.declare_queues(queues()).await;
    let Some(declared) = patiently(&mut term, declare).await else { return Ok(()) };
    declared?;
    if args.pop {
        return pop::run(store, Bench { log, doom }, term, args).await;
    }
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let entropy = Entropy::seeded(args.part.seed);
    let names: BTreeSet<QueueName> = queues().into_iter().map(|queue| queue.name).collect();
    let queue = Queue::new(Arc::clone(&store), names, clock.clone(), entropy.clone());
    let upkeep = Upkeep::new(Arc::clone(&store));
    let upkeep_stop = stop.clone();
    let mut upkeep = tasks.spawn(async move { upkeep.run(upkeep_stop).await });
    if args.schedule {
        let scheduler = scheduler(&queue, &clock, &entropy)?;
        let stop = stop.clone();
        tasks.spawn(async move { scheduler.run(stop).await });
    }
    let registry = Arc::new(registry(&log, &doom)?);
    let start = async || {
        Worker::start(queue.clone(), Arc::clone(&registry), clock.clone(), entropy.clone(), options(&args)?)
            .await
            .map_err(anyhow::Error::from)
    };
    let Some(worker) = patiently(&mut term, start).await else { return Ok(()) };
    let worker = worker?;
    let fatal = tokio::select! {
        _ = term.recv() => None,
        ended = &mut upkeep => Some(ended),
    };
    let drained = worker.drain(Duration::from_millis(args.grace_ms)).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    match fatal {
        None => drained.map(drop).context("hand back what runs"),
        Some(ended) => ended?.context("the upkeep has ended"),
    }
}

/// Tries until it works or SIGTERM comes (`None`): a store that is away is waited for. What is fatal is an answer.
pub(crate) async fn patiently<T, E, F>(term: &mut Signal, mut work: impl FnMut() -> F) -> Option<anyhow::Result<T>>
where
    F: Future<Output = Result<T, E>>,
    E: Into<anyhow::Error>,
{
    loop {
        let error = tokio::select! {
            done = work() => match done {
                Ok(done) => return Some(Ok(done)),
                Err(error) => error.into(),
            },
            _ = term.recv() => return None,
        };
        if matches!(error.downcast_ref(), Some(StoreError::Fatal { .. } | StoreError::Schema { .. })) {
            return Some(Err(error));
        }
        tracing::warn!("{error:#}; it is tried again");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = term.recv() => return None,
        }
    }
}

/// Opens the store at `url`.
///
/// # Errors
/// When it can't be opened now.
pub async fn opened(url: &str, rules: StoreRules, clock: Clock) -> anyhow::Result<Arc<dyn Store>> {
    let location: Location = url.parse()?;
    // Behind a pointer: all that a store's opening holds is not part of every future that comes here.
    let opening: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move { open(&location, rules, clock).await });
    let opened: Result<_, StoreError> = opening.await;
    Ok(opened?)
}

/// The run's queues: everything is kept for the dump, also by a worker whose clock is days ahead.
pub fn queues() -> Vec<QueueSettings> {
    let retention = Retention {
        finished_for: Duration::from_secs(366 * 24 * 3600),
        finished_max: 1_000_000,
        dead_for: Duration::from_secs(366 * 24 * 3600),
        dead_max: 1_000_000,
    };
    let queue = |name: &str| name.parse().ok().map(|name| QueueSettings { name, rate: None, retention });
    [QUEUE, TICKS].into_iter().filter_map(queue).collect()
}

fn registry(log: &Arc<Log>, doom: &Doom) -> anyhow::Result<Registry> {
    let bench = Arc::new(Bench { log: Arc::clone(log), doom: doom.clone() });
    let mut registry = Registry::new();
    registry.register::<Work>(Arc::clone(&bench))?;
    registry.register::<Tick>(bench)?;
    Ok(registry)
}

fn scheduler(queue: &Queue, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Scheduler> {
    let every = When::every(Duration::from_secs(1))?.overlap(tidemill::store::Overlap::Allow);
    let schedule = Schedule::new(SCHEDULE, every, |due| JobSpec::of(&Tick { due_ms: due.as_ms() }))?;
    Ok(Scheduler::new(queue.clone(), vec![schedule], clock.clone(), entropy.clone())?)
}

fn options(args: &WorkerPart) -> anyhow::Result<WorkerOptions> {
    Ok(WorkerOptions {
        pools: [(QUEUE.parse()?, args.places), (TICKS.parse()?, 2)].into(),
        label: format!("{}.{}", args.part.node, args.part.life).into(),
        lease: Duration::from_millis(args.lease_ms),
        beat_every: Duration::from_millis(args.beat_ms),
    })
}

/// The machine's clock, or one that is wrong as the arguments say.
fn clock(args: &WorkerPart) -> anyhow::Result<Clock> {
    if args.clock_offset_ms == 0 {
        return Ok(Clock::system());
    }
    let (system, offset) = (Clock::system(), args.clock_offset_ms);
    let wrong_from = system.now().after(Duration::from_millis(args.clock_after_ms));
    let wrong = Clock::manual(system.now());
    let hand = wrong.clone();
    std::thread::Builder::new().name("wrong-clock".into()).spawn(move || {
        loop {
            let now = system.now();
            let offset = if now < wrong_from { 0 } else { offset };
            hand.set(tidemill::clock::Timestamp::from_ms(now.as_ms() + offset));
            std::thread::sleep(Duration::from_millis(1));
        }
    })?;
    Ok(wrong)
}
