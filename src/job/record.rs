//! A job as the store keeps it and operators see it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{DeadReason, Incarnation, JobId, JobState, Priority, QueueName};
use crate::clock::Timestamp;

/// The number of an attempt, from 1; snoozes, hand-backs and crashes are not counted.
pub type Attempt = u32;

/// One failed attempt, crash or refusal, kept with the job (the last ten).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When the store recorded it.
    pub at: Timestamp,
    /// Which attempt.
    pub attempt: Attempt,
    /// What went wrong, cut at 2 KiB.
    pub error: String,
}

/// How far a running job says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// In the handler's words, cut at 200 bytes.
    pub note: String,
}

/// Everything known of one job.
#[derive(Clone, Debug, Serialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// The queue it runs on.
    pub queue: QueueName,
    /// Its kind.
    pub kind: Arc<str>,
    /// Where it is in its life.
    pub state: JobState,
    /// JSON, as it was enqueued.
    pub payload: Box<RawValue>,
    /// Whose work this is.
    pub tenant: Option<Arc<str>>,
    /// 0 first, 9 last.
    pub priority: Priority,
    /// When it may run, or might first run.
    pub run_at: Timestamp,
    /// Attempts begun, without snoozes, hand-backs and crashes.
    pub attempt: Attempt,
    /// Attempts until it is dead.
    pub max_attempts: u32,
    /// How often its holder died.
    pub crashes: u32,
    /// Rises with every claim; a write with an older one is refused.
    pub epoch: u64,
    /// An attempt that takes longer is stopped.
    pub timeout_ms: u64,
    /// Its unique key.
    pub unique_key: Option<Arc<str>>,
    /// Ties together all that came from one cause.
    pub correlation_id: Option<Arc<str>>,
    /// W3C trace context of the cause.
    pub traceparent: Option<Arc<str>>,
    /// Who asked for it.
    pub enqueued_by: Arc<str>,
    /// Free words.
    pub tags: Vec<String>,
    /// When the store accepted it.
    pub created_at: Timestamp,
    /// When the present or last attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it became completed, dead or cancelled.
    pub finished_at: Option<Timestamp>,
    /// Who runs it, while it is running.
    pub holder: Option<Incarnation>,
    /// A person has asked to cancel it and its holder has not answered yet.
    pub cancel_requested: bool,
    /// Why it is dead.
    pub dead_reason: Option<DeadReason>,
    /// The last ten things that went wrong, oldest first.
    pub failures: Vec<Failure>,
    /// How far it says it is.
    pub progress: Option<Progress>,
    /// What it returned.
    pub result: Option<Box<RawValue>>,
}
