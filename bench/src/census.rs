//! The outside count: which jobs the handler has seen, kept apart from everything the engine counts.
//!
//! One bit a job. A job that was seen twice, never, or that nobody enqueued shows here, whatever the store says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// A run in which nothing moves for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// So often in that time it is looked at.
const LOOKS: u32 = 60;

/// Counts jobs `0..jobs`.
#[derive(Debug)]
pub struct Census {
    seen: Vec<AtomicU64>,
    jobs: u64,
    distinct: AtomicU64,
    repeated: AtomicU64,
    strangers: AtomicU64,
    moved: Notify,
    wake_at: AtomicU64,
}

/// Why a run does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the run does not count: of {jobs} jobs {lost} never reached the handler, {repeated} runs were repeats and {strangers} \
     were of jobs that nobody enqueued"
)]
pub struct Miscount {
    /// How many there were.
    pub jobs: u64,
    /// How many the handler never saw.
    pub lost: u64,
    /// How often it saw one again.
    pub repeated: u64,
    /// How often it saw one that was never enqueued.
    pub strangers: u64,
}

impl Census {
    /// Nobody has been seen yet.
    pub fn of(jobs: u64) -> Self {
        let words = usize::try_from(jobs.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            seen: (0..words).map(|_| AtomicU64::new(0)).collect(),
            jobs,
            distinct: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
            moved: Notify::new(),
            wake_at: AtomicU64::new(jobs),
        }
    }

    /// The handler has job `i`. True: for the first time.
    pub fn see(&self, i: u64) -> bool {
        let word = usize::try_from(i / 64).ok().and_then(|at| self.seen.get(at));
        let (Some(word), true) = (word, i < self.jobs) else {
            self.strangers.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let bit = 1 << (i % 64);
        if word.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            self.repeated.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let distinct = self.distinct.fetch_add(1, Ordering::SeqCst) + 1;
        if distinct == self.wake_at.load(Ordering::SeqCst) || distinct == self.jobs {
            self.moved.notify_one();
        }
        true
    }

    /// How many different jobs were seen.
    pub fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::SeqCst)
    }

    /// Waits until `n` different jobs were seen.
    ///
    /// # Errors
    /// When none came for a minute.
    pub async fn reaches(&self, n: u64) -> anyhow::Result<()> {
        self.within(n, PATIENCE).await
    }

    async fn within(&self, n: u64, patience: Duration) -> anyhow::Result<()> {
        self.wake_at.store(n, Ordering::SeqCst);
        let (mut before, mut since) = (self.distinct(), Instant::now());
        while self.distinct() < n {
            if timeout(patience / LOOKS, self.moved.notified()).await.is_ok() {
                continue;
            }
            let now = self.distinct();
            if now > before {
                (before, since) = (now, Instant::now());
            }
            ensure!(since.elapsed() < patience, "the handler has seen {now} of {n} jobs, and none for {patience:?}");
        }
        Ok(())
    }

    /// Each job exactly once, or why not.
    ///
    /// # Errors
    /// Says what was lost, repeated or made up.
    pub fn verdict(&self) -> Result<(), Miscount> {
        // Counted over the bits, not from the counter beside them.
        let seen: u64 = self.seen.iter().map(|word| u64::from(word.load(Ordering::SeqCst).count_ones())).sum();
        let repeated = self.repeated.load(Ordering::SeqCst);
        let strangers = self.strangers.load(Ordering::SeqCst);
        let miscount = Miscount { jobs: self.jobs, lost: self.jobs - seen, repeated, strangers };
        if seen == self.jobs && repeated == 0 && strangers == 0 { Ok(()) } else { Err(miscount) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_run_counts() {
        let census = Census::of(130);
        assert!((0..130).all(|i| census.see(i)));
        assert_eq!(census.verdict(), Ok(()));
    }

    #[test]
    fn lost_repeated_and_made_up_jobs_are_told_apart() {
        let census = Census::of(130);
        for i in (0..130).filter(|i| *i != 64 && *i != 129) {
            census.see(i);
        }
        assert!(!census.see(3));
        assert!(!census.see(130));
        assert!(!census.see(u64::MAX));
        assert_eq!(census.verdict(), Err(Miscount { jobs: 130, lost: 2, repeated: 1, strangers: 2 }));
    }

    #[tokio::test]
    async fn a_run_that_stands_still_is_given_up() {
        let census = Census::of(10);
        census.see(1);
        let error = census.within(3, Duration::from_millis(60)).await.unwrap_err().to_string();
        assert_eq!(error, "the handler has seen 1 of 3 jobs, and none for 60ms");
    }

    #[tokio::test]
    async fn who_waits_for_a_number_is_woken_at_it() {
        let census = std::sync::Arc::new(Census::of(10));
        let waiting = {
            let census = std::sync::Arc::clone(&census);
            async move { census.reaches(3).await }
        };
        let seeing = async {
            for i in 0..3 {
                tokio::task::yield_now().await;
                census.see(i);
            }
        };
        let (reached, ()) = tokio::join!(waiting, seeing);
        reached.unwrap();
        assert_eq!(census.distinct(), 3);
    }
}
