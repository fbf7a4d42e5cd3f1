//! The job that is measured: `{"i":n,"tenant":"t1","note":64 x}`, and the handler that does nothing but be seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidemill::job::{Done, JobError, JobKind, JobSpec, PayloadError};
use tidemill::worker::{Context, Handler};

use crate::census::Census;

/// The queue of every scenario.
pub const QUEUE: &str = "bench";

/// The payload, the same for every system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Noop {
    /// Which job of the run.
    pub i: u64,
    /// Always `t1`.
    pub tenant: String,
    /// Always 64 x.
    pub note: String,
}

impl Noop {
    /// Job `i`.
    pub fn new(i: u64) -> Self {
        Self { i, tenant: "t1".to_owned(), note: "x".repeat(64) }
    }

    /// Job `i` as something to enqueue.
    ///
    /// # Errors
    /// Never for this payload; the engine's own check is passed on.
    pub fn spec(i: u64) -> Result<JobSpec, PayloadError> {
        JobSpec::of(&Self::new(i))
    }
}

impl JobKind for Noop {
    const KIND: &'static str = "bench.noop";
    const QUEUE: &'static str = QUEUE;
}

impl Handler for Noop {
    type State = Stage;

    async fn run(self, _ctx: Context, stage: &Stage) -> Result<Done, JobError> {
        stage.enter(self.i);
        Ok(Done::default())
    }
}

/// What the handler is seen by.
#[derive(Debug)]
pub struct Stage {
    /// Which jobs came.
    pub census: Census,
    /// When the clock of [`Stage::arrival`] began.
    pub begun: Instant,
    arrivals: Vec<AtomicU64>,
    first: AtomicU64,
}

impl Stage {
    /// Counts jobs, without remembering when each came.
    pub fn counting(jobs: u64) -> Arc<Self> {
        Arc::new(Self {
            census: Census::of(jobs),
            begun: Instant::now(),
            arrivals: Vec::new(),
            first: AtomicU64::new(u64::MAX),
        })
    }

    /// Counts jobs and remembers when each came first.
    pub fn timing(jobs: u64) -> Arc<Self> {
        let arrivals = (0..jobs).map(|_| AtomicU64::new(u64::MAX)).collect();
        Arc::new(Self { census: Census::of(jobs), begun: Instant::now(), arrivals, first: AtomicU64::new(u64::MAX) })
    }

    /// The handler's first line.
    pub fn enter(&self, i: u64) {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if self.census.see(i)
            && let Some(arrival) = usize::try_from(i).ok().and_then(|i| self.arrivals.get(i))
        {
            arrival.store(now, Ordering::Relaxed);
        }
        if now < self.first.load(Ordering::Relaxed) {
            self.first.fetch_min(now, Ordering::Relaxed);
        }
    }

    /// When job `i` came, from [`Stage::begun`].
    pub fn arrival(&self, i: u64) -> Option<Duration> {
        let at = self.arrivals.get(usize::try_from(i).ok()?)?.load(Ordering::Relaxed);
        (at != u64::MAX).then(|| Duration::from_nanos(at))
    }

    /// When the first job came, from [`Stage::begun`].
    pub fn first(&self) -> Option<Duration> {
        let at = self.first.load(Ordering::Relaxed);
        (at != u64::MAX).then(|| Duration::from_nanos(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_the_one_that_every_system_gets() {
        let json = serde_json::to_string(&Noop::new(7)).unwrap();
        assert_eq!(json, format!(r#"{{"i":7,"tenant":"t1","note":"{}"}}"#, "x".repeat(64)));
    }

    #[test]
    fn a_repeat_does_not_move_the_arrival() {
        let stage = Stage::timing(2);
        stage.enter(1);
        let first = stage.arrival(1).unwrap();
        stage.enter(1);
        assert_eq!((stage.arrival(1), stage.arrival(0), stage.first()), (Some(first), None, Some(first)));
    }
}
