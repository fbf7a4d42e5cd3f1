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
/// After the start.
const PRUNE_FIRST: Duration = Duration::from_secs(1);
/// Rows in one round.
const BATCH: u32 = 1_000;
/// A round of pruning that was full is followed by the next after so many times as long as it took, so that catching up
/// takes a tenth of the store's time at most, whatever a round costs there.
const PRUNE_PAUSE: u32 = 9;
/// That pause is at least and at most so long.
const PRUNE_PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

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
        let (mut rescue_at, mut promote_at, mut prune_at) = (start, start, start + PRUNE_FIRST);
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
                let begun = Instant::now();
                let more = heed("prune", self.prune().await)?.is_some_and(|report| report.more);
                prune_at = Instant::now() + next_prune(more, begun.elapsed());
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

    /// Takes away what retention no longer keeps, one round of it.
    ///
    /// # Errors
    /// When the store did not do it.
    pub async fn prune(&self) -> Result<Pruned, StoreError> {
        let report = self.store.prune(BATCH).await?;
        ::metrics::counter!(metrics::PRUNED, "what" => "jobs").increment(u64::from(report.jobs));
        ::metrics::counter!(metrics::PRUNED, "what" => "other").increment(u64::from(report.other));
        self.lock().pruned = report;
        Ok(report)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait for the next round of pruning after one that took so long.
fn next_prune(more: bool, took: Duration) -> Duration {
    let [least, most] = PRUNE_PAUSES;
    if more { (took * PRUNE_PAUSE).clamp(least, most) } else { PRUNE_EVERY }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_that_is_behind_comes_back_soon_and_leaves_the_store_to_others_for_most_of_the_time() {
        let ms = Duration::from_millis;
        assert_eq!(next_prune(true, ms(5)), ms(45));
        assert_eq!(next_prune(true, Duration::ZERO), ms(10), "a quick store is not asked without a pause");
        assert_eq!(next_prune(true, Duration::from_secs(60)), Duration::from_secs(1), "a slow one not forgotten");
        assert_eq!(next_prune(false, ms(5)), PRUNE_EVERY);
    }
}
