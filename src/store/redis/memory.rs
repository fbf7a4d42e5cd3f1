//! What this process has told the server before, so that it can tell a server that came back without it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::job::Incarnation;
use crate::store::QueueSettings;

/// Declared queues, and the lives that have beaten from here.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    queues: Vec<QueueSettings>,
    beaten: HashSet<Incarnation>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was declared; the newest settings of a queue count.
    pub(super) fn declared(&self, queues: &[QueueSettings]) {
        let mut kept = self.lock();
        kept.queues.retain(|known| queues.iter().all(|queue| queue.name != known.name));
        kept.queues.extend_from_slice(queues);
    }

    /// All that was declared.
    pub(super) fn queues(&self) -> Vec<QueueSettings> {
        self.lock().queues.clone()
    }

    /// True for a life whose first beat the server has taken.
    pub(super) fn has_beaten(&self, worker: Incarnation) -> bool {
        self.lock().beaten.contains(&worker)
    }

    /// The server took a beat.
    pub(super) fn beat(&self, worker: Incarnation) {
        self.lock().beaten.insert(worker);
    }

    /// A life is over.
    pub(super) fn ended(&self, worker: Incarnation) {
        self.lock().beaten.remove(&worker);
    }
}
