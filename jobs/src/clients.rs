//! The outside systems: one client a system, with typed errors that say what a handler should do about them.
//!
//! Every call has a deadline and a cap on the bytes it reads (after decompression), and no error text carries a
//! secret. The clients know nothing of jobs but [`CallError::decision`].

pub mod gpu_market;
pub mod plaid;
pub mod stripe;
mod wire;

use std::time::Duration;

use tidemill::job::JobError;

/// No `Retry-After` of an outside system makes a job wait longer.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(3600);

/// What a failed call means for the one who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The same call may succeed later, not before `after` where the other side named a time.
    Retryable {
        /// The wait that was asked for.
        after: Option<Duration>,
    },
    /// A person must do something at the other side first: log in again, give consent.
    UserAction,
    /// The same call will fail again.
    Permanent,
}

/// A call to an outside system that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{system} {call}: {detail}")]
pub struct CallError {
    /// Which system.
    pub system: &'static str,
    /// Which call of it.
    pub call: &'static str,
    /// What it means.
    pub meaning: Meaning,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The system's own code for it, if it gave one.
    pub code: Option<String>,
    /// What was wrong, for people, cut at 300 characters.
    pub detail: String,
}

impl CallError {
    /// What a handler decides when it can do nothing better about it.
    pub fn decision(self) -> JobError {
        match self.meaning {
            Meaning::Retryable { after: None } => JobError::retry(self),
            Meaning::Retryable { after: Some(after) } => JobError::retry_after(self, after),
            Meaning::UserAction | Meaning::Permanent => JobError::dead(self),
        }
    }

    /// True when the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.meaning, Meaning::Retryable { .. })
    }
}
