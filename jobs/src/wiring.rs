//! The parts, opened and joined: stores, queue, handlers, clients. What `serve`, the sandbox, the commands and the tests share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tidemill::admin::{Desk, DeskParts};
use tidemill::clock::{Clock, Entropy};
use tidemill::config::Config;
use tidemill::data::Database;
use tidemill::fanout::{self, FanoutState, Reseal};
use tidemill::queue::Queue;
use tidemill::schedule::{self, Scheduler};
use tidemill::store::{self, Location, Store};
use tidemill::worker::Registry;

use crate::app::App;
use crate::config::IntegrationsConfig;
use crate::inbox::RecordedWebhooks;
use crate::store as tables;
use crate::{data_key, events, handlers, schedules};

/// Everything that is opened once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// The queue store.
    pub store: Arc<dyn Store>,
    /// The relational database.
    pub db: Database,
    /// The road in.
    pub queue: Queue,
    /// All handlers.
    pub registry: Arc<Registry>,
    /// What they share.
    pub app: Arc<App>,
    /// Webhooks out.
    pub fanout: Arc<FanoutState>,
    /// When schedules fire.
    pub scheduler: Scheduler,
    /// What time it is.
    pub clock: Clock,
    /// Random numbers.
    pub entropy: Entropy,
}

impl Wiring {
    /// Opens the stores (making them where there are none) and registers the handlers. `lookup` gives the environment's
    /// variables. What the stores know of queues and endpoints stays as it is: a command must change nothing but what
    /// it was asked to, and the configuration beside it may not be the running service's.
    ///
    /// # Errors
    /// Says which part can't be opened, and why.
    pub async fn open(
        config: &Config,
        lookup: &(dyn Fn(&str) -> Option<String> + Sync),
        clock: Clock,
        entropy: Entropy,
    ) -> anyhow::Result<Self> {
        let integrations = IntegrationsConfig::read(&|name| lookup(name))?;
        let store = open_store(config, clock.clone()).await?;
        let db = open_database(&config.database_path()?).await?;
        db.check_schema(Some(tables::migrations())).await?;
        let names = config.queues.0.keys().cloned().collect();
        let queue = Queue::new(Arc::clone(&store), names, clock.clone(), entropy.clone());
        // Nothing is sealed: a key that is made now can't be the wrong one.
        let may_make = !fanout::is_sealed(&db).await?;
        let sealer = data_key::sealer(&config.data_dir, &|name| lookup(name), may_make, &entropy)?;
        let fanout = FanoutState::new(db.clone(), config.fanout.clone(), sealer, clock.clone(), entropy.clone())?;
        let fanout = Arc::new(fanout);
        let app = Arc::new(App::build(&integrations, db.clone(), clock.clone(), entropy.clone())?);
        let mut registry = Registry::new();
        handlers::register(&mut registry, &app)?;
        fanout::register(&mut registry, Arc::clone(&fanout))?;
        let declared = schedule::configured(schedules::schedules(&app)?, &schedules::plans(&config.schedules, &app))?;
        let scheduler = Scheduler::new(queue.clone(), declared, clock.clone(), entropy.clone())?;
        Ok(Self { store, db, queue, registry: Arc::new(registry), app, fanout, scheduler, clock, entropy })
    }

    /// Makes the configured queues and endpoints known, and this application's event types, as they stand from now on: for
    /// processes that serve. (Schedules are declared by whoever fires them.)
    ///
    /// # Errors
    /// Names the first endpoint that can't be kept, or says that a store did not take it.
    pub async fn declare(
        &self,
        config: &Config,
        lookup: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> anyhow::Result<()> {
        // A service that can't sign shall not start as if it could.
        fanout::check_keys(&self.fanout).await.context("the secrets of endpoints can't be opened")?;
        let sealed = fanout::reseal(&self.fanout, Reseal::Plain).await?;
        if sealed > 0 {
            tracing::info!(sealed, "sealed the secrets of endpoints that lay in plain text");
        }
        self.store.declare_queues(config.queues.settings()).await?;
        fanout::declare(&self.fanout, lookup).await?;
        events::declare(&self.fanout).await?;
        Ok(fanout::recovery::go_on(&self.fanout, &self.queue).await?)
    }

    /// The operators' desk over these parts.
    pub fn desk(&self) -> Desk {
        Desk::new(DeskParts {
            queue: self.queue.clone(),
            kinds: Arc::clone(&self.registry),
            fanout: Arc::clone(&self.fanout),
            scheduler: self.scheduler.clone(),
            inbox: Arc::new(RecordedWebhooks(self.db.clone())),
            db: self.db.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        })
    }

    /// Closes the database; the store closes with its last user.
    pub async fn close(self) {
        self.db.close().await;
    }
}

/// Opens the queue store that the configuration names.
///
/// # Errors
/// When it can't be opened, is of another version, or promises less than `durability` asks for.
pub async fn open_store(config: &Config, clock: Clock) -> anyhow::Result<Arc<dyn Store>> {
    let location = config.queue_location()?;
    if let Location::Sqlite(path) = &location {
        make_folder(path)?;
    }
    store::open(&location, config.store_rules(), clock).await.with_context(|| format!("queue store {location}"))
}

/// Opens the database at `path`, without looking at its tables.
///
/// # Errors
/// When it can't be opened.
pub async fn open_database(path: &Path) -> anyhow::Result<Database> {
    make_folder(path)?;
    Ok(Database::open(path).await?)
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("the data directory {} can't be made", folder.display()))
}

/// A host and process name for people.
pub fn label() -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}:{}", if host.is_empty() { "host" } else { host }, std::process::id())
}

/// How long a clean stop may take.
pub fn grace(config: &Config) -> Duration {
    Duration::from_secs(config.worker.grace_seconds)
}
