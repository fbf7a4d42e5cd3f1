//! The life of a job as one table.
//!
//! ```text
//! enqueue ──► scheduled ──promote──► ready ──claim──► running ──settle──► completed
//!               ▲  │ └──────run now───►▲                │ ├──retry/snooze──► scheduled
//!    delay──────┘  │                   ├── rescue ──────┤ ├──dead──► dead ──admin retry──► ready
//!                  └──cancel──► cancelled ◄──cancel── ready, running
//! ```
//!
//! `running → ready` is also the hand-back of a clean stop. `completed` and `cancelled` are final.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// `run_at` lies ahead: delayed, or waiting for its next attempt.
    Scheduled,
    /// May be claimed now.
    Ready,
    /// Claimed: exactly one holder has its lease.
    Running,
    /// Finished; never run again.
    Completed,
    /// Given up: retries used up, a permanent error, or it crashed its worker too often.
    Dead,
    /// Taken back by a person or by its own handler.
    Cancelled,
}

impl JobState {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Scheduled, Self::Ready, Self::Running, Self::Completed, Self::Dead, Self::Cancelled];

    /// The whole transition table. A change it does not allow is a bug, whoever asks for it.
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Scheduled => matches!(next, Self::Ready | Self::Cancelled),
            Self::Ready => matches!(next, Self::Running | Self::Cancelled),
            Self::Running => {
                matches!(next, Self::Completed | Self::Scheduled | Self::Ready | Self::Dead | Self::Cancelled)
            }
            Self::Dead => matches!(next, Self::Ready),
            Self::Completed | Self::Cancelled => false,
        }
    }

    /// True for states that hold no work any more (a dead job waits for a person, not for a worker).
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled)
    }

    /// The state's one word, used in tables, metrics, logs and the API alike.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            format!("`{text}` is not a job state; allowed: scheduled, ready, running, completed, dead, cancelled")
        })
    }
}

/// Why a job is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// Every attempt failed.
    Exhausted,
    /// The handler said that trying again can't help.
    Permanent,
    /// It took its worker down too often.
    Crashed,
    /// No handler of this kind is known here.
    UnknownKind,
    /// The payload does not decode as this kind.
    BadPayload,
}

impl DeadReason {
    /// The reason's one word, as tables and the API show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Permanent => "permanent",
            Self::Crashed => "crashed",
            Self::UnknownKind => "unknown_kind",
            Self::BadPayload => "bad_payload",
        }
    }

    /// The reason that [`DeadReason::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Exhausted, Self::Permanent, Self::Crashed, Self::UnknownKind, Self::BadPayload]
            .into_iter()
            .find(|r| r.as_str() == text)
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
