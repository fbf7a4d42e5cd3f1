//! What can be wrong with a schedule: its plan, its name, its job, or the store under it.

use crate::queue::EnqueueError;
use crate::store::StoreError;

/// A plan that can't be followed; names the field, the value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is `{value}`; allowed: {allowed}")]
pub struct InvalidPlan {
    /// Which field of the plan, `cron`, `time_zone`, …
    pub field: String,
    /// What was given, cut at 80 characters.
    pub value: String,
    /// What would be accepted, with an example.
    pub allowed: String,
}

impl InvalidPlan {
    pub(super) fn new(field: &str, value: &str, allowed: impl Into<String>) -> Self {
        Self { field: field.to_owned(), value: value.chars().take(80).collect(), allowed: allowed.into() }
    }
}

/// Why something could not be done with a schedule.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// Its plan, or what shall replace it, makes no sense.
    #[error("schedule `{schedule}`: {source}")]
    Invalid {
        /// Which schedule.
        schedule: String,
        /// What is wrong.
        source: InvalidPlan,
    },
    /// Two schedules have one name.
    #[error("two schedules are named `{0}`; a name is used once")]
    Duplicate(String),
    /// More schedules than one round can decide.
    #[error("{count} schedules are declared; at most {max} are allowed")]
    TooMany {
        /// How many.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// This program declares no such schedule.
    #[error("there is no schedule `{name}`; known schedules: {known}")]
    NoSuch {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Its job can't be enqueued.
    #[error("schedule `{schedule}` makes a job that can't be enqueued: {source}")]
    Job {
        /// Which schedule.
        schedule: String,
        /// What is wrong with the job.
        source: EnqueueError,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}
