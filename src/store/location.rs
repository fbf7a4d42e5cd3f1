//! Where a store lies, as a URL, and the one way to open whichever it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::redis::{RedisAddress, RedisOptions, RedisStore};
use super::sqlite::{SqliteOptions, SqliteStore};
use super::{Store, StoreError};
use crate::clock::Clock;

/// A store's place.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum Location {
    /// `sqlite:<path>`: a file on this machine.
    Sqlite(PathBuf),
    /// `redis://…`, `rediss://…`, `redis+sentinel://…`: a server that several machines share.
    Redis(RedisAddress),
}

/// Without secrets.
impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(address) => write!(f, "{address}"),
        }
    }
}

/// A URL that names no store. Only the scheme is shown: what follows may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{scheme}:…` names no store: {why}")]
pub struct InvalidLocation {
    scheme: String,
    why: String,
}

/// What must have happened to a write before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// It is in the server's memory: for what may be lost.
    Memory,
    /// It is written to a file that is synced each second.
    #[default]
    Everysec,
    /// It is on disk.
    Fsync,
}

impl Durability {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Everysec => "everysec",
            Self::Fsync => "fsync",
        }
    }
}

impl std::str::FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(url: &str) -> Result<Self, InvalidLocation> {
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
        let invalid = |why: String| InvalidLocation { scheme: scheme.chars().take(40).collect(), why };
        match scheme {
            "sqlite" => match url.strip_prefix("sqlite:") {
                Some(path) if !path.trim_start_matches('/').is_empty() => {
                    Ok(Self::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path))))
                }
                _ => Err(invalid("the path is missing: `sqlite:<path>`".into())),
            },
            "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" => {
                RedisAddress::parse(url).map(Self::Redis).map_err(|e| invalid(e.to_string()))
            }
            _ => Err(invalid(
                "allowed are `sqlite:<path>`, `redis://…`, `rediss://…`, `redis+sentinel://…` and `rediss+sentinel://…`"
                    .into(),
            )),
        }
    }
}

/// What every store lets its user decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreRules {
    /// A job whose holder died so often is dead.
    pub crash_limit: u32,
    /// A job that has run so much longer than its timeout is taken from its holder.
    pub deadline_grace: Duration,
    /// A server that promises less is refused. SQLite keeps everything on disk whatever is asked.
    pub durability: Durability,
}

impl Default for StoreRules {
    /// Three crashes; ten seconds; synced each second.
    fn default() -> Self {
        Self { crash_limit: 3, deadline_grace: Duration::from_secs(10), durability: Durability::Everysec }
    }
}

/// Opens a store. `clock` is the embedded store's clock; servers have their own.
///
/// # Errors
/// When it can't be opened, is of another version, or promises less than is asked of it.
pub async fn open(location: &Location, rules: StoreRules, clock: Clock) -> Result<Arc<dyn Store>, StoreError> {
    match location {
        Location::Sqlite(path) => {
            let mut options = SqliteOptions::at(path.clone());
            options.crash_limit = rules.crash_limit;
            options.deadline_grace = rules.deadline_grace;
            Ok(Arc::new(SqliteStore::open(options, clock).await?))
        }
        Location::Redis(address) => {
            Ok(Arc::new(RedisStore::open(RedisOptions { address: address.clone(), rules }, clock).await?))
        }
    }
}
