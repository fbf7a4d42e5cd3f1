//! Messages, deliveries and attempts as operators see them, and the rows they are read from.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use sqlx::FromRow;

use super::HistoryError;
use crate::clock::Timestamp;

/// Something that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `msg_…`, sent as `webhook-id`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The publisher's id.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// JSON text as it is POSTed.
    pub body: String,
    /// When it was published.
    pub created_at: Timestamp,
    /// When every matching endpoint had its delivery.
    pub fanned_at: Option<Timestamp>,
}

/// One message on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// `dlv_…`.
    pub id: String,
    /// `msg_…`.
    pub message_id: String,
    /// `ep_…`; it may be gone.
    pub endpoint_id: String,
    /// Whose it is.
    pub tenant: String,
    /// Where it is.
    pub state: DeliveryState,
    /// POSTs that have ended.
    pub attempts: u32,
    /// When a failed one is tried again.
    pub next_at: Option<Timestamp>,
    /// The last status that came back.
    pub last_status: Option<u16>,
    /// Why none came back, or why it was cancelled.
    pub last_error: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Where a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Not tried yet.
    Pending,
    /// Tried in vain; another attempt lies ahead.
    Failed,
    /// The receiver has it.
    Succeeded,
    /// Every attempt was in vain.
    Exhausted,
    /// Its endpoint was disabled or deleted first.
    Cancelled,
}

/// One POST. Its line is opened before it is made: without `ended_at` it is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryAttempt {
    /// `att_…`.
    pub id: String,
    /// `dlv_…`.
    pub delivery_id: String,
    /// The job's attempt, from 1.
    pub attempt: u32,
    /// When it began.
    pub at: Timestamp,
    /// When its outcome was logged.
    pub ended_at: Option<Timestamp>,
    /// The worker that made it.
    pub node: String,
    /// The URL's host.
    pub host: String,
    /// Address and port that the connection went to.
    pub address: Option<String>,
    /// The connection had been used before.
    pub reused: Option<bool>,
    /// What came back.
    pub status: Option<u16>,
    /// Why nothing did: `timeout`, `dns`, `connect`, `tls`, `broken`, `stopped` with its job, `interrupted` when its process
    /// died (the receiver may have got it), or `refused` when the guard let nothing out.
    pub error_class: Option<String>,
    /// The same in words.
    pub error: Option<String>,
    /// From DNS to the last byte read.
    pub duration_ms: Option<u64>,
    /// Resolving and vetting the host; none where the connection was there.
    pub dns_ms: Option<u64>,
    /// Opening the connection.
    pub connect_ms: Option<u64>,
    /// The TLS handshake.
    pub tls_ms: Option<u64>,
    /// From the beginning to the status line.
    pub first_byte_ms: Option<u64>,
    /// When the delivery is tried again because of this.
    pub next_at: Option<Timestamp>,
    /// The reply's first KiB.
    pub reply: String,
}

impl DeliveryState {
    /// All of them, in the order of a delivery's life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Failed, Self::Succeeded, Self::Exhausted, Self::Cancelled];

    /// The state's one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no delivery state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a delivery state; allowed: pending, failed, succeeded, exhausted, cancelled")]
pub struct InvalidDeliveryState(String);

impl FromStr for DeliveryState {
    type Err = InvalidDeliveryState;

    fn from_str(text: &str) -> Result<Self, InvalidDeliveryState> {
        let found = Self::ALL.into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| InvalidDeliveryState(text.chars().take(80).collect()))
    }
}

#[derive(FromRow)]
pub(super) struct MessageRow {
    id: String,
    tenant: String,
    event_id: String,
    event_type: String,
    body: String,
    created_at: i64,
    fanned_at: Option<i64>,
}

impl From<MessageRow> for Message {
    fn from(row: MessageRow) -> Self {
        Self {
            id: row.id,
            tenant: row.tenant,
            event_id: row.event_id,
            event_type: row.event_type,
            body: row.body,
            created_at: Timestamp::from_ms(row.created_at),
            fanned_at: row.fanned_at.map(Timestamp::from_ms),
        }
    }
}

#[derive(FromRow)]
pub(super) struct DeliveryRow {
    id: String,
    message_id: String,
    endpoint_id: String,
    tenant: String,
    state: String,
    attempts: i64,
    next_at: Option<i64>,
    last_status: Option<i64>,
    last_error: Option<String>,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = HistoryError;

    fn try_from(row: DeliveryRow) -> Result<Self, HistoryError> {
        let state = row
            .state
            .parse()
            .map_err(|e: InvalidDeliveryState| HistoryError::Corrupt { id: row.id.clone(), detail: e.to_string() })?;
        Ok(Self {
            id: row.id,
            message_id: row.message_id,
            endpoint_id: row.endpoint_id,
            tenant: row.tenant,
            state,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            next_at: row.next_at.map(Timestamp::from_ms),
            last_status: row.last_status.and_then(|s| u16::try_from(s).ok()),
            last_error: row.last_error,
            created_at: Timestamp::from_ms(row.created_at),
            updated_at: Timestamp::from_ms(row.updated_at),
        })
    }
}

#[derive(FromRow)]
pub(super) struct AttemptRow {
    id: String,
    delivery_id: String,
    attempt: i64,
    at: i64,
    ended_at: Option<i64>,
    node: String,
    host: String,
    address: Option<String>,
    reused: Option<i64>,
    status: Option<i64>,
    error_class: Option<String>,
    error: Option<String>,
    duration_ms: Option<i64>,
    dns_ms: Option<i64>,
    connect_ms: Option<i64>,
    tls_ms: Option<i64>,
    first_byte_ms: Option<i64>,
    next_at: Option<i64>,
    reply: String,
}

impl From<AttemptRow> for DeliveryAttempt {
    fn from(row: AttemptRow) -> Self {
        let ms = |ms: Option<i64>| ms.and_then(|ms| u64::try_from(ms).ok());
        Self {
            id: row.id,
            delivery_id: row.delivery_id,
            attempt: u32::try_from(row.attempt).unwrap_or(u32::MAX),
            at: Timestamp::from_ms(row.at),
            ended_at: row.ended_at.map(Timestamp::from_ms),
            node: row.node,
            host: row.host,
            address: row.address,
            reused: row.reused.map(|reused| reused != 0),
            status: row.status.and_then(|s| u16::try_from(s).ok()),
            error_class: row.error_class,
            error: row.error,
            duration_ms: ms(row.duration_ms),
            dns_ms: ms(row.dns_ms),
            connect_ms: ms(row.connect_ms),
            tls_ms: ms(row.tls_ms),
            first_byte_ms: ms(row.first_byte_ms),
            next_at: row.next_at.map(Timestamp::from_ms),
            reply: row.reply,
        }
    }
}
