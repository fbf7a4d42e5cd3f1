//! What a store can answer instead of doing it. Callers branch on the variant; people read the text.

use std::time::Duration;

use crate::job::{Incarnation, JobId, JobState, QueueName};

/// Why a store call did nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached or is busy beyond its time limit. Trying again is right.
    #[error("the store is unavailable while it tried to {step}: {detail}")]
    Unavailable {
        /// The step that failed.
        step: &'static str,
        /// The driver's words.
        detail: String,
    },
    /// There is no room for more. What is running can still be settled when space returns.
    #[error("the store is full: {detail}; free disk space or prune finished jobs")]
    Full {
        /// The driver's words.
        detail: String,
    },
    /// It can't be written at all (read-only file or directory).
    #[error("the store is read-only: {detail}; check the file's and the directory's permissions")]
    ReadOnly {
        /// The driver's words.
        detail: String,
    },
    /// It broke in a way that must stop the process: a failed fsync, a corrupt page.
    #[error("the store failed for good and this process must stop: {detail}")]
    Fatal {
        /// The driver's words.
        detail: String,
    },
    /// Its tables are of another version than this program.
    #[error("the store's schema is version {found}, this program needs {needed}: {advice}")]
    Schema {
        /// What the file says.
        found: i64,
        /// What this program knows.
        needed: i64,
        /// What to do.
        advice: &'static str,
    },
    /// It promises less than the configuration asks for.
    #[error("the store can't promise durability \"{asked}\": {found}; {advice}")]
    TooWeak {
        /// What is asked for.
        asked: &'static str,
        /// What the server says of itself.
        found: String,
        /// What to do.
        advice: String,
    },
    /// A row or reply that can't be read.
    #[error("the store holds something unreadable in {place}: {detail}")]
    Corrupt {
        /// Table and column, or key.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The caller's incarnation has lost its leases for good.
    #[error("worker {0} was declared dead by the store; start again as a new one")]
    DeadIncarnation(Incarnation),
    /// No such queue.
    #[error("there is no queue `{0}`")]
    NoSuchQueue(QueueName),
    /// No such job (any more).
    #[error("there is no job {0}; it may have been pruned")]
    NoSuchJob(JobId),
    /// No such schedule.
    #[error("there is no schedule `{0}`")]
    NoSuchSchedule(String),
    /// The job's state does not allow this.
    #[error("job {job} is {state}; only {allowed} jobs can be {verb}")]
    WrongState {
        /// The job.
        job: JobId,
        /// Where it is.
        state: JobState,
        /// The states that would do, as words.
        allowed: &'static str,
        /// What was asked, as a participle: `retried`.
        verb: &'static str,
    },
    /// Another job has the unique key.
    #[error("job {job} can't be retried: job {holder} has its unique key `{key}` now")]
    KeyTaken {
        /// The job that was to be retried.
        job: JobId,
        /// The key.
        key: String,
        /// Who has it.
        holder: JobId,
    },
    /// Larger than the contract allows.
    #[error("{what} has {len} items; at most {max} are allowed in one call")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many were given.
        len: usize,
        /// How many are allowed.
        max: usize,
    },
}

impl StoreError {
    /// True when the same call may succeed later without anybody changing it.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. } | Self::ReadOnly { .. } | Self::TooWeak { .. })
    }

    /// How long a sender is asked to wait before it tries again.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Full { .. } | Self::ReadOnly { .. } => Duration::from_secs(30),
            _ => Duration::from_secs(5),
        }
    }
}
