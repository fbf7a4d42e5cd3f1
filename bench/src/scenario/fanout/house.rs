//! The shipped sender over an empty place: queue store, data file, worker, upkeep, at the configuration's defaults. Only loopback is open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemill::admin::{self, ApiKeys, Desk, DeskParts, Health, Operators, Role};
use tidemill::clock::{Clock, Entropy};
use tidemill::config::admin::AdminConfig;
use tidemill::config::fanout::FanoutConfig;
use tidemill::config::queues::{QueueConfig, QueuesConfig, WorkerConfig};
use tidemill::data::Database;
use tidemill::fanout::endpoints::{NewEndpoint, create};
use tidemill::fanout::{Event, FanoutState, fan_out, register};
use tidemill::job::{JobError, QueueName};
use tidemill::listener::{self, ListenerLimits};
use tidemill::queue::Queue;
use tidemill::schedule::Scheduler;
use tidemill::sealing::Sealer;
use tidemill::store::Store;
use tidemill::telemetry::Recorder;
use tidemill::upkeep::Upkeep;
use tidemill::worker::{Registry, Worker, WorkerOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::publisher::{NoInbox, Publisher};
use crate::place::{Place, open_url};

/// The width of the pool of `notifications` as it is shipped.
pub(super) const PLACES: usize = 64;
const EVENT_TYPE: &str = "invoice.paid";

fn name(tenant: u64) -> String {
    format!("bench-{tenant}")
}

fn event_id(n: u64) -> String {
    format!("evt_{n:012}")
}

/// About 330 bytes on the wire. With `sent_us` the receiver measures from then to the arrival.
fn payload(n: u64, sent_us: Option<u64>) -> Value {
    let mut payload = json!({ "n": n, "currency": "EUR", "note": "x".repeat(140) });
    if let Some(sent_us) = sent_us {
        payload["sent_us"] = sent_us.into();
    }
    payload
}

/// Event `n` of a tenant as a publisher orders it.
pub(super) fn order(n: u64, tenant: u64, sent_us: Option<u64>) -> Value {
    json!({ "id": event_id(n), "event_type": EVENT_TYPE, "tenant": name(tenant), "payload": payload(n, sent_us) })
}

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

    /// Registers an endpoint of the tenant with this number.
    pub(super) async fn endpoint(&self, tenant: u64, url: String) -> anyhow::Result<()> {
        let new =
            NewEndpoint { tenant: name(tenant), url, event_types: vec!["*".to_owned()], ..NewEndpoint::default() };
        create(&self.state, new).await?;
        Ok(())
    }

    /// Serves operators as it is shipped, and gives a publisher a key.
    pub(super) async fn listen(&self, recorder: Recorder) -> anyhow::Result<Publisher> {
        let (db, clock, entropy) = (self.state.db().clone(), Clock::system(), self.entropy.clone());
        let mut kinds = Registry::new();
        register(&mut kinds, Arc::clone(&self.state))?;
        let desk = Desk::new(DeskParts {
            queue: self.queue.clone(),
            kinds: Arc::new(kinds),
            scheduler: Scheduler::new(self.queue.clone(), Vec::new(), clock.clone(), entropy.clone())?,
            fanout: Arc::clone(&self.state),
            inbox: Arc::new(NoInbox),
            db: db.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let health = Health::new(Arc::clone(&self.store), db.clone(), clock.clone());
        let router = admin::router(Operators::new(Arc::new(desk), health, recorder, clock.clone()));
        let tcp = listener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = tcp.local_addr()?;
        let limits = ListenerLimits::configured("operators", &AdminConfig::default().limits, admin::MAX_BODY_BYTES);
        self.tasks.spawn(listener::serve(tcp, router, limits, self.stop.clone()));
        let (_, key) = ApiKeys::new(db, clock, entropy).create("bench", Role::Operator, None).await?;
        Ok(Publisher::new(address, key.expose_secret().to_owned()))
    }

    /// Fans event `n` out without a worker: its deliveries wait.
    pub(super) async fn prepare(&self, n: u64) -> anyhow::Result<()> {
        let event =
            Event { id: event_id(n), event_type: EVENT_TYPE.to_owned(), tenant: name(0), payload: payload(n, None) };
        let done = fan_out(&self.state, &self.queue, &event, Clock::system().now(), |spec| spec).await;
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
