//! Is this process alive, is it ready, and if not, why.
//!
//! *Alive* asks nothing but this process. *Ready* asks the store and the database, each within [`PATIENCE`], and every
//! check that the wiring adds (a claim loop that has gone silent, a scheduler that is late). A check only reads what its
//! owner keeps up to date, so that asking costs nothing.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Clock, Timestamp};
use crate::data::Database;
use crate::on_pool;
use crate::store::Store;

/// Whoever has not answered by then counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a check finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All is well, in a few words.
    Good(String),
    /// This process should get no work, and why.
    Bad(String),
}

type Look = Box<dyn Fn() -> Condition + Send + Sync>;

/// What is looked at.
pub struct Health {
    store: Arc<dyn Store>,
    db: Database,
    clock: Clock,
    started_at: Timestamp,
    checks: Vec<(&'static str, Look)>,
}

/// One check's finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// Whether all is well with it.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// True when every check is well.
    pub ready: bool,
    /// This program's version.
    pub version: &'static str,
    /// Since when this process runs.
    pub started_at: Timestamp,
    /// For how long.
    pub uptime_ms: u64,
    /// Each check.
    pub checks: Vec<Finding>,
}

impl Health {
    /// Looks at the store and the database.
    pub fn new(store: Arc<dyn Store>, db: Database, clock: Clock) -> Self {
        let started_at = clock.now();
        Self { store, db, clock, started_at, checks: Vec::new() }
    }

    /// Looks at one thing more. `look` is called with every request: it must not block.
    #[must_use]
    pub fn with(mut self, check: &'static str, look: impl Fn() -> Condition + Send + Sync + 'static) -> Self {
        self.checks.push((check, Box::new(look)));
        self
    }

    /// Looks at everything, in at most [`PATIENCE`].
    pub async fn report(&self) -> Report {
        let (store, database) = tokio::join!(
            within_patience("store", async {
                let health = self.store.health().await?;
                Ok(format!("{}, schema {}: {}", health.store, health.schema, health.promise))
            }),
            within_patience("database", async {
                let one: i64 = on_pool!(self.db.read(), pool => sqlx::query_scalar("select 1").fetch_one(pool).await?);
                Ok(format!("answers {one}"))
            }),
        );
        let others = self.checks.iter().map(|(check, look)| finding(check, look()));
        let checks: Vec<Finding> = [store, database].into_iter().chain(others).collect();
        let uptime = self.clock.now().since(self.started_at);
        Report {
            ready: checks.iter().all(|c| c.ok),
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started_at,
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            checks,
        }
    }
}

async fn within_patience(check: &'static str, ask: impl Future<Output = anyhow::Result<String>>) -> Finding {
    let condition = match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(words)) => Condition::Good(words),
        Ok(Err(error)) => Condition::Bad(format!("{error:#}")),
        Err(_) => Condition::Bad(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    finding(check, condition)
}

fn finding(check: &'static str, condition: Condition) -> Finding {
    match condition {
        Condition::Good(detail) => Finding { check, ok: true, detail },
        Condition::Bad(detail) => Finding { check, ok: false, detail },
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks: Vec<_> = self.checks.iter().map(|(name, _)| name).collect();
        f.debug_struct("Health").field("store", &self.store).field("checks", &checks).finish_non_exhaustive()
    }
}
