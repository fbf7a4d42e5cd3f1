//! Why the desk did not do what was asked. HTTP turns it into a problem, the command line into an exit code.

use std::time::Duration;

use axum::http::StatusCode;

use super::{KeyError, OrderError};
use crate::problem::Problem;
use crate::queue::EnqueueError;
use crate::store::StoreError;

/// Asked to wait when the database did not answer.
const DATA_RETRY: Duration = Duration::from_secs(5);

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The store said no, or nothing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The job can't be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The job that was ordered makes no sense.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The key can't be made, found or revoked.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The audit log can't be read or written; without it nothing is changed.
    #[error("the database did not answer: {0}")]
    Data(#[from] sqlx::Error),
    /// A field is out of range.
    #[error("{field} is {value}; allowed: {allowed}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        allowed: String,
    },
    /// No worker has this id now.
    #[error("there is no live worker {0}")]
    NoSuchWorker(crate::job::Incarnation),
}

/// What sort of refusal it is, for those who show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// What was given is wrong and stays wrong.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// It exists, but its present state does not allow this.
    Conflict,
    /// Trying again later may help.
    Unavailable,
    /// Something is broken on our side.
    Broken,
}

impl Refusal {
    /// Which sort it is.
    pub fn sort(&self) -> Sort {
        match self {
            Self::Store(error) | Self::Enqueue(EnqueueError::Store(error)) => sort_of_store(error),
            Self::Enqueue(_) | Self::Order(_) | Self::Invalid { .. } => Sort::Invalid,
            Self::Key(KeyError::Name(_) | KeyError::Expiry(_)) => Sort::Invalid,
            Self::Key(KeyError::NoSuchKey(_)) | Self::NoSuchWorker(_) => Sort::NotFound,
            Self::Key(KeyError::AlreadyRevoked(_) | KeyError::Refused) => Sort::Conflict,
            Self::Key(KeyError::Data(_)) | Self::Data(_) => Sort::Unavailable,
        }
    }
}

fn sort_of_store(error: &StoreError) -> Sort {
    match error {
        StoreError::Unavailable { .. } | StoreError::Full { .. } | StoreError::ReadOnly { .. } => Sort::Unavailable,
        StoreError::NoSuchQueue(_) | StoreError::NoSuchJob(_) | StoreError::NoSuchSchedule(_) => Sort::NotFound,
        StoreError::WrongState { .. } | StoreError::KeyTaken { .. } | StoreError::DeadIncarnation(_) => Sort::Conflict,
        StoreError::TooMany { .. } => Sort::Invalid,
        StoreError::Fatal { .. } | StoreError::Schema { .. } | StoreError::Corrupt { .. } => Sort::Broken,
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Store(error) => error.into(),
            Refusal::Enqueue(error) => error.into(),
            Refusal::Order(error) => error.into(),
            Refusal::Key(error) => error.into(),
            Refusal::Data(error) => unanswered(&error),
            Refusal::Invalid { field, value, allowed } => Self::invalid(field, value, allowed),
            Refusal::NoSuchWorker(_) => Self::not_found(refusal.to_string()),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match &error {
            KeyError::Name(name) => {
                Self::invalid("name", name.as_str(), "1 to 100 characters without control characters")
            }
            KeyError::Expiry(at) => Self::invalid("expires_at", at.to_string(), "a time that lies ahead"),
            KeyError::NoSuchKey(_) => Self::not_found(error.to_string()),
            KeyError::AlreadyRevoked(_) => Self::conflict(error.to_string()),
            KeyError::Refused => Self::unauthorized(error.to_string(), "Bearer"),
            KeyError::Data(error) => unanswered(error),
        }
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::UnknownKind { kind, known } => Self::invalid("kind", kind, format!("one of {known}")),
            OrderError::Payload { kind, source } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", "A field has a value that is not allowed")
                    .detail(format!("the payload is not one of `{kind}`: {source}"))
                    .field("payload", serde_json::Value::Null, format!("what `{kind}` takes"))
            }
            OrderError::TooLarge(error) => error.into(),
            OrderError::Invalid { field, value, allowed } => Self::invalid(field, value, allowed),
        }
    }
}

fn unanswered(error: &sqlx::Error) -> Problem {
    tracing::warn!(%error, "a request was refused because of the database");
    Problem::unavailable("the database did not answer; try the same request again later", DATA_RETRY)
}
