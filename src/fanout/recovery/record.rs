//! A recovery as operators see it, and the row it is read from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::clock::Timestamp;

/// Sending again what one endpoint did not get, or shall get again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// `rcv_…`.
    pub id: String,
    /// Whose endpoint it is.
    pub tenant: String,
    /// `ep_…`.
    pub endpoint_id: String,
    /// What is sent again.
    pub what: What,
    /// Of `one`: which.
    pub delivery_id: Option<String>,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How far it has come between the two.
    pub reached: Timestamp,
    /// Where it is.
    pub state: RecoveryState,
    /// Why it failed.
    pub reason: Option<String>,
    /// Deliveries or messages that were looked at.
    pub looked_at: u64,
    /// Deliveries that got a new job.
    pub sent_again: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// The last id that was looked at.
    #[serde(skip)]
    pub(super) cursor: String,
}

/// What is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// One delivery.
    One,
    /// Deliveries that were exhausted or cancelled.
    Failed,
    /// Messages that the endpoint wants and that no delivery was opened for: it was disabled, or not there yet.
    Missed,
    /// Every message that the endpoint wants, those that it has too.
    All,
    /// Deliveries that wait or are being retried: at once, after a pause.
    Backlog,
}

/// Where a recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryState {
    /// Its job works on it, or waits for its turn.
    Running,
    /// Everything has its job.
    Completed,
    /// Somebody has ended it; what was sent stays sent.
    Cancelled,
    /// The endpoint was disabled or deleted meanwhile.
    Failed,
}

impl What {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Failed => "failed",
            Self::Missed => "missed",
            Self::All => "all",
            Self::Backlog => "backlog",
        }
    }

    /// Walks over messages; the others walk over deliveries.
    pub(super) const fn walks_messages(self) -> bool {
        matches!(self, Self::Missed | Self::All)
    }

    /// What the ids it walks over begin with.
    pub(super) const fn prefix(self) -> &'static str {
        if self.walks_messages() { "msg_" } else { "dlv_" }
    }
}

/// A word that names nothing to send again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` can't be sent again; allowed: failed, missed, all, backlog")]
pub struct InvalidWhat(String);

impl FromStr for What {
    type Err = InvalidWhat;

    fn from_str(text: &str) -> Result<Self, InvalidWhat> {
        let all = [Self::One, Self::Failed, Self::Missed, Self::All, Self::Backlog];
        all.into_iter().find(|w| w.as_str() == text).ok_or_else(|| InvalidWhat(text.chars().take(80).collect()))
    }
}

impl fmt::Display for RecoveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        })
    }
}

#[derive(FromRow)]
pub(super) struct Row {
    id: String,
    tenant: String,
    endpoint_id: String,
    what: String,
    delivery_id: Option<String>,
    since: i64,
    until: i64,
    state: String,
    reason: Option<String>,
    cursor: String,
    looked_at: i64,
    sent_again: i64,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for Recovery {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let unreadable = |what: &str| sqlx::Error::Decode(format!("recovery {} has {what}", row.id).into());
        let what = row.what.parse().map_err(|e: InvalidWhat| unreadable(&e.to_string()))?;
        let state = match row.state.as_str() {
            "running" => RecoveryState::Running,
            "completed" => RecoveryState::Completed,
            "cancelled" => RecoveryState::Cancelled,
            "failed" => RecoveryState::Failed,
            other => return Err(unreadable(&format!("state `{other}`"))),
        };
        let (since, until) = (Timestamp::from_ms(row.since), Timestamp::from_ms(row.until));
        // Ids begin with their time: twelve hex digits behind the prefix.
        let at = row.cursor.get(4..16).and_then(|hex| i64::from_str_radix(hex, 16).ok());
        let reached = if state == RecoveryState::Completed { until } else { at.map_or(since, Timestamp::from_ms) };
        Ok(Self {
            id: row.id,
            tenant: row.tenant,
            endpoint_id: row.endpoint_id,
            what,
            delivery_id: row.delivery_id,
            since,
            until,
            reached: reached.clamp(since.min(until), until),
            state,
            reason: row.reason,
            looked_at: u64::try_from(row.looked_at).unwrap_or(0),
            sent_again: u64::try_from(row.sent_again).unwrap_or(0),
            created_at: Timestamp::from_ms(row.created_at),
            updated_at: Timestamp::from_ms(row.updated_at),
            cursor: row.cursor,
        })
    }
}
