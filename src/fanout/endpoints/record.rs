//! An endpoint as operators see it, and the row it is read from.

use serde::Serialize;
use sqlx::FromRow;

use super::super::Pattern;
use super::EndpointError;
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
    /// Gets events, or not.
    pub state: EndpointState,
    /// Why it is disabled.
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
    /// It does not; deliveries that were under way are cancelled.
    Disabled,
}

pub(in super::super) fn to_json(patterns: &[Pattern]) -> String {
    serde_json::Value::from_iter(patterns.iter().map(Pattern::to_string)).to_string()
}

#[derive(FromRow)]
pub(super) struct Row {
    id: String,
    tenant: String,
    url: String,
    description: String,
    event_types: String,
    state: String,
    reason: Option<String>,
    declared: i64,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for Endpoint {
    type Error = EndpointError;

    fn try_from(row: Row) -> Result<Self, EndpointError> {
        let corrupt = |detail: String| EndpointError::Corrupt { id: row.id.clone(), detail };
        let event_types = serde_json::from_str(&row.event_types).map_err(|e| corrupt(format!("event_types: {e}")))?;
        let state = match row.state.as_str() {
            "enabled" => EndpointState::Enabled,
            "disabled" => EndpointState::Disabled,
            other => return Err(corrupt(format!("state `{other}`"))),
        };
        Ok(Self {
            id: row.id,
            tenant: row.tenant,
            url: row.url,
            description: row.description,
            event_types,
            state,
            reason: row.reason,
            declared: row.declared != 0,
            created_at: Timestamp::from_ms(row.created_at),
            updated_at: Timestamp::from_ms(row.updated_at),
        })
    }
}
