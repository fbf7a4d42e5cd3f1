//! The loop that runs rounds: apalis-cron says when, [`Scheduler::run_once`] decides what.
//!
//! A wake is only a nudge: it falls on the whole second at or after the next due time, and at the latest after
//! [`WAKE_MAX`], so that operators' changes are seen. Whatever goes wrong with the tick source (it ends with an error for
//! good once a tick lies in the past, and a clock set back makes it wait as long) costs a late round and never a due time.

use std::pin::pin;
use std::time::Duration;

use apalis_cron::{CronScheduler, Tick};
use chrono::Utc;
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Report, Scheduler};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// An operator's change is seen within this.
const WAKE_MAX: Duration = Duration::from_secs(2);
/// A tick source that is silent for longer is made anew.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Between a failed tick source and the next one, so that a wrong clock can't make this loop hot.
const AFTER_ERROR: Duration = Duration::from_millis(200);
/// A store whose clock is behind ours by up to this is asked again when it is there.
const SKEW: Duration = Duration::from_millis(100);

/// Yields the next second at which a round is worth its while.
#[derive(Clone, Debug)]
struct NextDue(Scheduler);

impl apalis_cron::Schedule<Utc> for NextDue {
    fn next_tick(&mut self, _zone: &Utc) -> Option<Tick<Utc>> {
        let now = self.0.inner.clock.now();
        let due = self.0.inner.seen().active.iter().filter_map(|plan| plan.cadence().next_after(now)).min();
        Some(Tick::new(wake_second(now, due)))
    }
}

impl Scheduler {
    /// Declares the schedules, then runs rounds until `stop`. A store that is away is waited for.
    ///
    /// # Errors
    /// When the store failed for good ([`StoreError::Fatal`]).
    pub async fn run(&self, stop: CancellationToken) -> Result<(), StoreError> {
        let rounds = async {
            while survived("declare schedules", self.declare().await)?.is_none() {
                sleep(WAKE_MAX).await;
            }
            loop {
                self.follow_ticks().await?;
                sleep(AFTER_ERROR).await;
            }
        };
        // A round that is cut off leaves no half-decided due time: each is decided inside the store.
        stop.run_until_cancelled(rounds).await.unwrap_or(Ok(()))
    }

    /// Runs a round now and at each tick, until the tick source has failed.
    async fn follow_ticks(&self) -> Result<(), StoreError> {
        self.round().await?;
        let mut ticks = pin!(CronScheduler::new(NextDue(self.clone())).into_stream());
        loop {
            match timeout(SILENCE_MAX, ticks.next()).await {
                Ok(Some(Ok(_))) => self.round().await?,
                Ok(Some(Err(error))) => {
                    debug!(%error, "the tick source is behind and starts anew");
                    return Ok(());
                }
                Ok(None) | Err(_) => {
                    warn!("the tick source is silent and starts anew");
                    return Ok(());
                }
            }
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        loop {
            let Some(report) = survived("decide due times", self.run_once().await)? else { return Ok(()) };
            if report.more {
                continue;
            }
            match soon(&report) {
                None => return Ok(()),
                Some(wait) => sleep(wait).await,
            }
            return survived("decide due times", self.run_once().await).map(drop);
        }
    }
}

fn soon(report: &Report) -> Option<Duration> {
    report.next_due.map(|due| due.since(report.now)).filter(|wait| *wait <= SKEW)
}

/// The first whole second after `now` that is not before `due`, but no more than [`WAKE_MAX`] away.
fn wake_second(now: Timestamp, due: Option<Timestamp>) -> u64 {
    let latest = now.after(WAKE_MAX).as_ms().div_euclid(1000);
    let first = now.as_ms().div_euclid(1000) + 1;
    let due = due.map_or(latest, |due| due.as_ms().div_euclid(1000) + i64::from(due.as_ms().rem_euclid(1000) > 0));
    u64::try_from(due.clamp(first, latest)).unwrap_or(0)
}

/// `None`: a hiccup of the store, logged; the next round does what this one could not.
fn survived<T>(step: &'static str, result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(fatal @ StoreError::Fatal { .. }) => Err(fatal),
        Err(error) => {
            warn!(step, %error, "the scheduler waits for the store");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_falls_on_the_second_of_the_due_time_and_never_in_the_past() {
        let at = Timestamp::from_ms;
        assert_eq!(wake_second(at(10_000), None), 12);
        assert_eq!(wake_second(at(10_999), None), 12);
        assert_eq!(wake_second(at(10_100), Some(at(11_000))), 11);
        assert_eq!(wake_second(at(10_100), Some(at(11_001))), 12);
        assert_eq!(wake_second(at(10_100), Some(at(10_200))), 11);
        assert_eq!(wake_second(at(10_000), Some(at(10_000))), 11);
        assert_eq!(wake_second(at(10_000), Some(at(99_000))), 12);
        assert_eq!(wake_second(at(10_000), Some(at(3_000))), 11);
    }
}
