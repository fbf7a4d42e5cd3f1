//! What was sent: lists of messages, deliveries and attempts, newest first, for operators.
//!
//! Each list walks an index by id; what the index can't answer is filtered from a bounded number of rows
//! (see [`Page`]).

use super::{InvalidCursor, Page, PageRequest};
use crate::data::Database;
use crate::on_pool;

// Before the modules, which use them too.
macro_rules! message_columns {
    () => {
        "id, tenant, event_id, event_type, body, created_at, fanned_at"
    };
}
macro_rules! delivery_columns {
    () => {
        "id, message_id, endpoint_id, tenant, state, attempts, next_at, last_status, last_error, created_at, updated_at"
    };
}
/// The lines of the delivery `$1` below the id `$2`: those in the log, and those of POSTs under way.
macro_rules! lines {
    () => {
        "select id, delivery_id, attempt, at, ended_at, node, host, address, reused, status, error_class, error, duration_ms,
                dns_ms, connect_ms, tls_ms, first_byte_ms, next_at, reply
         from delivery_attempts where delivery_id = $1 and id < $2
         union all
         select id, delivery_id, attempt, at, null, node, host, null, null, null, null, null, null,
                null, null, null, null, null, ''
         from delivery_posts
         where endpoint_id = (select endpoint_id from deliveries where id = $1) and delivery_id = $1 and id < $2"
    };
}

pub mod of_tenant;
mod record;

use record::{AttemptRow, DeliveryRow, MessageRow};
pub use record::{Delivery, DeliveryAttempt, DeliveryState, InvalidDeliveryState, Message};

macro_rules! by {
    ($column:literal) => {
        concat!(
            "select ",
            delivery_columns!(),
            " from deliveries where ",
            $column,
            " and id < $2 order by id desc limit $3"
        )
    };
}

/// Which deliveries; all that is named must fit.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of this message.
    pub message: Option<String>,
    /// To this endpoint.
    pub endpoint: Option<String>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// In this state.
    pub state: Option<DeliveryState>,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A cursor that is none.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// There is none with this id, or retention has taken it.
    #[error("there is no {0} `{1}` (any more)")]
    NoSuch(&'static str, String),
    /// The database did not answer.
    #[error("the database did not answer: {0}")]
    Data(#[from] sqlx::Error),
    /// A row that can't be read.
    #[error("`{id}` is unreadable in the database: {detail}")]
    Corrupt {
        /// Which row.
        id: String,
        /// What is wrong.
        detail: String,
    },
}

/// A page of messages, all or of one tenant.
///
/// # Errors
/// When the cursor is none.
pub async fn messages(db: &Database, tenant: Option<&str>, page: &PageRequest) -> Result<Page<Message>, HistoryError> {
    let (below, look) = (page.below("msg_")?, page.look(false));
    let rows: Vec<MessageRow> = on_pool!(db.read(), pool => match tenant {
        Some(tenant) => sqlx::query_as(concat!(
            "select ", message_columns!(), " from messages where tenant = $1 and id < $2 order by id desc limit $3"
        ))
        .bind(tenant)
        .bind(below)
        .bind(look)
        .fetch_all(pool)
        .await?,
        None => sqlx::query_as(concat!(
            "select ", message_columns!(), " from messages where id < $1 order by id desc limit $2"
        ))
        .bind(below)
        .bind(look)
        .fetch_all(pool)
        .await?,
    });
    Ok(Page::of(rows.into_iter().map(Message::from).collect(), page, look, |m| &m.id, |_| true))
}

/// One message.
///
/// # Errors
/// When the database does not answer.
pub async fn message(db: &Database, id: &str) -> Result<Option<Message>, HistoryError> {
    let row: Option<MessageRow> = on_pool!(db.read(), pool => {
        sqlx::query_as(concat!("select ", message_columns!(), " from messages where id = $1"))
            .bind(id)
            .fetch_optional(pool)
            .await?
    });
    Ok(row.map(Message::from))
}

/// A page of deliveries.
///
/// # Errors
/// When the cursor is none.
pub async fn deliveries(
    db: &Database,
    filter: &DeliveryFilter,
    page: &PageRequest,
) -> Result<Page<Delivery>, HistoryError> {
    let named = [filter.message.is_some(), filter.endpoint.is_some(), filter.tenant.is_some(), filter.state.is_some()];
    // Those that succeeded are nearly all there are, and have no index of their own.
    let succeeded = filter.state == Some(DeliveryState::Succeeded);
    let filtered = succeeded || named.into_iter().filter(|n| *n).count() > 1;
    let (below, look) = (page.below("dlv_")?, page.look(filtered));
    // The narrowest index first: a message has few deliveries, a state worth asking for (exhausted) is rare.
    let (text, key) = if let Some(message) = &filter.message {
        (by!("message_id = $1"), Some(message.as_str()))
    } else if let Some(state) = filter.state.filter(|state| *state != DeliveryState::Succeeded) {
        (by!("state <> 'succeeded' and state = $1"), Some(state.as_str()))
    } else if let Some(endpoint) = &filter.endpoint {
        (by!("endpoint_id = $1"), Some(endpoint.as_str()))
    } else if let Some(tenant) = &filter.tenant {
        (by!("tenant = $1"), Some(tenant.as_str()))
    } else {
        (concat!("select ", delivery_columns!(), " from deliveries where id < $1 order by id desc limit $2"), None)
    };
    let rows: Vec<DeliveryRow> = on_pool!(db.read(), pool => match key {
        Some(key) => sqlx::query_as(text).bind(key).bind(below).bind(look).fetch_all(pool).await?,
        None => sqlx::query_as(text).bind(below).bind(look).fetch_all(pool).await?,
    });
    let rows = rows.into_iter().map(Delivery::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(rows, page, look, |d| &d.id, |d| filter.fits(d)))
}

/// One delivery.
///
/// # Errors
/// When there is none.
pub async fn delivery(db: &Database, id: &str) -> Result<Delivery, HistoryError> {
    let row: Option<DeliveryRow> = on_pool!(db.read(), pool => {
        sqlx::query_as(concat!("select ", delivery_columns!(), " from deliveries where id = $1"))
            .bind(id)
            .fetch_optional(pool)
            .await?
    });
    row.ok_or_else(|| HistoryError::NoSuch("delivery", id.chars().take(80).collect()))?.try_into()
}

/// A page of the attempts of one delivery.
///
/// # Errors
/// When the cursor is none.
pub async fn attempts(
    db: &Database,
    delivery: &str,
    page: &PageRequest,
) -> Result<Page<DeliveryAttempt>, HistoryError> {
    let (below, look) = (page.below("att_")?, page.look(false));
    let rows: Vec<AttemptRow> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            concat!("select * from (", lines!(), ") l order by id desc limit $3"),
        )
        .bind(delivery)
        .bind(below)
        .bind(look)
        .fetch_all(pool)
        .await?
    });
    Ok(Page::of(rows.into_iter().map(DeliveryAttempt::from).collect(), page, look, |a| &a.id, |_| true))
}

impl DeliveryFilter {
    fn fits(&self, delivery: &Delivery) -> bool {
        self.message.as_ref().is_none_or(|m| *m == delivery.message_id)
            && self.endpoint.as_ref().is_none_or(|e| *e == delivery.endpoint_id)
            && self.tenant.as_ref().is_none_or(|t| *t == delivery.tenant)
            && self.state.is_none_or(|s| s == delivery.state)
    }
}
