//! What a server can promise, read from its own settings, and whether that is enough.

use redis::aio::MultiplexedConnection;
use redis::{InfoDict, Value};

use super::failure::failure;
use crate::store::{Durability, StoreError};

/// What the server at the other end keeps, and through what.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) words: String,
    /// Asked to be on disk, the server says so only when it is asked after each write.
    pub(super) wait_for_disk: bool,
    /// How long it has been up.
    pub(super) up_ms: i64,
}

struct Settings {
    append_only: bool,
    /// `None`: this user may not ask.
    fsync: Option<String>,
    max_memory: i64,
    policy: String,
    version: (u32, u32),
    replicas: i64,
}

impl Promise {
    /// Asks the server, and refuses one that promises less than `asked`.
    pub(super) async fn of(connection: &mut MultiplexedConnection, asked: Durability) -> Result<Self, StoreError> {
        let info: InfoDict = redis::cmd("INFO")
            .query_async(connection)
            .await
            .map_err(|e| failure("read what the server is", &e).error)?;
        let number = |key: &str| info.get::<i64>(key).unwrap_or(0);
        let text = |key: &str| info.get::<String>(key).unwrap_or_default();
        if number("loading") == 1 {
            // Until it has read its files it does not even say rightly whether it has any.
            let detail = "the server is loading its data".to_owned();
            return Err(StoreError::Unavailable { step: "connect", detail });
        }
        if text("role") == "slave" {
            let detail = "it is a replica; give the master's address, or the sentinels'".to_owned();
            return Err(StoreError::Unavailable { step: "connect", detail });
        }
        let settings = Settings {
            append_only: number("aof_enabled") == 1,
            fsync: config(connection, "appendfsync").await,
            max_memory: number("maxmemory"),
            policy: text("maxmemory_policy"),
            version: version(&text("redis_version")),
            replicas: number("connected_slaves"),
        };
        let wait_for_disk = settings.check(asked).map_err(|(found, advice)| StoreError::TooWeak {
            asked: asked.as_str(),
            found,
            advice,
        })?;
        let words = settings.words(&text("redis_version"), wait_for_disk);
        Ok(Self { words, wait_for_disk, up_ms: number("uptime_in_seconds") * 1_000 })
    }
}

impl Settings {
    /// Whether each write must be followed by a question for the disk; `Err`: what it is instead, and what would help.
    fn check(&self, asked: Durability) -> Result<bool, (String, String)> {
        if self.version < (6, 2) {
            let (major, minor) = self.version;
            return Err((format!("it is version {major}.{minor}"), "use Redis 6.2 or newer".into()));
        }
        if self.max_memory > 0 && self.policy != "noeviction" {
            let found = format!("maxmemory-policy is {}, which throws jobs away when memory is short", self.policy);
            return Err((found, "set maxmemory-policy to noeviction".into()));
        }
        let grant = || {
            let found = "this user may not read its settings".to_owned();
            (found, "grant it +config|get, or set durability to \"memory\"".to_owned())
        };
        match asked {
            Durability::Memory => Ok(false),
            Durability::Everysec => match (self.append_only, self.fsync.as_deref()) {
                (false, _) => {
                    let advice = "set appendonly to yes, or durability to \"memory\"".to_owned();
                    Err(("it has no append-only file: a restart loses jobs".into(), advice))
                }
                (true, Some("everysec" | "always")) => Ok(false),
                (true, Some(other)) => {
                    Err((format!("appendfsync is {other}"), "set appendfsync to everysec or always".into()))
                }
                (true, None) => Err(grant()),
            },
            Durability::Fsync => match (self.append_only, self.fsync.as_deref()) {
                (true, Some("always")) => Ok(false),
                (true, Some(_)) if self.version >= (7, 2) => Ok(true),
                (true, Some(other)) => {
                    let found = format!("appendfsync is {other} and WAITAOF needs Redis 7.2");
                    Err((found, "set appendfsync to always, or use Redis 7.2 or newer".into()))
                }
                (true, None) => Err(grant()),
                (false, _) => {
                    Err(("it has no append-only file".into(), "set appendonly to yes and appendfsync to always".into()))
                }
            },
        }
    }

    fn words(&self, version: &str, wait_for_disk: bool) -> String {
        let survives = match (self.append_only, self.fsync.as_deref(), wait_for_disk) {
            (true, Some("always"), _) | (true, _, true) => "survives a crash of the server and of its machine",
            (true, Some("everysec"), _) => {
                "survives a restart; a crash of the server or its machine may take about the last second"
            }
            (true, ..) => "survives a restart; a crash may take what the machine had not written",
            (false, ..) => "lives in memory only: a restart of the server loses it",
        };
        let failover = match self.replicas {
            0 => String::new(),
            n => format!("; {n} replicas follow behind, a failover may lose what had not reached them"),
        };
        format!("Redis {version}: an acknowledged job {survives}{failover}")
    }
}

/// One setting; `None` when this user may not ask.
async fn config(connection: &mut MultiplexedConnection, name: &str) -> Option<String> {
    let answer: Value = redis::cmd("CONFIG").arg("GET").arg(name).query_async(connection).await.ok()?;
    let value = match answer {
        Value::Map(pairs) => pairs.into_iter().next()?.1,
        Value::Array(parts) => parts.into_iter().nth(1)?,
        _ => return None,
    };
    redis::from_redis_value(value).ok()
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
