//! Why a consumer does not get what was asked for: a page in plain words, or a field of a form to blame.
//!
//! What went wrong on our side is told to the log, not to a stranger.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};

use super::view::Note;
use super::words;
use crate::fanout::endpoints::EndpointError;
use crate::fanout::event_types::EventTypeError;
use crate::fanout::history::HistoryError;
use crate::fanout::recovery::RecoveryError;
use crate::pages;
use crate::queue::EnqueueError;
use crate::store::StoreError;

/// Asked to wait when a store did not answer.
const LATER: Duration = Duration::from_secs(5);

/// Why.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no link or session that is good now")]
    Outside,
    #[error("the form did not come from this session's own page")]
    Foreign,
    #[error("the link is for looking only")]
    ReadOnly,
    #[error("no such thing of this tenant")]
    Missing,
    #[error("no HTML form")]
    NoForm,
    #[error("the body could not be read: {0}")]
    Body(StatusCode),
    #[error("not a form that is served here: {0}")]
    BadForm(&'static str),
    #[error("the form was sent before")]
    SentBefore,
    #[error("too many changes; again in {0:?}")]
    TooMany(Duration),
    #[error("too many requests; again in {0:?}")]
    TooFast(Duration),
    #[error("{0}")]
    NotNow(&'static str),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    EventType(#[from] EventTypeError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database did not answer: {0}")]
    Data(#[from] sqlx::Error),
}

/// A field of a form, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) field: &'static str,
    pub(super) says: String,
}

impl Trouble {
    /// The field to blame, where there is one; anything else goes on as it is.
    pub(super) fn fault(self) -> Result<Fault, Self> {
        let fault = |field, says: String| Ok(Fault { field, says });
        match self {
            Self::Endpoint(EndpointError::Invalid { field, allowed, .. }) => {
                fault(field, format!("Allowed: {allowed}."))
            }
            Self::Endpoint(EndpointError::Url(refused)) => fault("url", words::of_url(&refused)),
            Self::Endpoint(EndpointError::Pattern(invalid)) => {
                fault("event_types", words::sentence(&invalid.to_string()))
            }
            Self::Endpoint(EndpointError::Filter(invalid)) => fault("filter", words::sentence(&invalid.to_string())),
            other => Err(other),
        }
    }

    /// Says that what was looked for is not there; anything else goes on as it is.
    pub(super) fn missing(self) -> Result<(), Self> {
        match self {
            Self::Missing | Self::Endpoint(EndpointError::NoSuchEndpoint(_)) => Ok(()),
            other => Err(other),
        }
    }

    fn told(&self) -> (StatusCode, &'static str, String) {
        use StatusCode as S;
        let told = |status, title, text: &str| (status, title, text.to_owned());
        match self {
            Self::Outside => told(
                S::FORBIDDEN,
                "This link is not good any more",
                "It has ended, was taken back, or was not copied whole. Ask whoever gave it to you for a new one.",
            ),
            Self::Foreign => told(
                S::FORBIDDEN,
                "Nothing was changed",
                "This form does not belong to your present session. Open the page again and repeat it there.",
            ),
            Self::ReadOnly => told(S::FORBIDDEN, "Nothing was changed", "Your link is for looking only."),
            Self::Missing => {
                told(S::NOT_FOUND, "There is no such thing", "It may have been removed, or the address is wrong.")
            }
            Self::NoForm => told(
                S::UNSUPPORTED_MEDIA_TYPE,
                "Nothing was changed",
                "Only the forms of this page are understood here.",
            ),
            Self::Body(status) => told(*status, "Nothing was changed", "What was sent is too large, or broke off."),
            Self::BadForm(what) => {
                (S::BAD_REQUEST, "Nothing was changed", format!("What was sent is no form of this page: {what}."))
            }
            Self::SentBefore => told(
                S::CONFLICT,
                "This form was sent before",
                "It was not carried out a second time. A secret that was shown then is not shown again; \
                 rotate it if you did not keep it.",
            ),
            Self::TooMany(_) => told(
                S::TOO_MANY_REQUESTS,
                "A moment, please",
                "Too many changes were made in a short time. Wait a little.",
            ),
            Self::TooFast(_) => told(
                S::TOO_MANY_REQUESTS,
                "A moment, please",
                "Too many pages were asked for in a short time by this link. Wait a little and load the page again.",
            ),
            Self::NotNow(text) => told(S::CONFLICT, "Not possible just now", text),
            Self::Endpoint(EndpointError::TooManySecrets(_)) => told(
                S::CONFLICT,
                "The secret was not rotated",
                "Too many older secrets still sign. Wait until the oldest one runs out.",
            ),
            Self::Endpoint(EndpointError::TooManyEndpoints { limit, .. }) => (
                S::CONFLICT,
                "No more endpoints",
                format!("There may be {limit} of them, and you have as many. Delete one that you need no more."),
            ),
            Self::Recovery(RecoveryError::NotEnabled(_, state)) => (
                S::CONFLICT,
                "Nothing was sent",
                format!("The endpoint is {state}. It gets nothing until it is active again."),
            ),
            Self::Recovery(RecoveryError::Endpoint(EndpointError::NoSuchEndpoint(_))) => {
                told(S::CONFLICT, "Nothing was sent", "The endpoint of this delivery was removed.")
            }
            Self::Endpoint(EndpointError::NoSuchEndpoint(_)) | Self::Recovery(RecoveryError::NoSuchDelivery(_)) => {
                Self::Missing.told()
            }
            Self::Endpoint(EndpointError::Cursor(_)) | Self::History(HistoryError::Cursor(_)) => told(
                S::BAD_REQUEST,
                "There is no such page",
                "The list has changed or the address is wrong. Begin at its top.",
            ),
            other if other.is_passing() => told(
                S::SERVICE_UNAVAILABLE,
                "Not available just now",
                "Nothing was lost. Please try the same again in a moment.",
            ),
            _ => {
                told(S::INTERNAL_SERVER_ERROR, "Something failed on our side", "It was noted. Please try again later.")
            }
        }
    }

    /// Says whether trying again later may help.
    fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Data(_)
                | Self::Store(StoreError::Unavailable { .. } | StoreError::Full { .. } | StoreError::ReadOnly { .. })
                | Self::Endpoint(EndpointError::Data(_))
                | Self::EventType(EventTypeError::Data(_))
                | Self::History(HistoryError::Data(_))
                | Self::Recovery(
                    RecoveryError::Data(_)
                        | RecoveryError::Endpoint(EndpointError::Data(_))
                        | RecoveryError::Enqueue(EnqueueError::Store(_))
                )
        )
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let (status, title, text) = self.told();
        if status.is_server_error() {
            tracing::error!(error = %self, "the consumers' page could not answer");
        }
        let mut response = pages::page(status, &Note::new(title, text, !matches!(self, Self::Outside)));
        let wait = match self {
            Self::TooMany(wait) | Self::TooFast(wait) => Some(wait),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(LATER),
        };
        if let Some(wait) = wait {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
