//! The named steps at which a process is killed, and the plan that a process was given for its own death.
//!
//! Nothing of this is in the engine: the store is wrapped ([`crate::watch`]) and the handlers are the harness' own. "During"
//! a call means that the call is under way: a thread beside it sleeps some microseconds and sends SIGKILL, so the
//! death falls before the write, between write and commit, or after the commit, as it comes.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::event::{Log, What};

/// All named steps.
pub const ALL: [&str; 17] = [
    OPEN,
    ENQUEUE_DURING,
    ENQUEUE_AFTER,
    CLAIM_DURING,
    CLAIM_AFTER,
    HANDLER_BEGIN,
    HANDLER_MID,
    SETTLE_BEFORE,
    SETTLE_DURING,
    SETTLE_AFTER,
    BEAT_DURING,
    RESCUE_DURING,
    RESCUE_AFTER,
    PROMOTE_DURING,
    PROMOTE_AFTER,
    TICK_DURING,
    TICK_AFTER,
];
/// While the store is opened and its tables are made.
pub const OPEN: &str = "open";
/// After the enqueue's write, before its commit (or shortly before or after).
pub const ENQUEUE_DURING: &str = "enqueue.during";
/// After the enqueue's commit, before the caller knows.
pub const ENQUEUE_AFTER: &str = "enqueue.after";
/// While a claim is under way.
pub const CLAIM_DURING: &str = "claim.during";
/// After a claim, before any handler.
pub const CLAIM_AFTER: &str = "claim.after";
/// In a handler's first line.
pub const HANDLER_BEGIN: &str = "handler.begin";
/// In the middle of a handler.
pub const HANDLER_MID: &str = "handler.mid";
/// After the handler, before the settle.
pub const SETTLE_BEFORE: &str = "settle.before";
/// While a settle is under way.
pub const SETTLE_DURING: &str = "settle.during";
/// After the settle's commit, before the worker knows.
pub const SETTLE_AFTER: &str = "settle.after";
/// While a beat is under way.
pub const BEAT_DURING: &str = "beat.during";
/// While jobs of dead workers are looked for.
pub const RESCUE_DURING: &str = "rescue.during";
/// After some were taken back.
pub const RESCUE_AFTER: &str = "rescue.after";
/// While due jobs are promoted.
pub const PROMOTE_DURING: &str = "promote.during";
/// After some were.
pub const PROMOTE_AFTER: &str = "promote.after";
/// While a schedule's due time is decided.
pub const TICK_DURING: &str = "tick.during";
/// After its job was enqueued.
pub const TICK_AFTER: &str = "tick.after";

/// A step, how often it is passed before the one that kills, and how far into a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One of [`ALL`].
    pub step: &'static str,
    /// The nth time, from 1.
    pub nth: u32,
    /// For the "during" steps: so long after the call has begun.
    pub micros: u64,
}

impl FromStr for Plan {
    type Err = anyhow::Error;

    /// `step:nth:micros`.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [step, nth, micros] = parts[..] else { bail!("`{text}` is no kill plan; give `step:nth:micros`") };
        let known = ALL.into_iter().find(|known| *known == step);
        let step = known.with_context(|| format!("`{step}` is no step; known are {}", ALL.join(", ")))?;
        Ok(Self { step, nth: nth.parse().context("nth")?, micros: micros.parse().context("micros")? })
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.step, self.nth, self.micros)
    }
}

/// The end that a process has been given; shared by all that may meet it.
#[derive(Clone, Debug)]
pub struct Doom {
    plan: Option<Plan>,
    left: Arc<AtomicU32>,
    log: Arc<Log>,
}

impl Doom {
    /// By `plan`, if there is one; the log says so before it happens.
    pub fn new(plan: Option<Plan>, log: Arc<Log>) -> Self {
        let left = Arc::new(AtomicU32::new(plan.as_ref().map_or(0, |plan| plan.nth.max(1))));
        Self { plan, left, log }
    }

    /// A "before" or "after" step is reached: it may be the last.
    pub fn reach(&self, step: &str) {
        if self.is_now(step) {
            self.die();
        }
    }

    /// A "during" step is about to begin: it may be the last, somewhere within it.
    pub fn begin(&self, step: &str) {
        if !self.is_now(step) {
            return;
        }
        let (doom, micros) = (self.clone(), self.plan.as_ref().map_or(0, |plan| plan.micros));
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(micros));
            doom.die();
        });
    }

    fn is_now(&self, step: &str) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.step == step)
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1)
    }

    fn die(&self) {
        let step = self.plan.as_ref().map_or("", |plan| plan.step).to_owned();
        self.log.write(What::Kill { step });
        // SIGKILL can't be refused; the loop is for the moment until it arrives.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
