//! Where a measurement's store lies: a file in a temporary folder, a Redis of the bench's own, or one that was named.
//!
//! Every measurement gets an empty place and leaves none behind. A store that was named must be empty, so that nobody's
//! jobs are measured, or taken away afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tidemill::clock::Clock;
use tidemill::config::queues::WorkerConfig;
use tidemill::store::{Location, Store, StoreRules, open};
use tidemill_testkit::RedisServer;

/// How long a server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is written beside each figure.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `sqlite` or `redis`.
    pub store: &'static str,
    /// What an acknowledged write survives: `fsync`, `everysec`, `memory`.
    pub durability: String,
    /// `redis 7.0.15`.
    pub version: String,
}

/// An empty store's place.
#[derive(Debug)]
pub struct Place {
    url: String,
    at: At,
}

#[derive(Debug)]
enum At {
    /// The folder goes with it, if it is ours.
    File { path: PathBuf, _folder: Option<TempDir> },
    /// The server goes with it, if it is ours.
    Redis { server: Option<RedisServer> },
}

impl Place {
    /// See [`Common::store`](crate::cli::Common::store) for what may be asked.
    ///
    /// # Errors
    /// When it can't be reached or is not empty.
    pub async fn prepare(asked: &str) -> anyhow::Result<Self> {
        match asked {
            "sqlite" => {
                let folder = tempfile::Builder::new().prefix("tidemill-bench-").tempdir()?;
                let path = folder.path().join("queue.db");
                Ok(Self { url: format!("sqlite:{}", path.display()), at: At::File { path, _folder: Some(folder) } })
            }
            "redis" => {
                let server = tokio::task::spawn_blocking(RedisServer::start).await.context("start redis-server")?;
                Ok(Self { url: server.url(), at: At::Redis { server: Some(server) } })
            }
            url if url.starts_with("redis:") => {
                let place = Self { url: url.to_owned(), at: At::Redis { server: None } };
                let keys: u64 = redis::cmd("DBSIZE").query_async(&mut place.redis().await?).await?;
                ensure!(keys == 0, "that Redis holds {keys} keys; it must be empty, and is emptied afterwards");
                Ok(place)
            }
            url => {
                let path =
                    url.strip_prefix("sqlite:").context("allowed are redis, sqlite, redis://… and sqlite:<path>")?;
                let path = PathBuf::from(path);
                ensure!(!path.exists(), "{} exists; name a file that does not", path.display());
                Ok(Self { url: url.to_owned(), at: At::File { path, _folder: None } })
            }
        }
    }

    /// Its URL, for other processes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// True for a Redis.
    pub fn is_redis(&self) -> bool {
        matches!(self.at, At::Redis { .. })
    }

    /// The file's path; `None` for a server.
    pub fn file(&self) -> Option<&PathBuf> {
        match &self.at {
            At::File { path, .. } => Some(path),
            At::Redis { .. } => None,
        }
    }

    /// Opens our store there.
    ///
    /// # Errors
    /// As [`tidemill::store::open`].
    pub async fn open(&self) -> anyhow::Result<Arc<dyn Store>> {
        open_url(&self.url).await
    }

    /// A plain connection, for what the store does not say.
    ///
    /// # Errors
    /// When this is no Redis, or it does not answer.
    pub async fn redis(&self) -> anyhow::Result<MultiplexedConnection> {
        let client =
            redis::Client::open(self.url.as_str()).context("the bench reads figures from a plain redis:// only")?;
        // Emptying a server takes it as long as it takes; the driver's own patience is half a second.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&config).await.context("connect to Redis")
    }

    /// What it promises, and its version: asked, not assumed.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn facts(&self) -> anyhow::Result<Facts> {
        match &self.at {
            // The store reads WAL and synchronous=FULL back when it opens, and refuses anything less.
            At::File { .. } => Ok(Facts {
                store: "sqlite",
                durability: "fsync".to_owned(),
                version: format!("sqlite {}", rusqlite::version()),
            }),
            At::Redis { .. } => {
                let mut redis = self.redis().await?;
                let info: String = redis::cmd("INFO").query_async(&mut redis).await?;
                let durability = match field(&info, "aof_enabled") {
                    Some("1") => {
                        let (_, policy): (String, String) =
                            redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(&mut redis).await?;
                        if policy == "always" { "fsync".to_owned() } else { policy }
                    }
                    _ => "memory".to_owned(),
                };
                let version = format!("redis {}", field(&info, "redis_version").unwrap_or("?"));
                Ok(Facts { store: "redis", durability, version })
            }
        }
    }

    /// How many bytes the store holds: the files, or Redis' `used_memory`.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn bytes(&self) -> anyhow::Result<u64> {
        match &self.at {
            At::File { path, .. } => {
                let of = |suffix: &str| {
                    std::fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |file| file.len())
                };
                Ok(of("") + of("-wal"))
            }
            At::Redis { .. } => {
                let info: String = redis::cmd("INFO").arg("memory").query_async(&mut self.redis().await?).await?;
                Ok(field(&info, "used_memory").context("INFO has no used_memory")?.parse()?)
            }
        }
    }

    /// Empties a place that was named; our own goes with the value.
    ///
    /// # Errors
    /// When it can't be emptied.
    pub async fn clear(self) -> anyhow::Result<()> {
        match self.at {
            At::File { path, _folder: None } => {
                for suffix in ["", "-wal", "-shm"] {
                    drop(std::fs::remove_file(format!("{}{suffix}", path.display())));
                }
            }
            At::Redis { server: None } => {
                redis::cmd("FLUSHDB").query_async::<()>(&mut self.redis().await?).await.context("empty the Redis")?;
            }
            At::File { .. } | At::Redis { .. } => {}
        }
        Ok(())
    }
}

/// Opens the store at `url` with the shipped rules.
///
/// # Errors
/// As [`tidemill::store::open`].
pub async fn open_url(url: &str) -> anyhow::Result<Arc<dyn Store>> {
    let rules = StoreRules { crash_limit: WorkerConfig::default().crash_limit, ..StoreRules::default() };
    let location: Location = url.parse()?;
    open(&location, rules, Clock::system()).await.with_context(|| format!("open the store at {url}"))
}

/// One field of `INFO`.
pub fn field<'t>(info: &'t str, name: &str) -> Option<&'t str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "used_memory_human:1M\r\nused_memory:1048576\r\n";
        assert_eq!((field(info, "used_memory"), field(info, "memory")), (Some("1048576"), None));
    }

    #[tokio::test]
    async fn a_file_that_exists_is_not_taken() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = Place::prepare(&format!("sqlite:{}", file.path().display())).await.unwrap_err();
        assert!(refused.to_string().contains("exists"), "{refused}");
    }
}
