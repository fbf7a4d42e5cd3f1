//! The one loop that time drives: rescue, promote, prune. Owns all their timers.
//!
//! Any number of processes may run it: each round is a bounded batch that the store makes atomic, and a second one finds
//! nothing left to do. Each kind of round answers with a report; the last ones are kept for operators.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::store::{Promoted, Pruned, Rescued, Store, StoreError};

/// Jobs of dead workers wait at most so long for the next look.
const RESCUE_EVERY: Duration = Duration::from_secs(1);
/// A due job waits at most so long, even when its signal was missed or came from another process.
const PROMOTE_EVERY: Duration = Duration::from_millis(250);
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Rows in one round; a round that was full is followed by the next at once.
const BATCH: u32 = 1_000;
/// Full rounds of pruning in a row before others get a turn.
const PRUNE_ROUNDS: u32 = 20;

/// What the last rounds did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reports {
    /// The last round that found something.
    pub rescued: Rescued,
    /// The last round.
    pub promoted: Promoted,
    /// The last round.
    pub pruned: Pruned,
}

/// Keeps a store tidy.
#[derive(Debug)]
pub struct Upkeep {
    store: Arc<dyn Store>,
    reports: Mutex<Reports>,
}

impl Upkeep {
    /// Upkeep of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, reports: Mutex::default() }
    }

    /// What the last rounds did.
    pub fn reports(&self) -> Reports {
        self.lock().clone()
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// [`StoreError::Fatal`], which must end the process; everything else is tried again.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), StoreError> {
        let signal = self.store.due_signal();
        let start = Instant::now();
        let (mut rescue_at, mut promote_at, mut prune_at) = (start, start, start + PRUNE_EVERY / 6);
        loop {
            let next = rescue_at.min(promote_at).min(prune_at);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(next) => {}
                () = signal.notified() => promote_at = Instant::now(),
            }
            let now = Instant::now();
            if now >= rescue_at {
                rescue_at = Instant::now() + RESCUE_EVERY;
                heed("rescue", self.rescue().await)?;
            }
            if now >= promote_at {
                let wait = heed("promote", self.promote().await)?.unwrap_or(PROMOTE_EVERY);
                promote_at = Instant::now() + wait;
            }
            if now >= prune_at {
                prune_at = Instant::now() + PRUNE_EVERY;
                heed("prune", self.prune().await)?;
            }
        }
    }

    /// Gives the jobs of dead workers to others.
    ///
    /// # Errors
    /// When the store did not do it.
    pub async fn rescue(&self) -> Result<Rescued, StoreError> {
        let mut total = Rescued::default();
        loop {
            let report = self.store.rescue(BATCH).await?;
            total.dead_workers += report.dead_workers;
            total.to_ready += report.to_ready;
            total.to_dead += report.to_dead;
            if !report.more {
                break;
            }
        }
        if total != Rescued::default() {
            tracing::warn!(workers = total.dead_workers, ready = total.to_ready, dead = total.to_dead, "rescued");
            ::metrics::counter!(metrics::RESCUED, "outcome" => "ready").increment(u64::from(total.to_ready));
            ::metrics::counter!(metrics::RESCUED, "outcome" => "dead").increment(u64::from(total.to_dead));
            self.lock().rescued = total.clone();
        }
        Ok(total)
    }

    /// Makes due jobs ready; answers how long to wait for the next.
    ///
    /// # Errors
    /// When the store did not do it.
    pub async fn promote(&self) -> Result<Duration, StoreError> {
        let report = self.store.promote(BATCH).await?;
        self.lock().promoted = report;
        if report.more {
            return Ok(Duration::ZERO);
        }
        let Some(due) = report.next_due else { return Ok(PROMOTE_EVERY) };
        let wait = due.since(self.store.now().await?);
        // Never hot: a due time a hair ahead still costs a millisecond.
        Ok(wait.clamp(Duration::from_millis(1), PROMOTE_EVERY))
    }

    /// Takes away what retention no longer keeps.
    ///
    /// # Errors
    /// When the store did not do it.
    pub async fn prune(&self) -> Result<Pruned, StoreError> {
        let mut total = Pruned::default();
        for _ in 0..PRUNE_ROUNDS {
            let report = self.store.prune(BATCH).await?;
            total.jobs += report.jobs;
            total.other += report.other;
            total.more = report.more;
            if !report.more {
                break;
            }
        }
        ::metrics::counter!(metrics::PRUNED, "what" => "jobs").increment(u64::from(total.jobs));
        ::metrics::counter!(metrics::PRUNED, "what" => "other").increment(u64::from(total.other));
        self.lock().pruned = total;
        Ok(total)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what went wrong and goes on, unless nothing can.
fn heed<T>(step: &'static str, done: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match done {
        Ok(report) => Ok(Some(report)),
        Err(e @ StoreError::Fatal { .. }) => Err(e),
        Err(error) => {
            tracing::warn!(step, %error, "upkeep failed; it is tried again");
            Ok(None)
        }
    }
}
