//! Configuration: `tidemill.toml`, then the environment (`TIDEMILL_…`, two underscores for a dot), read once at start.
//!
//! One struct a concern, each field's doc naming its default. Unknown keys and values out of range are fatal and named
//! together with the file or variable they came from. Secrets never stand in the file: it names variables or files.

pub mod admin;
pub mod fanout;
pub mod ingress;
pub mod portal;
mod queue_url;
pub mod queues;
pub mod schedules;

use std::fmt;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};

use self::admin::AdminConfig;
use self::fanout::FanoutConfig;
use self::ingress::IngressConfig;
use self::portal::PortalConfig;
pub use self::queue_url::QueueUrl;
use self::queues::{LogConfig, QueuesConfig, WorkerConfig};
use self::schedules::SchedulesConfig;
use crate::store::{Durability, Location, StoreRules};

/// Variables with our prefix that are no configuration keys: the file's path and secrets.
const NOT_KEYS: [&str; 5] = ["config", "data_key", "data_key_file", "data_key_previous", "api_key"];

/// What is wrong with the configuration. The message names the key, and where it came from.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read, or has an unknown key or a value of the wrong kind.
    #[error("{0}")]
    Read(String),
    /// The file that was asked for is not there.
    #[error("the configuration file {0} does not exist")]
    NoFile(PathBuf),
    /// A value is not allowed.
    #[error("{field} is `{value}`: {why}")]
    Invalid {
        /// The key, with dots.
        field: String,
        /// What was given.
        value: String,
        /// What is wrong or allowed.
        why: String,
    },
}

impl ConfigError {
    /// A value that is not allowed.
    pub fn invalid(field: impl Into<String>, value: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Invalid { field: field.into(), value: value.to_string(), why: why.to_string() }
    }
}

/// A variable of the environment: for secrets, and for the integrations' own names. Read here and nowhere else.
pub fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var(name).ok()
}

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the two files of the embedded stores lie; `data`.
    pub data_dir: PathBuf,
    /// The queue store: `sqlite:<path>`, `redis://…`, `rediss://…`, `redis+sentinel://…` or `rediss+sentinel://…`; empty:
    /// `queue.db` in the data directory. `QUEUE_URL` goes before the file; `REDIS_URL` counts where neither says anything.
    pub queue_url: QueueUrl,
    /// What must have happened to a job before it is acknowledged: `everysec` (in a file that is synced each second), `fsync`
    /// (on disk) or `memory`. A Redis that promises less is refused. SQLite keeps everything on disk.
    pub durability: Durability,
    /// The relational database, `sqlite:<path>`; empty: `tidemill.db` in the data directory.
    pub database_url: String,
    /// Queues, their pools and retention.
    pub queues: QueuesConfig,
    /// Leases and stops.
    pub worker: WorkerConfig,
    /// What goes to standard error.
    pub log: LogConfig,
    /// The public listener and its sources.
    pub ingress: IngressConfig,
    /// The operators' listener.
    pub admin: AdminConfig,
    /// Webhooks out.
    pub fanout: FanoutConfig,
    /// The consumers' page.
    pub portal: PortalConfig,
    /// Plans in the place of the declared ones.
    pub schedules: SchedulesConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            queue_url: QueueUrl::default(),
            durability: Durability::default(),
            database_url: String::new(),
            queues: QueuesConfig::default(),
            worker: WorkerConfig::default(),
            log: LogConfig::default(),
            ingress: IngressConfig::default(),
            admin: AdminConfig::default(),
            fanout: FanoutConfig::default(),
            portal: PortalConfig::default(),
            schedules: SchedulesConfig::default(),
        }
    }
}

impl Config {
    /// Reads `file` (or `tidemill.toml`, which may be missing) and the environment, and checks everything.
    ///
    /// # Errors
    /// Names the first key that is unknown or wrong.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        if let Some(file) = file
            && !file.exists()
        {
            return Err(ConfigError::NoFile(file.to_owned()));
        }
        let toml = Toml::file(file.unwrap_or(Path::new("tidemill.toml")));
        // Other programs of the machine read it too, so that whatever names our queue goes before it.
        let anybodys = Env::raw().only(&["REDIS_URL"]).map(|_| "queue_url".into());
        // The two whose names the systems we take over from use without our prefix.
        let plain = Env::raw().only(&["QUEUE_URL", "DATABASE_URL"]);
        let ours = Env::prefixed("TIDEMILL_").ignore(&NOT_KEYS).split("__");
        let defaults = Figment::from(Serialized::defaults(Self::default()));
        let read = defaults.merge(anybodys).merge(toml).merge(plain).merge(ours);
        let config: Self = read.extract().map_err(|e| ConfigError::Read(named(&e)))?;
        config.complete()
    }

    /// Adds what is always there and checks every value.
    ///
    /// # Errors
    /// Names the first key that is wrong.
    pub fn complete(mut self) -> Result<Self, ConfigError> {
        self.queues.complete()?;
        for (name, source) in &self.ingress.sources {
            if let Some(queue) = source.queue.as_ref().filter(|queue| !self.queues.0.contains_key(*queue)) {
                let why = "no such queue is configured; name one below `queues`";
                return Err(ConfigError::invalid(format!("ingress.sources.{name}.queue"), queue, why));
            }
        }
        self.worker.check()?;
        self.fanout.check().map_err(|e| ConfigError::invalid(format!("fanout.{}", e.field), &e.value, e.allowed))?;
        self.check_portal()?;
        self.queue_location()?;
        self.database_path()?;
        Ok(self)
    }

    fn check_portal(&self) -> Result<(), ConfigError> {
        if self.portal.base(self.ingress.listen)?.is_none() {
            return Ok(());
        }
        if !self.fanout.allow_addresses.is_empty() && !self.portal.private_receivers {
            let why = "fanout.allow_addresses lets endpoints lie in private networks, and consumers could put theirs \
                       there and read what answers; set this to true if they may";
            return Err(ConfigError::invalid("portal.private_receivers", false, why));
        }
        let taken = |path: &String| path == "/portal" || path.starts_with("/portal/");
        for (name, source) in &self.ingress.sources {
            if let Some(path) = source.path.as_ref().filter(|path| taken(path)) {
                let why = "the consumers' page is served there; choose another";
                return Err(ConfigError::invalid(format!("ingress.sources.{name}.path"), path, why));
            }
        }
        Ok(())
    }

    /// Where the queue store lies.
    ///
    /// # Errors
    /// When `queue_url` names no store.
    pub fn queue_location(&self) -> Result<Location, ConfigError> {
        if self.queue_url.is_empty() {
            return Ok(Location::Sqlite(self.data_dir.join("queue.db")));
        }
        let wrong = |e| ConfigError::Read(format!("queue_url (from the file, QUEUE_URL or REDIS_URL): {e}"));
        self.queue_url.location().map_err(wrong)
    }

    /// What the queue store is told.
    pub fn store_rules(&self) -> StoreRules {
        StoreRules { crash_limit: self.worker.crash_limit, durability: self.durability, ..StoreRules::default() }
    }

    /// The embedded database's file.
    ///
    /// # Errors
    /// When `database_url` names another kind of database.
    pub fn database_path(&self) -> Result<PathBuf, ConfigError> {
        let (field, url) = ("database_url", self.database_url.as_str());
        if url.is_empty() {
            return Ok(self.data_dir.join("tidemill.db"));
        }
        // Only the scheme is shown: what follows may hold a password.
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
        match url.strip_prefix("sqlite:") {
            Some(path) if !path.trim_start_matches('/').is_empty() => {
                Ok(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
            }
            _ => Err(ConfigError::invalid(field, format!("{scheme}:…"), "this program speaks `sqlite:<path>`")),
        }
    }
}

/// Refuses a number outside `min..=max`.
fn within(field: &str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::invalid(field, value, format_args!("{min} to {max} is allowed")))
}

/// The key as people write it, what is wrong with it, and the file or variable that it stands in.
fn named(error: &figment::Error) -> String {
    let key = error.path.join(".");
    let from_environment = error.metadata.as_ref().is_some_and(|m| m.name.contains("environment"));
    let place = match error.metadata.as_ref().map(|m| (&m.source, &m.name)) {
        _ if from_environment => format!("the variable {}", variable_of(&key)),
        Some((Some(source), _)) => source.to_string(),
        Some((None, name)) => name.to_string(),
        None => "the configuration".to_owned(),
    };
    let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
    format!("{key}{} (in {place})", error.kind)
}

fn variable_of(key: &str) -> String {
    match key {
        "queue_url" | "database_url" => key.to_uppercase(),
        _ => format!("TIDEMILL_{}", key.replace('.', "__").to_uppercase()),
    }
}
