//! One claimed job on its way, and the ways in which it can be stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::{DeadReason, JobId};
use crate::store::{Claimed, Lease, LeaseToken};

use super::context::AttemptInfo;
use super::place::Place;

/// What the backend hands out.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Taken out before the handler runs, which so can't settle.
    pub(super) lease: Option<Lease>,
    pub(super) info: Arc<AttemptInfo>,
    pub(super) payload: Arc<str>,
    pub(super) timeout: Duration,
    pub(super) run_at: Timestamp,
    pub(super) claimed_at: Timestamp,
    pub(super) stop: Stop,
    /// The pool's place; free again when the end of the attempt has been handed to the store.
    pub(super) place: Place,
}

impl Ticket {
    pub(super) fn new(claimed: Claimed, place: Place) -> Self {
        let info = AttemptInfo {
            lease: claimed.lease.token(),
            queue: claimed.queue,
            kind: claimed.kind,
            tenant: claimed.tenant,
            number: claimed.attempt,
            max_attempts: claimed.max_attempts,
            crashes: claimed.crashes,
            correlation_id: claimed.correlation_id,
            traceparent: claimed.traceparent,
            created_at: claimed.created_at,
        };
        Self {
            lease: Some(claimed.lease),
            info: Arc::new(info),
            payload: claimed.payload,
            timeout: claimed.timeout,
            run_at: claimed.run_at,
            claimed_at: claimed.claimed_at,
            stop: Stop::default(),
            place,
        }
    }
}

/// Why an attempt ended without the handler's word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Interruption {
    #[error("it took longer than its timeout of {0:?}")]
    TimedOut(Duration),
    #[error("it panicked: {0}")]
    Panicked(String),
    #[error("{1}")]
    Refused(DeadReason, String),
    #[error("it was stopped: {0:?}")]
    Stopped(StopReason),
}

/// Who wants an attempt to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// An operator cancelled the job.
    Cancelled,
    /// The store gave the job to somebody else, or declared this process dead.
    LeaseLost,
    /// The process is going down and the grace is over.
    Shutdown,
}

/// Rings in the handler's context; remembers the first reason.
///
/// One piece for all who have it: a token's own clones take its lock, and each attempt has five.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    /// Made when somebody listens: most attempts end before.
    token: OnceLock<CancellationToken>,
    reason: OnceLock<StopReason>,
}

impl Stop {
    pub(super) fn ring(&self, reason: StopReason) {
        // The first reason stays.
        let _ = self.0.reason.set(reason);
        self.token().cancel();
    }

    pub(super) fn reason(&self) -> Option<StopReason> {
        self.0.reason.get().copied()
    }

    pub(super) fn token(&self) -> &CancellationToken {
        self.0.token.get_or_init(CancellationToken::new)
    }
}

/// The attempts that run in this process.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<HashMap<JobId, (u64, Stop)>>);

impl Running {
    pub(super) fn begin(&self, tickets: &[Ticket]) {
        let mut map = self.map();
        for Ticket { info, stop, .. } in tickets {
            if let Some((_, older)) = map.insert(info.lease.job, (info.lease.epoch, stop.clone())) {
                // An attempt that was taken away for its deadline and has come back while its handler still runs.
                older.ring(StopReason::LeaseLost);
            }
        }
    }

    pub(super) fn end(&self, leases: impl Iterator<Item = LeaseToken>) {
        let mut map = self.map();
        for lease in leases {
            // A later attempt of the same job may be here already.
            if map.get(&lease.job).is_some_and(|(epoch, _)| *epoch == lease.epoch) {
                map.remove(&lease.job);
            }
        }
    }

    pub(super) fn ring(&self, lease: LeaseToken, reason: StopReason) {
        if let Some((epoch, stop)) = self.map().get(&lease.job)
            && *epoch == lease.epoch
        {
            stop.ring(reason);
        }
    }

    pub(super) fn ring_all(&self, reason: StopReason) {
        for (_, stop) in self.map().values() {
            stop.ring(reason);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map().len()
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, (u64, Stop)>> {
        // Every change is one insert or remove: a panic elsewhere can't leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
