//! The cap on connections, and who makes room when it is reached.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::line::{Line, Phase};
use crate::metrics::{CONNECTIONS, CONNECTIONS_CUT};

/// A connection is not given up for a newer one before this: its request may be on its way. It also bounds how fast a
/// flood of connections can turn the places over.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same for a body; most come with their head.
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// The open connections of one listener.
#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    zero: Instant,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Line>>>,
    freed: Notify,
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
        let (open, freed) = (Mutex::default(), Notify::new());
        Self { max: max.max(1), zero: Instant::now(), next: AtomicU64::new(0), open, freed }
    }

    /// A place for a new connection: a free one, or that of the connection that has waited longest, as soon as there is
    /// one. `None`: there was none until `give_up`.
    pub(super) async fn place(self: &Arc<Self>, listener: &'static str, give_up: Instant) -> Option<Slot> {
        loop {
            let now = Instant::now();
            match self.admit(listener, now) {
                Ok(slot) => return Some(slot),
                Err(_) if now >= give_up => return None,
                Err(next) => {
                    // Looks again when a place is free, when somebody's patience is over, and after a while in any case:
                    // a connection that begins to wait tells nobody.
                    let until = next.map_or(give_up, |next| next.min(give_up)).min(now + PATIENCE / 4);
                    tokio::time::timeout_at(until, self.freed.notified()).await.ok();
                }
            }
        }
    }

    /// `Err`: nobody can make room, and when that may change by waiting alone.
    fn admit(self: &Arc<Self>, listener: &'static str, now: Instant) -> Result<Slot, Option<Instant>> {
        let mut open = self.lock();
        if open.len() >= self.max {
            evict(&mut open, listener, now)?;
        }
        let (id, line) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(Line::new(self.zero)));
        open.insert(id, Arc::clone(&line));
        gauge!(CONNECTIONS, "listener" => listener).increment(1.0);
        Ok(Slot { line, id, slots: Arc::clone(self), listener })
    }

    /// Cuts the connection that has waited longest. False: there is none.
    pub(super) fn evict_one(&self, listener: &'static str) -> bool {
        evict(&mut self.lock(), listener, Instant::now()).is_ok()
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
        self.slots.freed.notify_one();
        gauge!(CONNECTIONS, "listener" => self.listener).decrement(1.0);
    }
}

/// First those with no complete request, the longest waiting first; then bodies that dribble. Looks at no more than the
/// cap. `Err`: none may be given up yet, and when the first may.
fn evict(open: &mut HashMap<u64, Arc<Line>>, listener: &'static str, now: Instant) -> Result<(), Option<Instant>> {
    let (mut victim, mut next) = (None, None);
    for (id, line) in open.iter() {
        let Some((rank, from)) = standing(line) else { continue };
        if from <= now {
            let candidate = (rank, from, *id);
            victim = Some(victim.map_or(candidate, |best: (u8, Instant, u64)| best.min(candidate)));
        } else {
            next = Some(next.map_or(from, |earliest: Instant| earliest.min(from)));
        }
    }
    let line = victim.and_then(|(_, _, id)| open.remove(&id)).ok_or(next)?;
    line.cut.cancel();
    counter!(CONNECTIONS_CUT, "listener" => listener, "reason" => "evicted").increment(1);
    Ok(())
}

/// Lower goes first, and from when on. Fresh ones and begun heads are one class: whoever waits longest without a whole
/// head. A request that is being answered is never given up.
fn standing(line: &Line) -> Option<(u8, Instant)> {
    let since = line.since();
    match line.phase() {
        Phase::Closing => Some((0, since)),
        Phase::Fresh | Phase::Head => Some((1, since + PATIENCE)),
        Phase::Idle => Some((2, since + PATIENCE)),
        Phase::Serving if line.is_receiving() => Some((3, since + BODY_PATIENCE)),
        // What its task has not looked at yet may be a whole request.
        Phase::New | Phase::Serving => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(10);

    fn taken(slots: &Arc<Slots>, phase: Phase, receiving: bool, at: Instant) -> Slot {
        let slot = slots.admit("test", at).unwrap();
        slot.line.set_receiving(receiving);
        slot.line.enter_at(phase, at);
        slot
    }

    #[test]
    fn room_is_made_by_the_longest_waiting_head_then_idle_then_slow_body_and_never_by_one_being_answered() {
        let slots = Arc::new(Slots::new(5));
        let at = |second| slots.zero + Duration::from_secs(second);
        let answered = taken(&slots, Phase::Serving, false, at(0));
        let slow = taken(&slots, Phase::Serving, true, at(1));
        let idle = taken(&slots, Phase::Idle, false, at(2));
        let newer = taken(&slots, Phase::Head, false, at(4));
        let older = taken(&slots, Phase::Fresh, false, at(3));
        let now = slots.zero + LATER;
        for next in [&older, &newer, &idle, &slow] {
            assert!(!next.line.cut.is_cancelled());
            assert_eq!(evict(&mut slots.lock(), "test", now), Ok(()));
            assert!(next.line.cut.is_cancelled());
        }
        assert_eq!(evict(&mut slots.lock(), "test", now), Err(None));
        assert!(!answered.line.cut.is_cancelled());
    }

    #[test]
    fn nobody_is_given_up_before_its_request_can_have_come() {
        let slots = Arc::new(Slots::new(2));
        let now = slots.zero + LATER;
        let (fresh, body) = (taken(&slots, Phase::Fresh, false, now), taken(&slots, Phase::Serving, true, now));
        assert_eq!(evict(&mut slots.lock(), "test", now), Err(Some(now + PATIENCE)));
        assert_eq!(evict(&mut slots.lock(), "test", now + PATIENCE), Ok(()));
        assert!(fresh.line.cut.is_cancelled() && !body.line.cut.is_cancelled());
        assert_eq!(evict(&mut slots.lock(), "test", now + PATIENCE), Err(Some(now + BODY_PATIENCE)));
    }

    #[tokio::test]
    async fn with_all_busy_a_new_one_waits_for_one_to_end_and_is_refused_in_the_end() {
        let slots = Arc::new(Slots::new(1));
        let busy = slots.place("test", Instant::now()).await.unwrap();
        busy.line.enter(Phase::Serving);
        assert!(slots.place("test", Instant::now() + Duration::from_millis(10)).await.is_none());
        let (waiting, ()) = tokio::join!(slots.place("test", Instant::now() + LATER), async { drop(busy) });
        assert!(waiting.is_some());
    }
}
