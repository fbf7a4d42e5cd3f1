//! What a job is: its identity, its states, what a handler may decide, and when it is tried again.
//!
//! Leaves only: nothing here does I/O. A [`JobSpec`] is what somebody asks for; the queue gives it an id
//! and the store keeps it as a [`JobRecord`] until retention takes it away.

mod id;
mod kind;
mod outcome;
mod record;
mod retry;
mod spec;
mod state;

pub use id::{Incarnation, InvalidName, JobId, QueueName};
pub use kind::JobKind;
pub use outcome::{Done, JobError};
pub use record::{Attempt, Failure, JobRecord, Progress};
pub use retry::{RetryPolicy, parse_retry_after};
pub use spec::{JobSpec, MAX_PAYLOAD_BYTES, PayloadError, Priority, RunAt, UniqueKey};
pub use state::{DeadReason, JobState};
