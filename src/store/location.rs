//! Where a store lies, as a URL, and the one way to open whichever it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::sqlite::{SqliteOptions, SqliteStore};
use super::{Store, StoreError};
use crate::clock::Clock;

/// A store's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `sqlite:<path>`: a file on this machine.
    Sqlite(PathBuf),
}

/// A URL that names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{scheme}:…` names no store; allowed are `sqlite:<path>`")]
pub struct InvalidLocation {
    // Only the scheme is shown: what follows may hold a password.
    scheme: String,
}

impl std::str::FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(url: &str) -> Result<Self, InvalidLocation> {
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
        match url.strip_prefix("sqlite:") {
            Some(path) if !path.trim_start_matches('/').is_empty() => {
                Ok(Self::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path))))
            }
            _ => Err(InvalidLocation { scheme: scheme.chars().take(40).collect() }),
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
}

impl Default for StoreRules {
    /// Three crashes; ten seconds.
    fn default() -> Self {
        Self { crash_limit: 3, deadline_grace: Duration::from_secs(10) }
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
    }
}
