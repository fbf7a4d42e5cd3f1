//! What one tenant may see of its own: every statement here is bound to the tenant, and another one's id is as good as unknown.
//!
//! For the consumers' page, where the tenant is a stranger. Nothing here is looked for in an index that other tenants share
//! the rows of: neither a page's length nor its cursor tells of them.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use sqlx::FromRow;

use super::super::{Page, PageRequest};
use super::record::{AttemptRow, DeliveryRow, MessageRow};
use super::{Delivery, DeliveryAttempt, DeliveryState, HistoryError, Message};
use crate::clock::Timestamp;
use crate::data::Database;
use crate::on_pool;

/// Deliveries and what they bring, after `where`.
macro_rules! sent {
    ($rest:literal) => {
        concat!(
            "select d.id, d.message_id, d.endpoint_id, d.tenant, d.state, d.attempts, d.next_at, d.last_status, d.last_error,
                    d.created_at, d.updated_at, m.event_type, m.event_id
             from deliveries d join messages m on m.id = d.message_id where ",
            $rest
        )
    };
}

/// The deliveries of each endpoint that [`pulses`] looks at.
const LAST: i64 = 100;

/// A delivery, and what it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The delivery.
    pub delivery: Delivery,
    /// The type of its event.
    pub event_type: String,
    /// The publisher's id of the event.
    pub event_id: String,
}

/// How an endpoint does, by its last hundred deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// When one of them came through last.
    pub last_success: Option<Timestamp>,
    /// When one of them failed last.
    pub last_failure: Option<Timestamp>,
    /// How many came through.
    pub succeeded: u32,
    /// How many failed, for now or for good.
    pub failed: u32,
    /// How many were not tried yet.
    pub pending: u32,
}

/// One of the tenant's deliveries; it may be gone.
///
/// # Errors
/// When the database does not answer.
pub async fn delivery(db: &Database, tenant: &str, id: &str) -> Result<Option<Sent>, HistoryError> {
    let row: Option<SentRow> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            sent!("d.id = $1 and d.tenant = $2 and m.tenant = $2"),
        )
        .bind(id)
        .bind(tenant)
        .fetch_optional(pool)
        .await?
    });
    row.map(Sent::try_from).transpose()
}

/// One of the tenant's messages, with its body; it may be gone.
///
/// # Errors
/// When the database does not answer.
pub async fn message(db: &Database, tenant: &str, id: &str) -> Result<Option<Message>, HistoryError> {
    let row: Option<MessageRow> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            concat!("select ", message_columns!(), " from messages where id = $1 and tenant = $2"),
        )
        .bind(id)
        .bind(tenant)
        .fetch_optional(pool)
        .await?
    });
    Ok(row.map(Message::from))
}

/// A page of what the tenant was sent at one endpoint, newest first; with `state`, only what is in it.
///
/// # Errors
/// When the cursor is none.
pub async fn deliveries(
    db: &Database,
    tenant: &str,
    endpoint: &str,
    state: Option<DeliveryState>,
    page: &PageRequest,
) -> Result<Page<Sent>, HistoryError> {
    // By the endpoint's own index, and the state picked from a bounded number of rows.
    let (below, look) = (page.below("dlv_")?, page.look(state.is_some()));
    let rows: Vec<SentRow> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            sent!("d.endpoint_id = $1 and d.id < $2 and d.tenant = $3 and m.tenant = $3 order by d.id desc limit $4"),
        )
        .bind(endpoint)
        .bind(below)
        .bind(tenant)
        .bind(look)
        .fetch_all(pool)
        .await?
    });
    let rows = rows.into_iter().map(Sent::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(rows, page, look, |s| &s.delivery.id, |s| state.is_none_or(|state| s.delivery.state == state)))
}

/// A page of the attempts of one of the tenant's deliveries, newest first.
///
/// # Errors
/// When the cursor is none.
pub async fn attempts(
    db: &Database,
    tenant: &str,
    delivery: &str,
    page: &PageRequest,
) -> Result<Page<DeliveryAttempt>, HistoryError> {
    let (below, look) = (page.below("att_")?, page.look(false));
    let rows: Vec<AttemptRow> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            concat!(
                "select * from (", lines!(),
                ") l where exists (select 1 from deliveries where id = $1 and tenant = $4) order by id desc limit $3"
            ),
        )
        .bind(delivery)
        .bind(below)
        .bind(look)
        .bind(tenant)
        .fetch_all(pool)
        .await?
    });
    Ok(Page::of(rows.into_iter().map(DeliveryAttempt::from).collect(), page, look, |a| &a.id, |_| true))
}

/// How the tenant's endpoints do, those with ids from the first to the last: all of a page in one statement. One that is not in
/// the answer was never sent anything.
///
/// # Errors
/// When the database does not answer.
pub async fn pulses(
    db: &Database,
    tenant: &str,
    endpoints: RangeInclusive<&str>,
) -> Result<HashMap<String, Pulse>, HistoryError> {
    let rows: Vec<(String, String, i64)> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            // Each endpoint's last ones by its own index; a window function would walk all that it was ever sent.
            "select d.endpoint_id, d.state, d.updated_at
             from endpoints e join deliveries d on d.id in
               (select l.id from deliveries l where l.endpoint_id = e.id and l.tenant = $1 order by l.id desc limit $2)
             where e.tenant = $1 and e.id between $3 and $4",
        )
        .bind(tenant)
        .bind(LAST)
        .bind(*endpoints.start())
        .bind(*endpoints.end())
        .fetch_all(pool)
        .await?
    });
    let mut pulses: HashMap<String, Pulse> = HashMap::new();
    for (endpoint, state, at) in rows {
        pulses.entry(endpoint).or_default().count(&state, Timestamp::from_ms(at));
    }
    Ok(pulses)
}

impl Pulse {
    fn count(&mut self, state: &str, at: Timestamp) {
        match state {
            "succeeded" => (self.succeeded, self.last_success) = (self.succeeded + 1, self.last_success.max(Some(at))),
            "failed" | "exhausted" => {
                (self.failed, self.last_failure) = (self.failed + 1, self.last_failure.max(Some(at)))
            }
            "pending" => self.pending += 1,
            _ => {}
        }
    }
}

#[derive(FromRow)]
struct SentRow {
    #[sqlx(flatten)]
    delivery: DeliveryRow,
    event_type: String,
    event_id: String,
}

impl TryFrom<SentRow> for Sent {
    type Error = HistoryError;

    fn try_from(row: SentRow) -> Result<Self, HistoryError> {
        Ok(Self { delivery: row.delivery.try_into()?, event_type: row.event_type, event_id: row.event_id })
    }
}
