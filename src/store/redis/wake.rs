//! Who waits for what in this process: claims by queue, upkeep for due times. Rung by this process' own calls and by messages
//! from others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Bells by queue.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    queues: Mutex<HashMap<String, Arc<Notify>>>,
    due: Arc<Notify>,
}

impl Wakes {
    /// The bell of a queue. Only queues that this process claims from have one.
    pub(super) fn of(&self, queue: &str) -> Arc<Notify> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        match queues.get(queue) {
            Some(bell) => Arc::clone(bell),
            None => Arc::clone(queues.entry(queue.to_owned()).or_default()),
        }
    }

    /// The bell for due times.
    pub(super) fn due(&self) -> Arc<Notify> {
        Arc::clone(&self.due)
    }

    /// Passes a message on: a queue's name, `*` for all queues, nothing for a due time.
    pub(super) fn ring(&self, message: &[u8]) {
        match message {
            b"" => {
                self.due.notify_waiters();
                // Kept for one who is about to wait.
                self.due.notify_one();
            }
            b"*" => {
                self.queues.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|b| b.notify_waiters())
            }
            queue => {
                let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bell) = std::str::from_utf8(queue).ok().and_then(|queue| queues.get(queue)) {
                    bell.notify_waiters();
                }
            }
        }
    }

    /// After a gap in hearing: everybody looks for himself.
    pub(super) fn ring_all(&self) {
        self.ring(b"*");
        self.ring(b"");
    }
}
