//! What a process keeps an eye on besides answering: are its claims answered, how far is its clock from the store's, how many
//! stale writes has the store refused. Shown as metrics and in `/ready` and `/health/detailed`.
//!
//! Looking is a loop of its own, so that a probe costs no round trip. A store that does not answer leaves the last finding
//! standing; that it does not answer is the store's own check.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use super::{Condition, Health};
use crate::clock::Clock;
use crate::job::QueueName;
use crate::metrics::{CLAIM_SILENCE_SECONDS, CLOCK_SKEW_SECONDS};
use crate::store::{Store, StoreError};
use crate::worker::Pulse;

/// A claim loop that has had no answer for so long makes the process unready.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Signatures carry this clock's time, both ways, and are refused when it is so far off.
const SKEW_MAX_MS: u64 = 300_000;
const SHOW_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The eye.
pub struct Vitals {
    store: Arc<dyn Store>,
    clock: Clock,
    pulses: BTreeMap<QueueName, Arc<Pulse>>,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    skew_ms: Option<i64>,
    refusals: Option<u64>,
}

impl Vitals {
    /// Of a process with these claim loops (none where it runs no jobs).
    pub fn new(store: Arc<dyn Store>, clock: Clock, pulses: BTreeMap<QueueName, Arc<Pulse>>) -> Self {
        Self { store, clock, pulses, seen: Mutex::default() }
    }

    /// Adds its checks to a process's health.
    #[must_use]
    pub fn checked(self: &Arc<Self>, mut health: Health) -> Health {
        let (clock, leases) = (Arc::clone(self), Arc::clone(self));
        health = health.with("clock", move || clock.skew()).with("leases", move || leases.refusals());
        if self.pulses.is_empty() {
            return health;
        }
        let claims = Arc::clone(self);
        health.with("claims", move || claims.silence())
    }

    /// Looks and shows until `stop`.
    ///
    /// # Errors
    /// [`StoreError::Fatal`], which must end the process. What passes is readiness' business.
    pub async fn watch(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let looking = async {
            loop {
                if let Err(error @ StoreError::Fatal { .. }) = self.look().await {
                    return Err(error);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let showing = async {
            loop {
                self.show_silence();
                tokio::time::sleep(SHOW_EVERY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            failed = looking => failed,
            () = showing => Ok(()),
        }
    }

    /// Asks the store once.
    ///
    /// # Errors
    /// When it does not answer; what was seen before stays.
    #[expect(clippy::cast_precision_loss, reason = "a skew of 2^53 ms is no skew any more")]
    pub async fn look(&self) -> Result<(), StoreError> {
        self.store.health().await?;
        let asked = self.clock.now();
        let store_now = self.store.now().await?;
        // Its answer is from somewhere between question and answer.
        let halfway = asked.after(self.clock.now().since(asked) / 2);
        let skew_ms = halfway.as_ms().saturating_sub(store_now.as_ms());
        gauge!(CLOCK_SKEW_SECONDS).set(skew_ms as f64 / 1_000.0);
        self.lock().skew_ms = Some(skew_ms);
        let refusals = self.store.counts().await?.lease_refusals;
        self.lock().refusals = Some(refusals);
        Ok(())
    }

    fn show_silence(&self) {
        for (queue, pulse) in &self.pulses {
            gauge!(CLAIM_SILENCE_SECONDS, "queue" => queue.to_string()).set(pulse.silence().as_secs_f64());
        }
    }

    fn silence(&self) -> Condition {
        match self.pulses.iter().find(|(_, pulse)| pulse.silence() > SILENCE_MAX) {
            None => Condition::Good("every queue's claim loop hears from the store".into()),
            Some((queue, pulse)) => {
                let silence = pulse.silence().as_secs();
                Condition::Bad(format!("the claim loop of {queue} has had no answer for {silence} s"))
            }
        }
    }

    fn skew(&self) -> Condition {
        match self.lock().skew_ms {
            None => Condition::Good("the store's clock was not read yet".into()),
            Some(ms) if ms.unsigned_abs() > SKEW_MAX_MS => {
                let limit = SKEW_MAX_MS / 1_000;
                Condition::Bad(format!(
                    "this machine's clock is {} s off the store's; from {limit} s on signatures are refused. Set it right",
                    ms / 1_000
                ))
            }
            Some(ms) => Condition::Good(format!("{ms} ms off the store's clock, which decides")),
        }
    }

    fn refusals(&self) -> Condition {
        Condition::Good(match self.lock().refusals {
            None => "the store's counters were not read yet".into(),
            Some(n) => format!("the store has refused {n} stale writes since it was made"),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vitals").field("store", &self.store).field("seen", &*self.lock()).finish_non_exhaustive()
    }
}
