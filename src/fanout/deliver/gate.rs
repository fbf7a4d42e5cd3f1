//! May this endpoint be sent to now? Breaker, rate and concurrency, and when to come back if not.
//!
//! The store's breaker and token bucket decide for all processes. What they said last is remembered here, so that a
//! healthy endpoint costs one look a second and an open one none at all. A job that may not go on is put off without
//! holding its place; those of one endpoint come back one after the other, not all at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::settings::Rate;
use crate::clock::Timestamp;
use crate::store::{BreakerState, RateDecision, Store, StoreError};

/// What other processes have learnt of an endpoint is known here after this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Those that wait for a breaker come back one after the other, so far apart.
const AFTER_OPEN: Duration = Duration::from_millis(5);
/// Of an endpoint that has not answered yet nobody knows how long it takes.
const UNKNOWN_POST: Duration = Duration::from_millis(500);
/// However many wait, none is put off by more than this beyond what it waits for.
const SPREAD_MAX: Duration = Duration::from_secs(60);
/// Endpoints remembered; beyond, idle ones are forgotten.
const KEPT: usize = 10_000;

/// What this process knows of endpoints.
#[derive(Debug, Default)]
pub(in super::super) struct Gate(Mutex<HashMap<String, Seen>>);

#[derive(Debug, Default)]
struct Seen {
    running: u32,
    max: u32,
    open_until: Option<Timestamp>,
    failed: bool,
    looked_at: Option<Timestamp>,
    last_slot: Timestamp,
    /// A moving average.
    post: Option<Duration>,
}

/// A POST under way, as far as this process counts; ends when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    endpoint: String,
    probe: bool,
    /// It counts among those under way.
    counts: bool,
}

/// Not now: come back after this.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotNow {
    pub(super) wait: Duration,
    pub(super) why: &'static str,
}

/// How an endpoint's breaker is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerRule {
    pub(super) failures: u32,
    pub(super) cooldown: Duration,
}

/// What a POST has shown of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Works,
    Fails,
    /// It asks for a pause.
    Pause(Duration),
    /// Nothing: the POST was stopped from this side, or not let out.
    Nothing,
}

impl Gate {
    /// What is known without asking anybody.
    pub(super) fn look(&self, endpoint: &str, now: Timestamp) -> Result<(), NotNow> {
        let mut map = self.lock();
        let Some(seen) = map.get_mut(endpoint) else { return Ok(()) };
        if let Some(until) = seen.open_until.filter(|until| *until > now) {
            let wait = seen.slot(now, until.since(now), AFTER_OPEN);
            return Err(NotNow { wait, why: "the endpoint's breaker is open" });
        }
        if seen.max > 0 && seen.running >= seen.max { Err(seen.busy(now)) } else { Ok(()) }
    }

    /// Nothing that this process knows speaks against it: no failure since its last success.
    pub(super) fn is_calm(&self, endpoint: &str) -> bool {
        self.lock().get(endpoint).is_none_or(|seen| !seen.failed)
    }

    /// Counts a POST in, if fewer than `max` are under way here.
    pub(super) fn enter(self: &Arc<Self>, endpoint: &str, max: u32, now: Timestamp) -> Result<Pass, NotNow> {
        let mut map = self.lock();
        if map.len() >= KEPT && !map.contains_key(endpoint) {
            map.retain(|_, seen| seen.running > 0 || seen.open_until.is_some_and(|until| until > now));
        }
        let seen = map.entry(endpoint.to_owned()).or_default();
        seen.max = max;
        if seen.running >= max {
            return Err(seen.busy(now));
        }
        seen.running += 1;
        Ok(Pass { gate: Arc::clone(self), endpoint: endpoint.to_owned(), probe: false, counts: true })
    }

    /// When a job comes back that waits for something that ends after `base`.
    pub(super) fn later(&self, endpoint: &str, now: Timestamp, base: Duration, apart: Duration) -> Duration {
        self.lock().entry(endpoint.to_owned()).or_default().slot(now, base, apart)
    }

    /// As many as it may have are under way, here or elsewhere.
    pub(super) fn busy(&self, endpoint: &str, now: Timestamp) -> NotNow {
        self.lock().entry(endpoint.to_owned()).or_default().busy(now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        // Every change is a few assignments: a panic elsewhere can't leave one half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The next free slot: `base` from now, and `apart` from the one given out before.
    fn slot(&mut self, now: Timestamp, base: Duration, apart: Duration) -> Duration {
        let first = now.after(base);
        let slot = self.last_slot.after(apart).max(first).min(first.after(SPREAD_MAX));
        self.last_slot = slot;
        slot.since(now)
    }

    fn busy(&mut self, now: Timestamp) -> NotNow {
        let each = self.post.unwrap_or(UNKNOWN_POST) / self.max.max(1);
        let each = each.max(Duration::from_millis(1));
        NotNow { wait: self.slot(now, each, each), why: "as many POSTs to the endpoint as it may have are under way" }
    }
}

impl Pass {
    /// Takes a token of the endpoint's rate.
    pub(super) async fn take(
        &self,
        store: &dyn Store,
        rate: Rate,
        now: Timestamp,
    ) -> Result<Option<NotNow>, StoreError> {
        let decision = store.take(&format!("endpoint:{}", self.endpoint), rate.bucket(), 1).await?;
        let RateDecision::Limited { retry_after } = decision else { return Ok(None) };
        // A little closer together than tokens come, so that none is left unused.
        let apart = Duration::from_micros(rate.window_ms * 950 / u64::from(rate.limit.max(1)));
        let wait = self.gate.later(&self.endpoint, now, retry_after, apart);
        Ok(Some(NotNow { wait, why: "the endpoint's rate limit is reached" }))
    }

    /// Asks the breaker, if it was not asked a moment ago.
    pub(super) async fn breaker(&mut self, store: &dyn Store, now: Timestamp) -> Result<Option<NotNow>, StoreError> {
        {
            let mut map = self.gate.lock();
            let seen = map.entry(self.endpoint.clone()).or_default();
            if seen.open_until.is_none() && seen.looked_at.is_some_and(|at| now.since(at) < LOOK_EVERY && at <= now) {
                return Ok(None);
            }
            seen.looked_at = Some(now);
        }
        let state = store.breaker(&breaker(&self.endpoint)).await?;
        self.probe = state == BreakerState::HalfOpen;
        self.heed(state);
        match state {
            BreakerState::Open { until } => {
                let wait = self.gate.later(&self.endpoint, now, until.since(now), AFTER_OPEN);
                Ok(Some(NotNow { wait, why: "the endpoint's breaker is open" }))
            }
            BreakerState::Closed { .. } | BreakerState::HalfOpen => Ok(None),
        }
    }

    /// Tells the breaker how it went; a success only where it would change something.
    pub(super) async fn report(
        &self,
        store: &dyn Store,
        shown: Shown,
        took: Duration,
        rule: BreakerRule,
    ) -> Result<(), StoreError> {
        let failed = {
            let mut map = self.gate.lock();
            let seen = map.entry(self.endpoint.clone()).or_default();
            seen.post = Some(seen.post.map_or(took, |before| (before * 7 + took) / 8));
            seen.failed
        };
        let (ok, failures, cooldown) = match shown {
            Shown::Nothing => return Ok(()),
            Shown::Works if !failed && !self.probe => return Ok(()),
            Shown::Works => (true, rule.failures, rule.cooldown),
            Shown::Fails => (false, rule.failures, rule.cooldown),
            Shown::Pause(pause) => (false, 1, pause),
        };
        let state = store.breaker_report(&breaker(&self.endpoint), ok, failures, cooldown).await?;
        self.heed(state);
        Ok(())
    }

    /// Gives the probe back, if this was to be one, because no POST has come of it: the next one may be soon.
    pub(super) async fn give_back(&self, store: &dyn Store) {
        if self.probe {
            match store.breaker_report(&breaker(&self.endpoint), false, 1, LOOK_EVERY).await {
                Ok(state) => self.heed(state),
                // The store gives it up by itself after a minute.
                Err(error) => tracing::debug!(endpoint = self.endpoint, %error, "a probe was not given back"),
            }
        }
    }

    /// The POST has ended: its place is another one's, also while what came of it is still being written down.
    pub(super) fn leave(&mut self) {
        if std::mem::take(&mut self.counts)
            && let Some(seen) = self.gate.lock().get_mut(&self.endpoint)
        {
            seen.running = seen.running.saturating_sub(1);
        }
    }

    fn heed(&self, state: BreakerState) {
        let mut map = self.gate.lock();
        let seen = map.entry(self.endpoint.clone()).or_default();
        match state {
            BreakerState::Closed { failures } => (seen.open_until, seen.failed) = (None, failures > 0),
            BreakerState::Open { until } => (seen.open_until, seen.failed) = (Some(until), true),
            BreakerState::HalfOpen => seen.failed = true,
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The name of an endpoint's breaker in the store.
fn breaker(endpoint: &str) -> String {
    format!("endpoint:{endpoint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    #[test]
    fn no_more_posts_than_allowed_are_under_way_and_a_place_comes_back_when_one_ends() {
        let gate = Arc::new(Gate::default());
        let first = gate.enter("ep_1", 2, NOW).unwrap();
        let second = gate.enter("ep_1", 2, NOW).unwrap();
        assert!(gate.enter("ep_1", 2, NOW).is_err());
        assert!(gate.look("ep_1", NOW).is_err(), "known before anything is read");
        let other = gate.enter("ep_2", 2, NOW);
        assert!(other.is_ok(), "another endpoint has its own");
        drop(second);
        assert!(gate.look("ep_1", NOW).is_ok());
        let again = gate.enter("ep_1", 2, NOW);
        assert!(again.is_ok());
        drop(first);
    }

    #[test]
    fn a_place_that_is_left_early_is_freed_once() {
        let gate = Arc::new(Gate::default());
        let mut first = gate.enter("ep_1", 1, NOW).unwrap();
        first.leave();
        let second = gate.enter("ep_1", 1, NOW);
        assert!(second.is_ok(), "its POST has ended");
        drop(first);
        assert!(gate.enter("ep_1", 1, NOW).is_err(), "the second one is still under way");
    }

    #[test]
    fn those_that_wait_come_back_one_after_the_other_and_none_too_late() {
        let gate = Gate::default();
        let ms = Duration::from_millis;
        let waits: Vec<_> = (0..4).map(|_| gate.later("ep_1", NOW, ms(100), ms(10))).collect();
        assert_eq!(waits, [ms(100), ms(110), ms(120), ms(130)]);
        let last = (0..100_000).map(|_| gate.later("ep_1", NOW, ms(100), ms(10))).last().unwrap();
        assert_eq!(last, ms(100) + SPREAD_MAX);
    }
}
