//! A store that writes down what it is asked and what it answers, and may take its process down at a named step.
//!
//! It stands where the engine meets the contract: the worker and the producer of the harness are given this instead of the
//! store itself. It changes no call and no answer.

mod forward;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidemill::job::{Incarnation, JobState};
use tidemill::store::{Claimed, LeaseToken, Settled, Settlement, Store, StoreError, Verdict};

use crate::event::{Claim, End, Log, VerdictKind, What};
use crate::steps::Doom;

/// See the [module](self).
#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn Store>,
    log: Arc<Log>,
    doom: Doom,
    calls: AtomicU64,
}

impl Watched {
    /// Watches `inner`.
    pub fn new(inner: Arc<dyn Store>, log: Arc<Log>, doom: Doom) -> Self {
        Self { inner, log, doom, calls: AtomicU64::new(0) }
    }

    fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    fn claimed(&self, holder: Incarnation, jobs: &[Claimed]) {
        if jobs.is_empty() {
            return;
        }
        let claim = |job: &Claimed| {
            let lease = job.lease.token();
            Claim {
                job: lease.job,
                epoch: lease.epoch,
                attempt: job.attempt,
                at_ms: job.claimed_at.as_ms(),
                run_at_ms: job.run_at.as_ms(),
                timeout_ms: u64::try_from(job.timeout.as_millis()).unwrap_or(u64::MAX),
            }
        };
        self.log.write(What::Claimed { holder, jobs: jobs.iter().map(claim).collect() });
    }

    fn settling(&self, batch: &[Settlement]) -> u64 {
        let call = self.next_call();
        self.log.write(What::Settling { call, jobs: batch.iter().map(end).collect() });
        call
    }

    fn settled(&self, call: u64, answer: &Result<Vec<Settled>, StoreError>) {
        self.log.write(match answer {
            Ok(settled) => What::Settled { call, answers: settled.iter().map(accepted).collect() },
            Err(error) => What::Unsettled { call, error: error.to_string() },
        });
    }

    fn noted(&self, lease: LeaseToken, answer: &Result<bool, StoreError>) {
        if let Ok(accepted) = answer {
            self.log.write(What::Noted { job: lease.job, epoch: lease.epoch, accepted: *accepted });
        }
    }
}

fn end(settlement: &Settlement) -> End {
    let lease = settlement.lease.token();
    let (verdict, delay) = match &settlement.verdict {
        Verdict::Complete { .. } => (VerdictKind::Complete, None),
        Verdict::Retry { delay, .. } => (VerdictKind::Retry, Some(*delay)),
        Verdict::Snooze { delay, .. } => (VerdictKind::Snooze, Some(*delay)),
        Verdict::Dead { .. } => (VerdictKind::Dead, None),
        Verdict::Cancel { .. } => (VerdictKind::Cancel, None),
        Verdict::Release => (VerdictKind::Release, None),
    };
    let delay_ms = delay.map_or(0, |delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    End { job: lease.job, epoch: lease.epoch, verdict, delay_ms }
}

fn accepted(settled: &Settled) -> Option<JobState> {
    match settled {
        Settled::Accepted(state) => Some(*state),
        Settled::LeaseLost => None,
    }
}
