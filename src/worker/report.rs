//! What is said of an attempt once the store has decided: numbers for everything, one line for what went wrong.
//!
//! The numbers' handles are kept by queue and kind, so that a job costs no look-up by label.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::metrics::{Counter, Histogram};

use super::context::AttemptInfo;
use crate::job::QueueName;
use crate::metrics;
use crate::store::{Settled, Settlement, Verdict};

/// Kinds are few; what is beyond this is looked up again.
const METERS_MAX: usize = 1_000;

/// An attempt as it went, apart from how it was decided.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) info: Arc<AttemptInfo>,
    /// In the handler.
    pub(super) ran: Duration,
    /// From due to claimed.
    pub(super) waited: Duration,
}

/// Reports attempts.
#[derive(Debug, Default)]
pub(super) struct Reporter(Mutex<HashMap<(QueueName, Arc<str>), Meters>>);

/// The handles of one queue and kind.
struct Meters {
    run: Histogram,
    wait: Histogram,
    outcomes: HashMap<&'static str, Counter>,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Reporter {
    /// Reports a batch, whose three parts run side by side; `settled` is none where the store has not answered.
    pub(super) fn report(&self, batch: &[Settlement], settled: Option<&[Settled]>, runs: &[Run]) {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if meters.len() > METERS_MAX {
            meters.clear();
        }
        let mut nth = 0;
        // Neighbours are of one kind, mostly: they are looked up and counted together.
        for alike in runs.chunk_by(|one, next| one.info.kind == next.info.kind && one.info.queue == next.info.queue) {
            let key = (alike[0].info.queue.clone(), Arc::clone(&alike[0].info.kind));
            let meters = meters.entry(key).or_insert_with_key(Meters::new);
            let mut outcomes: Vec<(&'static str, u64)> = Vec::new();
            for (run, settlement) in alike.iter().zip(&batch[nth..]) {
                let outcome = outcome(settled.and_then(|settled| settled.get(nth)), &settlement.verdict);
                nth += 1;
                meters.time(run);
                match outcomes.iter_mut().find(|(counted, _)| *counted == outcome) {
                    Some((_, n)) => *n += 1,
                    None => outcomes.push((outcome, 1)),
                }
                say(run, &settlement.verdict, outcome);
            }
            for (outcome, n) in outcomes {
                meters.count(outcome, n, &alike[0]);
            }
        }
    }
}

impl Meters {
    fn new((queue, kind): &(QueueName, Arc<str>)) -> Self {
        let (queue, kind) = (queue.to_string(), kind.to_string());
        Self {
            run: ::metrics::histogram!(metrics::RUN_SECONDS, "queue" => queue.clone(), "kind" => kind),
            wait: ::metrics::histogram!(metrics::WAIT_SECONDS, "queue" => queue),
            outcomes: HashMap::new(),
        }
    }

    fn time(&self, run: &Run) {
        self.run.record(run.ran.as_secs_f64());
        self.wait.record(run.waited.as_secs_f64());
    }

    /// `like` is one of those that ended so.
    fn count(&mut self, outcome: &'static str, n: u64, like: &Run) {
        let counter = self.outcomes.entry(outcome).or_insert_with(|| {
            let (queue, kind) = (like.info.queue.to_string(), like.info.kind.to_string());
            ::metrics::counter!(metrics::OUTCOMES, "queue" => queue, "kind" => kind, "outcome" => outcome)
        });
        counter.increment(n);
    }
}

fn outcome(settled: Option<&Settled>, verdict: &Verdict) -> &'static str {
    match (settled, verdict) {
        (Some(Settled::LeaseLost), _) => "lease_lost",
        (None, _) => "unsettled",
        (Some(Settled::Accepted(_)), Verdict::Complete { .. }) => "completed",
        (Some(Settled::Accepted(_)), Verdict::Retry { .. }) => "retry",
        (Some(Settled::Accepted(_)), Verdict::Snooze { .. }) => "snooze",
        (Some(Settled::Accepted(_)), Verdict::Dead { .. }) => "dead",
        (Some(Settled::Accepted(_)), Verdict::Cancel { .. }) => "cancelled",
        (Some(Settled::Accepted(_)), Verdict::Release) => "released",
    }
}

fn say(run: &Run, verdict: &Verdict, outcome: &'static str) {
    let info = &*run.info;
    let (id, duration_ms) = (info.lease.job, u64::try_from(run.ran.as_millis()).unwrap_or(u64::MAX));
    let (kind, queue, attempt) = (&*info.kind, &info.queue, info.number);
    match verdict {
        Verdict::Retry { error, delay } => {
            let retry_ms = delay.as_millis();
            tracing::warn!(job.id = %id, job.kind = kind, %queue, attempt, duration_ms, retry_ms, error, outcome, "attempt failed");
        }
        Verdict::Dead { reason, error } => {
            tracing::error!(job.id = %id, job.kind = kind, %queue, attempt, duration_ms, %reason, error, outcome, "job is dead");
        }
        Verdict::Complete { .. } | Verdict::Snooze { .. } | Verdict::Cancel { .. } | Verdict::Release => {
            tracing::debug!(job.id = %id, job.kind = kind, %queue, attempt, duration_ms, outcome, "attempt ended");
        }
    }
}
