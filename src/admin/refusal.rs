//! Why the desk did not do what was asked. HTTP turns it into a problem, the command line into an exit code.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;

use super::{KeyError, OrderError};
use crate::fanout::endpoints::EndpointError;
use crate::fanout::event_types::EventTypeError;
use crate::fanout::history::HistoryError;
use crate::fanout::recovery::RecoveryError;
use crate::portal::LinkError;
use crate::problem::Problem;
use crate::queue::EnqueueError;
use crate::schedule::ScheduleError;
use crate::store::StoreError;

/// Asked to wait when the database did not answer.
const DATA_RETRY: Duration = Duration::from_secs(5);
/// Asked of a client whose first request is still being worked on.
const KEY_RETRY: Duration = Duration::from_secs(1);

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
    /// The schedule can't be found, changed or run.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// It was not run.
    #[error("schedule `{schedule}` was not run: {why}")]
    NotFired {
        /// Which schedule.
        schedule: String,
        /// What stood against it.
        why: &'static str,
    },
    /// The endpoint can't be made, found or changed.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The event or its type is not one that may be published or declared.
    #[error(transparent)]
    EventType(#[from] EventTypeError),
    /// Nothing is sent again.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Messages, deliveries or attempts can't be listed.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A link can't be made, listed or taken back.
    #[error(transparent)]
    Link(#[from] LinkError),
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
    /// No such webhook is kept.
    #[error("no webhook `{event_id}` of source `{source_name}` is kept (any more)")]
    NoSuchWebhook {
        /// The source.
        source_name: String,
        /// The sender's id.
        event_id: String,
    },
    /// A request with this key has not been answered yet.
    #[error("the first request with this idempotency key is being worked on; repeat this one in a moment")]
    KeyBusy,
    /// The key came before with another request.
    #[error("this idempotency key was used for another request; use a new key for a new request")]
    KeyReused,
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
            Self::Enqueue(_) | Self::Order(_) | Self::Invalid { .. } | Self::KeyReused => Sort::Invalid,
            Self::Key(KeyError::Name(_) | KeyError::Expiry(_)) => Sort::Invalid,
            Self::Key(KeyError::NoSuchKey(_)) | Self::NoSuchWorker(_) | Self::NoSuchWebhook { .. } => Sort::NotFound,
            Self::Key(KeyError::AlreadyRevoked(_) | KeyError::Refused) => Sort::Conflict,
            Self::Key(KeyError::Data(_)) | Self::Data(_) => Sort::Unavailable,
            Self::NotFired { .. } | Self::KeyBusy => Sort::Conflict,
            Self::Schedule(error) => sort_of_schedule(error),
            Self::Endpoint(error) => sort_of_endpoint(error),
            Self::Recovery(error) => sort_of_recovery(error),
            Self::EventType(error) => sort_of_event_type(error),
            Self::Link(LinkError::Invalid { .. }) => Sort::Invalid,
            Self::Link(LinkError::NoSuchLink(_)) => Sort::NotFound,
            Self::Link(LinkError::Off | LinkError::Over(_)) => Sort::Conflict,
            Self::Link(LinkError::Data(_)) => Sort::Unavailable,
            Self::History(HistoryError::Cursor(_)) => Sort::Invalid,
            Self::History(HistoryError::NoSuch(..)) => Sort::NotFound,
            Self::History(HistoryError::Data(_)) => Sort::Unavailable,
            Self::History(HistoryError::Corrupt { .. }) => Sort::Broken,
        }
    }
}

fn sort_of_schedule(error: &ScheduleError) -> Sort {
    match error {
        ScheduleError::Store(error) | ScheduleError::Job { source: EnqueueError::Store(error), .. } => {
            sort_of_store(error)
        }
        ScheduleError::NoSuch { .. } => Sort::NotFound,
        ScheduleError::Invalid { .. } | ScheduleError::Duplicate(_) | ScheduleError::TooMany { .. } => Sort::Invalid,
        ScheduleError::Job { .. } => Sort::Conflict,
    }
}

fn sort_of_endpoint(error: &EndpointError) -> Sort {
    match error {
        EndpointError::Invalid { .. }
        | EndpointError::Url(_)
        | EndpointError::Pattern(_)
        | EndpointError::Filter(_)
        | EndpointError::Secret(_)
        | EndpointError::Cursor(_) => Sort::Invalid,
        EndpointError::NoSuchEndpoint(_) => Sort::NotFound,
        EndpointError::TooManyEndpoints { .. } | EndpointError::TooManySecrets(_) => Sort::Conflict,
        EndpointError::Data(_) => Sort::Unavailable,
        EndpointError::Corrupt { .. } | EndpointError::Sealed { .. } => Sort::Broken,
    }
}

fn sort_of_event_type(error: &EventTypeError) -> Sort {
    match error {
        EventTypeError::NoSuchType(_) => Sort::NotFound,
        EventTypeError::TooMany => Sort::Conflict,
        EventTypeError::Data(_) => Sort::Unavailable,
        EventTypeError::Corrupt { .. } => Sort::Broken,
        _ => Sort::Invalid,
    }
}

fn sort_of_recovery(error: &RecoveryError) -> Sort {
    match error {
        RecoveryError::Endpoint(error) => sort_of_endpoint(error),
        RecoveryError::NotEnabled(..) | RecoveryError::Over(..) => Sort::Conflict,
        RecoveryError::NoSuchRecovery(_) | RecoveryError::NoSuchDelivery(_) => Sort::NotFound,
        RecoveryError::Since(_) | RecoveryError::Cursor(_) | RecoveryError::Test(_) => Sort::Invalid,
        RecoveryError::Enqueue(EnqueueError::Store(error)) => sort_of_store(error),
        RecoveryError::Enqueue(_) => Sort::Broken,
        RecoveryError::Data(_) => Sort::Unavailable,
    }
}

fn sort_of_store(error: &StoreError) -> Sort {
    match error {
        StoreError::Unavailable { .. }
        | StoreError::Full { .. }
        | StoreError::ReadOnly { .. }
        | StoreError::TooWeak { .. } => Sort::Unavailable,
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
            Refusal::NotFired { .. } => Self::conflict(refusal.to_string()),
            Refusal::Schedule(error) => error.into(),
            Refusal::Endpoint(error) => error.into(),
            Refusal::EventType(error) => error.into(),
            Refusal::Recovery(error) => error.into(),
            Refusal::Link(error) => error.into(),
            Refusal::History(error) => error.into(),
            Refusal::Data(error) => unanswered(&error),
            Refusal::Invalid { field, value, allowed } => Self::invalid(field, value, allowed),
            Refusal::KeyBusy => key_busy(),
            Refusal::KeyReused => key_reused(),
            Refusal::NoSuchWorker(_) | Refusal::NoSuchWebhook { .. } => Self::not_found(refusal.to_string()),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match &error {
            KeyError::Name(name) => {
                Self::invalid("name", name.as_str(), "1 to 100 characters without control characters")
            }
            KeyError::Expiry(at) => Self::invalid("expires_at", at.to_string(), KeyError::EXPIRY_ALLOWED),
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
                    .field("payload", Value::Null, format!("what `{kind}` takes"))
            }
            OrderError::TooLarge(error) => error.into(),
            OrderError::Invalid { field, value, allowed } => Self::invalid(field, value, allowed),
        }
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::Store(error) | ScheduleError::Job { source: EnqueueError::Store(error), .. } => error.into(),
            ScheduleError::NoSuch { .. } => Self::not_found(error.to_string()),
            ScheduleError::Invalid { source, .. } => Self::invalid(source.field, source.value, source.allowed),
            ScheduleError::Job { .. } => Self::conflict(error.to_string()),
            ScheduleError::Duplicate(_) | ScheduleError::TooMany { .. } => Self::unexpected(&error),
        }
    }
}

impl From<EndpointError> for Problem {
    fn from(error: EndpointError) -> Self {
        match &error {
            EndpointError::Invalid { field, value, allowed } => Self::invalid(*field, value.as_str(), *allowed),
            EndpointError::Url(refused) => blamed("url", refused),
            EndpointError::Pattern(invalid) => blamed("event_types", invalid),
            EndpointError::Filter(invalid) => blamed("filter", invalid),
            EndpointError::Secret(invalid) => blamed("secret", invalid),
            EndpointError::Cursor(invalid) => blamed("cursor", invalid),
            EndpointError::NoSuchEndpoint(_) => Self::not_found(error.to_string()),
            EndpointError::TooManyEndpoints { .. } | EndpointError::TooManySecrets(_) => {
                Self::conflict(error.to_string())
            }
            EndpointError::Data(error) => unanswered(error),
            EndpointError::Corrupt { .. } | EndpointError::Sealed { .. } => Self::unexpected(&error),
        }
    }
}

impl From<EventTypeError> for Problem {
    fn from(error: EventTypeError) -> Self {
        match &error {
            EventTypeError::Invalid { field, value, allowed } => Self::invalid(*field, value.as_str(), *allowed),
            EventTypeError::Schema(_) => blamed("schema", &error),
            EventTypeError::Example(_) => blamed("example", &error),
            EventTypeError::Payload { .. } => blamed("payload", &error),
            EventTypeError::Reserved(_) => blamed("event_type", &error),
            EventTypeError::NoSuchType(_) => Self::not_found(error.to_string()),
            EventTypeError::TooMany => Self::conflict(error.to_string()),
            EventTypeError::Data(error) => unanswered(error),
            EventTypeError::Corrupt { .. } => Self::unexpected(&error),
        }
    }
}

impl From<RecoveryError> for Problem {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Endpoint(error) => error.into(),
            RecoveryError::Enqueue(error) => error.into(),
            RecoveryError::Data(error) => unanswered(&error),
            RecoveryError::Cursor(invalid) => blamed("cursor", &invalid),
            RecoveryError::Since(at) => Self::invalid("since", at.to_string(), "a time that has passed"),
            RecoveryError::Test(_) => blamed("event_type", &error),
            RecoveryError::NotEnabled(..) | RecoveryError::Over(..) => Self::conflict(error.to_string()),
            RecoveryError::NoSuchRecovery(_) | RecoveryError::NoSuchDelivery(_) => Self::not_found(error.to_string()),
        }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        match &error {
            LinkError::Invalid { field, value, allowed } => Self::invalid(*field, value.as_str(), *allowed),
            LinkError::NoSuchLink(_) => Self::not_found(error.to_string()),
            LinkError::Off | LinkError::Over(_) => Self::conflict(error.to_string()),
            LinkError::Data(error) => unanswered(error),
        }
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        match &error {
            HistoryError::Cursor(invalid) => blamed("cursor", invalid),
            HistoryError::NoSuch(..) => Self::not_found(error.to_string()),
            HistoryError::Data(error) => unanswered(error),
            HistoryError::Corrupt { .. } => Self::unexpected(&error),
        }
    }
}

/// The error's own text names the value.
fn blamed(field: &'static str, error: &impl std::fmt::Display) -> Problem {
    let allowed = match field {
        "url" => "an https URL that leads to a public address",
        "event_types" => "patterns of words joined by dots, like `invoice.paid`, `invoice.*` or `*`",
        "filter" => "an expression like `amount_minor >= 10000 and currency == \"EUR\"`",
        "schema" => "a JSON Schema of the keywords in docs/api.md",
        "example" | "payload" => "what the schema of its type describes",
        "event_type" => "a type that may be published, and for a test one that was declared with an example",
        "secret" => "`whsec_` and 24 to 64 bytes in base64, or `whsk_` and an Ed25519 key pair in base64",
        _ => "the `next` of a page of this list, or nothing to start",
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", "A field has a value that is not allowed")
        .field(field, Value::Null, allowed)
        .detail(format!("`{field}`: {error}"))
}

fn unanswered(error: &sqlx::Error) -> Problem {
    tracing::warn!(%error, "a request was refused because of the database");
    Problem::unavailable("the database did not answer; try the same request again later", DATA_RETRY)
}

fn key_busy() -> Problem {
    let title = "The first request with this key is being worked on";
    Problem::new(StatusCode::CONFLICT, "idempotency-key-in-use", title)
        .detail("a request with this `Idempotency-Key` has not been answered yet; repeat this one to get its reply")
        .retry_after(KEY_RETRY)
}

fn key_reused() -> Problem {
    let title = "The key was used for another request";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", title)
        .detail("this `Idempotency-Key` came before with another method, path or body; use a new key for a new request")
}
