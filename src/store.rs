//! The store contract: how jobs are kept. The implementations below it hold all SQL (and later all Lua).
//!
//! What every store guarantees, each rule with a test in the conformance suite:
//!
//! 1. **Fencing.** A claim raises the job's epoch. Settle, progress and log name (job, epoch, incarnation); a stale
//!    one is refused, changes no byte, and is counted.
//! 2. **Incarnations die once.** Once declared dead (by a rescue after its lease has run out) or signed off, an incarnation
//!    can't claim, settle or beat again. Until then a late beat keeps its jobs: nobody else has them.
//! 3. **The store's clock decides** leases, `run_at` and ticks.
//! 4. **Durable before it returns**: enqueue, settle, cancel, retry, tick.
//! 5. **Bounded**: no call touches more than [`BATCH_MAX`] items or scans what grows.
//!
//! Nothing here knows of HTTP, handlers or schedules' meaning.

mod contract;
mod error;
mod lease;
mod location;
mod query;
pub mod redis;
mod shared;
pub mod sqlite;
mod tick;

pub use contract::{
    Beat, BeatReply, Cancel, Claimed, Enqueued, NewJob, Promoted, Pruned, QueueSettings, Rescued, Retention, RetryDead,
    Settled, Settlement, Store, Verdict,
};
pub use error::StoreError;
pub use lease::{Lease, LeaseToken};
pub use location::{Durability, InvalidLocation, Location, StoreRules, open};
pub use query::{
    Counts, Cursor, InvalidCursor, ListQuery, LogLine, Page, QueueCounts, StoreHealth, WhyNot, WorkerRecord,
};
pub use shared::{BreakerState, Budget, RateDecision, RateLimit, RememberedReply, Reservation};
pub use tick::{Fired, HistoryEntry, Overlap, ScheduleChange, ScheduleDeclaration, ScheduleRecord, Tick, Ticked};

/// No call to a store touches more items than this.
pub const BATCH_MAX: usize = 1_000;
