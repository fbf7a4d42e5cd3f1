//! How often events came again: counted in memory in the request, written down later by whoever takes the counts.
//!
//! At most [`EVENTS_MAX`] events are told apart between two takes; what comes beyond is counted in one number. A crash
//! loses the counts since the last take, and nothing else: the events themselves are durable before they are answered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

/// So many events are told apart between two takes.
pub const EVENTS_MAX: usize = 10_000;

/// The counts since the last take.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_event: HashMap<(String, String), (u64, u64, Timestamp)>,
    untold: u64,
}

/// How often one event came again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The source's name.
    pub source: String,
    /// The sender's id.
    pub event_id: String,
    /// With the same body.
    pub same: u64,
    /// With another body.
    pub differing: u64,
    /// When it last came.
    pub last_at: Timestamp,
}

impl Repeats {
    /// Counts one.
    pub(super) fn note(&self, source: &str, event_id: &str, differs: bool, at: Timestamp) {
        let (source, event_id) = (source.to_owned(), event_id.to_owned());
        self.add(Repeat { source, event_id, same: u64::from(!differs), differing: u64::from(differs), last_at: at });
    }

    /// Adds counts, for one who took them and could not write them down.
    pub fn add(&self, repeat: Repeat) {
        let Repeat { source, event_id, same, differing, last_at } = repeat;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.by_event.len() >= EVENTS_MAX;
        let key = (source, event_id);
        if full && !counts.by_event.contains_key(&key) {
            counts.untold = counts.untold.saturating_add(same.saturating_add(differing));
            return;
        }
        let entry = counts.by_event.entry(key).or_insert((0, 0, last_at));
        *entry = (entry.0.saturating_add(same), entry.1.saturating_add(differing), entry.2.max(last_at));
    }

    /// Takes all counts, and the number of those that were not told apart.
    pub fn take(&self) -> (Vec<Repeat>, u64) {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let repeat =
            |((source, event_id), (same, differing, last_at))| Repeat { source, event_id, same, differing, last_at };
        (counts.by_event.into_iter().map(repeat).collect(), counts.untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_ms(5);

    #[test]
    fn what_is_put_back_is_counted_once() {
        let repeats = Repeats::default();
        repeats.note("a", "1", false, AT);
        repeats.note("a", "1", true, Timestamp::from_ms(3));
        let (taken, _) = repeats.take();
        assert_eq!(taken, [Repeat { source: "a".into(), event_id: "1".into(), same: 1, differing: 1, last_at: AT }]);
        assert!(repeats.take().0.is_empty());
        repeats.note("a", "1", false, AT);
        taken.into_iter().for_each(|repeat| repeats.add(repeat));
        let (taken, untold) = repeats.take();
        assert_eq!((taken.len(), taken[0].same, taken[0].differing, untold), (1, 2, 1, 0));
    }

    #[test]
    fn a_flood_of_different_events_is_bounded_and_still_counted() {
        let repeats = Repeats::default();
        for n in 0..EVENTS_MAX + 7 {
            repeats.note("a", &n.to_string(), false, AT);
        }
        repeats.note("a", "0", false, AT);
        let (taken, untold) = repeats.take();
        assert_eq!((taken.len(), untold), (EVENTS_MAX, 7));
        assert_eq!(taken.iter().map(|r| r.same).sum::<u64>(), EVENTS_MAX as u64 + 1, "a known one is counted still");
    }
}
