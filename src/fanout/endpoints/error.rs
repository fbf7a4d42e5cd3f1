//! What may be wrong with an endpoint, and the limits that say so.

use super::super::deliver::SendingError;
use super::super::event::is_tenant;
use super::super::{InvalidCursor, InvalidFilter, InvalidPattern, InvalidSecret, Pattern, UrlRefused};
use crate::sealing::SealError;

const MAX_PATTERNS: usize = 100;
const MAX_DESCRIPTION: usize = 500;
/// Keeps the signature header short.
pub(super) const MAX_LIVE_SECRETS: i64 = 10;

/// Why a call on endpoints did nothing.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A field is out of range.
    #[error("{field} is {value}; allowed: {allowed}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What was given, cut at 80 characters.
        value: String,
        /// What would be accepted.
        allowed: &'static str,
    },
    /// The URL breaks a rule.
    #[error("url: {0}")]
    Url(#[from] UrlRefused),
    /// A pattern that is none.
    #[error("event_types: {0}")]
    Pattern(#[from] InvalidPattern),
    /// A filter that is none.
    #[error("filter: {0}")]
    Filter(#[from] InvalidFilter),
    /// A secret that is none.
    #[error("secret: {0}")]
    Secret(#[from] InvalidSecret),
    /// A cursor that is none.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// There is none with this id.
    #[error("there is no endpoint `{0}`")]
    NoSuchEndpoint(String),
    /// The tenant has as many as are allowed.
    #[error("tenant `{tenant}` has {limit} endpoints, as many as it may; delete some first")]
    TooManyEndpoints {
        /// Whose.
        tenant: String,
        /// How many there may be.
        limit: u64,
    },
    /// Too many rotations within the overlap.
    #[error("endpoint `{0}` has {MAX_LIVE_SECRETS} live secrets, which is the limit; wait until the oldest runs out")]
    TooManySecrets(String),
    /// A secret was not sealed or opened.
    #[error("secret `{id}` can't be sealed or opened: {source}")]
    Sealed {
        /// Which one.
        id: String,
        /// Why.
        source: SealError,
    },
    /// The database did not take it.
    #[error("the database did not answer: {0}")]
    Data(#[from] sqlx::Error),
    /// A row that can't be read.
    #[error("endpoint `{id}` is unreadable in the database: {detail}")]
    Corrupt {
        /// Which one.
        id: String,
        /// What is wrong.
        detail: String,
    },
}

impl From<SendingError> for EndpointError {
    fn from(error: SendingError) -> Self {
        match error {
            SendingError::Invalid { field, value, allowed } => Self::Invalid { field, value, allowed },
            SendingError::NoSuchEndpoint(id) => Self::NoSuchEndpoint(id),
            SendingError::Corrupt(id) => Self::Corrupt { id, detail: "how it is sent to".to_owned() },
            SendingError::Data(error) => Self::Data(error),
        }
    }
}

pub(in super::super) fn check_tenant(tenant: &str) -> Result<(), EndpointError> {
    if is_tenant(tenant) { Ok(()) } else { Err(invalid("tenant", tenant, "1 to 64 of a-z A-Z 0-9 _ - .")) }
}

pub(in super::super) fn check_description(text: &str) -> Result<(), EndpointError> {
    if text.len() <= MAX_DESCRIPTION && !text.contains('\0') {
        return Ok(());
    }
    Err(invalid("description", text, "at most 500 bytes without NUL"))
}

pub(in super::super) fn parse_patterns(texts: &[String]) -> Result<Vec<Pattern>, EndpointError> {
    if texts.is_empty() || texts.len() > MAX_PATTERNS {
        let value = format!("a list of {}", texts.len());
        return Err(EndpointError::Invalid { field: "event_types", value, allowed: "1 to 100 patterns; `*` for all" });
    }
    Ok(texts.iter().map(|t| t.parse()).collect::<Result<_, _>>()?)
}

pub(in super::super) fn invalid(field: &'static str, value: &str, allowed: &'static str) -> EndpointError {
    EndpointError::Invalid { field, value: format!("`{}`", value.chars().take(80).collect::<String>()), allowed }
}
