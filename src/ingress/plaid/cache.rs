//! What is known about Plaid's keys, and when Plaid may be asked again. Bounded; time comes in as a parameter.

use std::collections::BTreeMap;
use std::time::Duration;

use p256::ecdsa::VerifyingKey;

use crate::clock::Timestamp;
use crate::ingress::verify::VerifyError;

/// A key is asked for again after so long, when it is used.
const FRESH: Duration = Duration::from_secs(3600);
/// And after so long while Plaid can't be asked.
const AGAIN: Duration = Duration::from_secs(30);
/// Without an answer from Plaid a key is used no longer than that.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// What Plaid doesn't know is not asked for again before this.
const FORGET: Duration = Duration::from_secs(60);
const MAX_KNOWN: usize = 32;
const MAX_UNKNOWN: usize = 256;
/// Calls for keys never seen: so many at once, then one each [`REFILL`].
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(6);

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) key: VerifyingKey,
    pub(super) expired: bool,
}

/// What can be said about a key.
pub(super) enum Look {
    /// All there is to say.
    Found(Result<VerifyingKey, VerifyError>),
    /// Plaid should be asked; the answer of last time serves where that fails.
    Ask { last: Option<Known> },
}

#[derive(Debug)]
struct Entry {
    known: Known,
    answered: Timestamp,
    ask_at: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    known: BTreeMap<String, Entry>,
    unknown: BTreeMap<String, Timestamp>,
    /// Calls spent of the burst, and when the oldest of them is given back.
    spent: u32,
    refill_at: Timestamp,
}

impl Cache {
    pub(super) fn look(&self, kid: &str, now: Timestamp) -> Look {
        match self.known.get(kid) {
            // A withdrawn key never comes back.
            Some(entry) if entry.known.expired => Look::Found(Err(VerifyError::ExpiredKey)),
            Some(entry) if now < entry.ask_at => Look::Found(Ok(entry.known.key)),
            Some(entry) if now.since(entry.answered) < KEEP => Look::Ask { last: Some(entry.known.clone()) },
            Some(_) => Look::Ask { last: None },
            None if self.unknown.get(kid).is_some_and(|since| now.since(*since) < FORGET) => {
                Look::Found(Err(VerifyError::UnknownKey))
            }
            None => Look::Ask { last: None },
        }
    }

    /// Spends one call, if there is one left.
    pub(super) fn may_ask_for_a_stranger(&mut self, now: Timestamp) -> bool {
        while self.spent > 0 && now >= self.refill_at {
            self.spent -= 1;
            self.refill_at = self.refill_at.after(REFILL);
        }
        if self.spent == 0 {
            self.refill_at = now.after(REFILL);
        }
        let may = self.spent < BURST;
        self.spent += u32::from(may);
        may
    }

    /// Plaid gave this key.
    pub(super) fn keep(&mut self, kid: &str, known: Known, now: Timestamp) -> Result<VerifyingKey, VerifyError> {
        self.unknown.remove(kid);
        let answer = if known.expired { Err(VerifyError::ExpiredKey) } else { Ok(known.key) };
        if !self.known.contains_key(kid) {
            // A new key may be the end of an old one.
            self.known.values_mut().for_each(|entry| entry.ask_at = now);
            drop_oldest(&mut self.known, MAX_KNOWN, |entry| entry.answered);
        }
        self.known.insert(kid.to_owned(), Entry { known, answered: now, ask_at: now.after(FRESH) });
        answer
    }

    /// Plaid has no such key.
    pub(super) fn keep_unknown(&mut self, kid: &str, now: Timestamp) -> Result<VerifyingKey, VerifyError> {
        self.known.remove(kid);
        drop_oldest(&mut self.unknown, MAX_UNKNOWN, |since| *since);
        self.unknown.insert(kid.to_owned(), now);
        Err(VerifyError::UnknownKey)
    }

    /// Plaid could not be asked.
    pub(super) fn ask_later(&mut self, kid: &str, now: Timestamp) {
        if let Some(entry) = self.known.get_mut(kid) {
            entry.ask_at = now.after(AGAIN);
        }
    }
}

/// Makes room for one more below `max`.
fn drop_oldest<V>(map: &mut BTreeMap<String, V>, max: usize, age: impl Fn(&V) -> Timestamp) {
    while map.len() >= max {
        let Some(oldest) = map.iter().min_by_key(|(_, v)| age(v)).map(|(kid, _)| kid.clone()) else { return };
        map.remove(&oldest);
    }
}
