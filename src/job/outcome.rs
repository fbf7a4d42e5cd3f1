//! What a handler decides: [`Done`] or a [`JobError`]. The words say what becomes of the job.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::JobSpec;

/// The job is finished; never run again.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// Kept with the job, at most 16 KiB as JSON.
    pub result: Option<Value>,
    /// Enqueued in the same transaction that completes the job: all of it happens or nothing.
    pub then: Vec<JobSpec>,
}

impl Done {
    /// Finished with `result` to show. What can't be written as JSON is left out with a note in its place.
    pub fn with(result: impl Serialize) -> Self {
        let value = serde_json::to_value(result)
            .unwrap_or_else(|e| Value::String(format!("the result could not be written as JSON: {e}")));
        Self { result: Some(value), then: Vec::new() }
    }

    /// Adds a job that comes to life with this one's completion.
    #[must_use]
    pub fn then(mut self, next: JobSpec) -> Self {
        self.then.push(next);
        self
    }
}

/// Not finished, and what shall happen next. An ordinary error (`?`) means: try again by the policy.
#[derive(Debug)]
pub enum JobError {
    /// A failed attempt. Tried again after the kind's policy, or after `after` when the other side named a time.
    Retry {
        /// What went wrong, kept with the job.
        error: anyhow::Error,
        /// Overrides the policy; capped by the worker.
        after: Option<Duration>,
    },
    /// Not an attempt: come back later (rate limited, not ready yet).
    Snooze {
        /// How much later.
        after: Duration,
        /// Why, shown to operators.
        reason: String,
    },
    /// Trying again can't help.
    Dead {
        /// What is wrong, kept with the job.
        error: anyhow::Error,
    },
    /// The work is no longer wanted.
    Cancelled {
        /// Why, kept with the job.
        reason: String,
    },
}

impl JobError {
    /// Failed; try again by the kind's policy.
    pub fn retry(error: impl Into<anyhow::Error>) -> Self {
        Self::Retry { error: error.into(), after: None }
    }

    /// Failed; try again after `after`, as the other side asked (`Retry-After`).
    pub fn retry_after(error: impl Into<anyhow::Error>, after: Duration) -> Self {
        Self::Retry { error: error.into(), after: Some(after) }
    }

    /// Not an attempt; come back after `after`.
    pub fn snooze(after: Duration, reason: impl Into<String>) -> Self {
        Self::Snooze { after, reason: reason.into() }
    }

    /// Permanent: to the dead letters at once.
    pub fn dead(error: impl Into<anyhow::Error>) -> Self {
        Self::Dead { error: error.into() }
    }

    /// No longer wanted.
    pub fn cancelled(reason: impl Into<String>) -> Self {
        Self::Cancelled { reason: reason.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for JobError {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}
