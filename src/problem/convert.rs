//! How the engine's errors look to an HTTP client.

use axum::http::StatusCode;

use super::Problem;
use crate::job::{InvalidName, PayloadError};
use crate::queue::EnqueueError;
use crate::store::{InvalidCursor, StoreError};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { .. }
            | StoreError::Full { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::TooWeak { .. } => {
                tracing::warn!(%error, "a request was refused because of the store");
                let what = match &error {
                    StoreError::Full { .. } => "the store is full",
                    StoreError::ReadOnly { .. } => "the store can't be written",
                    StoreError::TooWeak { .. } => "the store promises less than is asked of it",
                    _ => "the store can't be reached",
                };
                Self::unavailable(format!("{what}; try the same request again later"), error.retry_after())
            }
            StoreError::NoSuchQueue(_) | StoreError::NoSuchJob(_) | StoreError::NoSuchSchedule(_) => {
                Self::not_found(error.to_string())
            }
            StoreError::WrongState { .. } | StoreError::KeyTaken { .. } => Self::conflict(error.to_string()),
            StoreError::TooMany { what, len, max } => {
                Self::invalid(*what, format!("{len} items"), format!("at most {max}"))
            }
            StoreError::Fatal { .. }
            | StoreError::Schema { .. }
            | StoreError::Corrupt { .. }
            | StoreError::DeadIncarnation(_) => Self::unexpected(&error),
        }
    }
}

impl From<EnqueueError> for Problem {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Payload(error) => error.into(),
            EnqueueError::UnknownQueue { queue, known } => {
                Self::invalid("queue", queue.as_str(), format!("a configured queue: {known}"))
            }
            EnqueueError::Invalid { field, value, allowed } => Self::invalid(field, value, allowed),
            EnqueueError::Store(error) => error.into(),
        }
    }
}

impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        match &error {
            PayloadError::Encode { .. } => Self::unexpected(&error),
            PayloadError::TooLarge { bytes, limit, .. } => {
                let title = "The payload is too large";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", title).detail(error.to_string()).field(
                    "payload",
                    format!("{bytes} bytes"),
                    format!("at most {limit} bytes"),
                )
            }
            PayloadError::Queue(name) => name.clone().into(),
        }
    }
}

impl From<InvalidName> for Problem {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error.what, error.value, error.allowed)
    }
}

impl From<InvalidCursor> for Problem {
    fn from(error: InvalidCursor) -> Self {
        let title = "A field has a value that is not allowed";
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", title).detail(error.to_string());
        problem.0.field = Some("cursor".to_owned());
        problem.allow("the `next` of a page, or nothing to start")
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        Self::unexpected(&error)
    }
}
