//! Schedules as the store keeps them: a cursor, overrides, a history. What a due time is, the store does not know.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::NewJob;
use crate::clock::Timestamp;
use crate::job::JobId;

/// A schedule in the code.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleDeclaration {
    /// Its name.
    pub name: Arc<str>,
    /// How the code describes it; shown, and what an override replaces.
    pub declared: Value,
}

/// A schedule in the store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleRecord {
    /// Its name.
    pub name: Arc<str>,
    /// How the code describes it.
    pub declared: Value,
    /// What an operator has put in its place.
    pub overridden: Option<Value>,
    /// It does not fire.
    pub paused: bool,
    /// All due times up to here are decided.
    pub cursor: Timestamp,
    /// The last job it enqueued.
    pub last_job: Option<JobId>,
    /// The due time of that job.
    pub last_due: Option<Timestamp>,
    /// A fire held back by `Overlap::QueueOne`, to be enqueued when the running one ends.
    pub held_due: Option<Timestamp>,
}

/// What to do when the schedule's last job is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Enqueue all the same.
    Allow,
    /// Leave this due time out.
    #[default]
    Skip,
    /// Let one wait: enqueue when the last one ends; of several only the newest.
    QueueOne,
}

/// One due time to be decided.
#[derive(Clone, Debug)]
pub struct Tick {
    /// Which schedule.
    pub schedule: Arc<str>,
    /// Which due time (UTC instant).
    pub due: Timestamp,
    /// The job for it; its `run_at` carries the jitter.
    pub job: NewJob,
    /// When the last one still lives.
    pub overlap: Overlap,
    /// Fired by a person: the cursor stays, overlap is allowed.
    pub manual: bool,
}

/// What became of a due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// Its job is kept.
    Enqueued(JobId),
    /// It was decided before, here or on another node.
    AlreadyDecided,
    /// Left out: the last job still lives, or this one has the unique key.
    SkippedOverlap(JobId),
    /// Held back until the last job ends.
    Held,
    /// The schedule is paused.
    Paused,
}

/// An operator's change.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleChange {
    /// Stop firing.
    Pause,
    /// Fire again, from now on.
    Resume,
    /// Put this in the place of the declared description; `None` goes back to the code's.
    Override(Option<Value>),
    /// Move the cursor forward without firing. Happens only if it still stands where the caller saw it, so of several nodes
    /// that leave the same due times out one does, and counts them.
    SkipTo {
        /// Where the caller saw it.
        from: Timestamp,
        /// All due times up to here are decided.
        cursor: Timestamp,
        /// How many were left out; none when the schedule's times were changed and it starts afresh.
        missed: u32,
    },
}

/// What one history entry tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fired {
    /// A job was enqueued.
    Enqueued,
    /// A person ran it.
    RunByHand,
    /// Left out because of the last job.
    SkippedOverlap,
    /// Left out after downtime.
    Missed,
    /// Paused, resumed, overridden.
    Changed,
}

/// One line of a schedule's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Fired,
    /// Its due time, if it is about one.
    pub due: Option<Timestamp>,
    /// Its job, if it made one.
    pub job: Option<JobId>,
    /// Who or why.
    pub note: String,
}
