//! The consumption watchdog: has the claim loop heard from the store lately?

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When a claim loop asked and was answered. A loop that waits for a free place has not asked and is well.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    pub(super) fn asked(&self) {
        let mut waiting = self.lock();
        // Kept over failed attempts: silence is counted from the first question without an answer.
        waiting.get_or_insert_with(Instant::now);
    }

    pub(super) fn answered(&self) {
        *self.lock() = None;
    }

    /// For how long the loop has waited for an answer; zero when none is due.
    pub fn silence(&self) -> Duration {
        self.lock().map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
