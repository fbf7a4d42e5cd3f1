//! The cap on connections, and who makes room when it is reached.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::Instant;

use super::line::{Line, Phase};
use crate::metrics::{CONNECTIONS, CONNECTIONS_CUT};

/// A body that has been coming for longer than this may be given up for a new connection; most come with their head.
const SLOW_BODY: Duration = Duration::from_secs(1);

/// The open connections of one listener.
#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    zero: Instant,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Line>>>,
}

/// A place among them, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) line: Arc<Line>,
    id: u64,
    slots: Arc<Slots>,
    listener: &'static str,
}

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), zero: Instant::now(), next: AtomicU64::new(0), open: Mutex::default() }
    }

    /// A place for a new connection: a free one, or that of the connection that has waited longest. `None`: all are busy.
    pub(super) fn admit(self: &Arc<Self>, listener: &'static str) -> Option<Slot> {
        let mut open = self.lock();
        if open.len() >= self.max && !evict(&mut open, listener, Instant::now()) {
            return None;
        }
        let (id, line) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(Line::new(self.zero)));
        open.insert(id, Arc::clone(&line));
        gauge!(CONNECTIONS, "listener" => listener).increment(1.0);
        Some(Slot { line, id, slots: Arc::clone(self), listener })
    }

    /// Cuts the connection that has waited longest. False: there is none.
    pub(super) fn evict_one(&self, listener: &'static str) -> bool {
        evict(&mut self.lock(), listener, Instant::now())
    }

    /// Cuts them all.
    pub(super) fn cut_all(&self) {
        for line in self.lock().values() {
            line.cut.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Line>>> {
        // A map of handles is whole after every step, so a panic elsewhere can't have broken it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().remove(&self.id);
        gauge!(CONNECTIONS, "listener" => self.listener).decrement(1.0);
    }
}

/// First those with no complete request, the longest waiting first; then bodies that dribble. Looks at no more than the cap.
fn evict(open: &mut HashMap<u64, Arc<Line>>, listener: &'static str, now: Instant) -> bool {
    let victim = open
        .iter()
        .filter(|(_, line)| {
            line.phase() != Phase::Serving || (line.is_receiving() && now.duration_since(line.since()) > SLOW_BODY)
        })
        .max_by_key(|(id, line)| (Reverse(rank(line.phase())), Reverse(line.since()), Reverse(**id)))
        .map(|(id, _)| *id);
    let Some(line) = victim.and_then(|id| open.remove(&id)) else { return false };
    line.cut.cancel();
    counter!(CONNECTIONS_CUT, "listener" => listener, "reason" => "evicted").increment(1);
    true
}

/// Lower goes first. Fresh ones and begun heads are one class: whoever waits longest without a whole head.
fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Closing => 0,
        Phase::Fresh | Phase::Head => 1,
        Phase::Idle => 2,
        Phase::Serving => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_by_the_longest_waiting_head_then_idle_then_slow_body_and_never_by_one_being_answered() {
        let slots = Arc::new(Slots::new(4));
        let taken = |phase, receiving, second| {
            let slot = slots.admit("test").unwrap();
            slot.line.set_receiving(receiving);
            slot.line.enter_at(phase, slots.zero + Duration::from_secs(second));
            slot
        };
        let answered = taken(Phase::Serving, false, 0);
        let slow = taken(Phase::Serving, true, 1);
        let idle = taken(Phase::Idle, false, 2);
        let heads = [taken(Phase::Head, false, 3)];
        let now = slots.zero + Duration::from_secs(4);
        for next in [&heads[0], &idle, &slow] {
            assert!(!next.line.cut.is_cancelled());
            assert!(evict(&mut slots.lock(), "test", now));
            assert!(next.line.cut.is_cancelled());
        }
        assert!(!evict(&mut slots.lock(), "test", now), "a request being answered is never given up");
        assert!(!answered.line.cut.is_cancelled());
    }

    #[test]
    fn with_all_busy_a_new_one_is_refused_until_one_ends() {
        let slots = Arc::new(Slots::new(1));
        let busy = slots.admit("test").unwrap();
        busy.line.enter(Phase::Serving);
        assert!(slots.admit("test").is_none());
        drop(busy);
        assert!(slots.admit("test").is_some());
    }
}
