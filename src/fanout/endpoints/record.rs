//! An endpoint as operators see it, and the row it is read from.

use serde::Serialize;
use sqlx::FromRow;

use super::super::deliver::{Sending, SendingRow};
use super::super::{Filter, InvalidFilter, Pattern};
use super::EndpointError;
use super::headers::HeadersRow;
use super::settings::Texts;
use crate::clock::Timestamp;

/// Where events of a tenant go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Endpoint {
    /// `ep_…`.
    pub id: String,
    /// Whose events it gets.
    pub tenant: String,
    /// Where they are POSTed.
    pub url: String,
    /// For people.
    pub description: String,
    /// Which ones.
    pub event_types: Vec<Pattern>,
    /// Which of those, by their payload.
    pub filter: Option<Filter>,
    /// Sent with every POST: the names. What their values are is not shown, since one may be a credential.
    pub headers: Texts,
    /// With `X-Acme`, `X-Acme-Signature` and its like are sent beside `webhook-signature`.
    pub header_prefix: Option<String>,
    /// The caller's own notes.
    pub metadata: Texts,
    /// How it is sent to.
    pub sending: Sending,
    /// Gets events, or not.
    pub state: EndpointState,
    /// Why it is disabled or paused.
    pub reason: Option<String>,
    /// It stands in the configuration.
    pub declared: bool,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Whether an endpoint gets events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It does.
    Enabled,
    /// Its deliveries wait until it is enabled again.
    Paused,
    /// It does not; deliveries that were under way are cancelled.
    Disabled,
}

/// The reasons with which an endpoint is disabled for what its receiver answers.
pub(in super::super) const GONE: &str = "the receiver answered 410 Gone";
pub(in super::super) const ASKED_TO_STOP: &str = "the receiver answered `webhook-delivery: disable`";
/// A time follows.
pub(in super::super) const SILENT_SINCE: &str = "no POST has been answered with 2xx since ";

impl Endpoint {
    /// Says whether it is disabled because of its receiver's answers, and not by a person or the configuration.
    pub fn was_given_up(&self) -> bool {
        let given_up = |reason: &str| reason == GONE || reason == ASKED_TO_STOP || reason.starts_with(SILENT_SINCE);
        self.state == EndpointState::Disabled && self.reason.as_deref().is_some_and(given_up)
    }
}

pub(in super::super) fn to_json(patterns: &[Pattern]) -> String {
    serde_json::Value::from_iter(patterns.iter().map(Pattern::to_string)).to_string()
}

/// Endpoints as they are read, after `where`.
macro_rules! endpoint_where {
    ($rest:literal) => {
        concat!(
            "select e.id, e.tenant, e.url, e.description, e.event_types, e.filter, e.headers, e.headers_key,
                    e.headers_sealed, e.header_prefix, e.metadata, e.pause_reason, e.state, e.reason, e.declared,
                    e.created_at, e.updated_at,
                    s.ordering, s.max_concurrency, s.rate_limit, s.rate_window_ms, s.retry_delays_ms
             from endpoints e left join endpoint_delivery s on s.endpoint_id = e.id where ",
            $rest
        )
    };
}
pub(in super::super) use endpoint_where;

#[derive(Debug, FromRow)]
pub(in super::super) struct Row {
    id: String,
    tenant: String,
    url: String,
    description: String,
    event_types: String,
    filter: Option<String>,
    #[sqlx(flatten)]
    pub(in super::super) headers: HeadersRow,
    header_prefix: Option<String>,
    metadata: String,
    pause_reason: Option<String>,
    state: String,
    reason: Option<String>,
    declared: i64,
    created_at: i64,
    updated_at: i64,
    #[sqlx(flatten)]
    sending: SendingRow,
}

impl Row {
    pub(in super::super) fn id(&self) -> &str {
        &self.id
    }
}

impl TryFrom<Row> for Endpoint {
    type Error = EndpointError;

    fn try_from(row: Row) -> Result<Self, EndpointError> {
        let corrupt = |detail: String| EndpointError::Corrupt { id: row.id.clone(), detail };
        let event_types = serde_json::from_str(&row.event_types).map_err(|e| corrupt(format!("event_types: {e}")))?;
        let filter = row.filter.as_deref().map(str::parse).transpose();
        let filter = filter.map_err(|e: InvalidFilter| corrupt(format!("filter: {e}")))?;
        let headers = row.headers.names().map_err(|e| corrupt(format!("headers: {e}")))?;
        let metadata = serde_json::from_str(&row.metadata).map_err(|e| corrupt(format!("metadata: {e}")))?;
        let sending = row.sending.read().ok_or_else(|| corrupt("how it is sent to".to_owned()))?;
        let state = match (row.state.as_str(), &row.pause_reason) {
            ("enabled", None) => EndpointState::Enabled,
            ("enabled", Some(_)) => EndpointState::Paused,
            ("disabled", _) => EndpointState::Disabled,
            (other, _) => return Err(corrupt(format!("state `{other}`"))),
        };
        Ok(Self {
            id: row.id,
            tenant: row.tenant,
            url: row.url,
            description: row.description,
            event_types,
            state,
            filter,
            headers,
            header_prefix: row.header_prefix,
            metadata,
            sending,
            reason: row.reason.or(row.pause_reason),
            declared: row.declared != 0,
            created_at: Timestamp::from_ms(row.created_at),
            updated_at: Timestamp::from_ms(row.updated_at),
        })
    }
}
