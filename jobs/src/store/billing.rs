//! `stripe_subscriptions` and `stripe_invoices`: the mirror that webhooks keep.
//!
//! Each row remembers the [`Mark`] of the event it came from, and no smaller mark replaces it. Marks have a total order
//! and an equal mark is the same event, so any order of the same events, with any repeats, ends in the same mirror.

use tidemill::clock::Timestamp;
use tidemill::data::{Database, Tx};
use tidemill::{on_pool, on_tx};

use super::ms;
use crate::clients::stripe::{Invoice, Subscription};

/// The place of an event in the order in which events win: by time, then by rank (Stripe's times are whole seconds),
/// then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark<'a> {
    /// When it happened.
    pub at: Timestamp,
    /// Which wins within one second.
    pub rank: i64,
    /// `evt_…`
    pub event_id: &'a str,
}

/// A subscription as the mirror has it, the fields that are compared.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct SubscriptionRow {
    /// `sub_…`
    pub id: String,
    /// `cus_…`
    pub customer: String,
    /// Stripe's word.
    pub status: String,
    /// Lower case.
    pub currency: Option<String>,
    /// What a period costs.
    pub amount_minor: Option<i64>,
    /// When the period ends, ms.
    pub period_end: Option<i64>,
    /// It ends with the period.
    pub cancel_at_period_end: bool,
    /// When it was made, ms.
    pub created_at: Option<i64>,
    /// When this row last changed, ms.
    pub updated_at: i64,
    /// The event it is of.
    pub event_id: String,
}

/// An invoice as the mirror has it, the fields that are compared.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct InvoiceRow {
    /// `in_…`
    pub id: String,
    /// Stripe's word.
    pub status: Option<String>,
    /// Lower case.
    pub currency: String,
    /// Asked for.
    pub amount_due: i64,
    /// Received.
    pub amount_paid: i64,
    /// Outstanding.
    pub amount_remaining: i64,
    /// When this row last changed, ms.
    pub updated_at: i64,
    /// The event it is of.
    pub event_id: String,
}

/// Keeps a subscription, unless a greater mark is there. False: it was.
///
/// # Errors
/// When the database did not take it.
pub async fn keep_subscription(
    tx: &mut Tx,
    s: &Subscription,
    mark: Mark<'_>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query(
            "insert into stripe_subscriptions
                 (id, customer, status, currency, amount_minor, price, period_start, period_end,
                  cancel_at_period_end, latest_invoice, created_at, event_at, event_rank, event_id, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
             on conflict (id) do update set
                 customer = excluded.customer, status = excluded.status, currency = excluded.currency,
                 amount_minor = excluded.amount_minor, price = excluded.price,
                 period_start = excluded.period_start, period_end = excluded.period_end,
                 cancel_at_period_end = excluded.cancel_at_period_end, latest_invoice = excluded.latest_invoice,
                 created_at = excluded.created_at, event_at = excluded.event_at,
                 event_rank = excluded.event_rank, event_id = excluded.event_id, updated_at = excluded.updated_at
             where (excluded.event_at, excluded.event_rank, excluded.event_id)
                 >= (stripe_subscriptions.event_at, stripe_subscriptions.event_rank, stripe_subscriptions.event_id)",
        )
        .bind(&s.id)
        .bind(&s.customer)
        .bind(&s.status)
        .bind(s.currency())
        .bind(s.amount_minor())
        .bind(s.price())
        .bind(ms(s.period_start()))
        .bind(ms(s.period_end()))
        .bind(s.cancel_at_period_end)
        .bind(s.latest_invoice.as_deref())
        .bind(ms(s.created_at()))
        .bind(mark.at.as_ms())
        .bind(mark.rank)
        .bind(mark.event_id)
        .bind(now.as_ms())
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
    })
}

/// Keeps an invoice, unless a greater mark is there. False: it was.
///
/// # Errors
/// When the database did not take it.
pub async fn keep_invoice(tx: &mut Tx, i: &Invoice, mark: Mark<'_>, now: Timestamp) -> Result<bool, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query(
            "insert into stripe_invoices
                 (id, customer, subscription, status, currency, amount_due, amount_paid, amount_remaining,
                  attempt_count, next_attempt_at, billing_reason, created_at, event_at, event_rank, event_id,
                  updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
             on conflict (id) do update set
                 customer = excluded.customer, subscription = excluded.subscription, status = excluded.status,
                 currency = excluded.currency, amount_due = excluded.amount_due,
                 amount_paid = excluded.amount_paid, amount_remaining = excluded.amount_remaining,
                 attempt_count = excluded.attempt_count, next_attempt_at = excluded.next_attempt_at,
                 billing_reason = excluded.billing_reason, created_at = excluded.created_at,
                 event_at = excluded.event_at, event_rank = excluded.event_rank, event_id = excluded.event_id,
                 updated_at = excluded.updated_at
             where (excluded.event_at, excluded.event_rank, excluded.event_id)
                 >= (stripe_invoices.event_at, stripe_invoices.event_rank, stripe_invoices.event_id)",
        )
        .bind(&i.id)
        .bind(i.customer.as_deref())
        .bind(i.subscription())
        .bind(i.status.as_deref())
        .bind(&i.currency)
        .bind(i.amount_due)
        .bind(i.amount_paid)
        .bind(i.amount_remaining)
        .bind(i.attempt_count)
        .bind(ms(i.next_attempt_at()))
        .bind(i.billing_reason.as_deref())
        .bind(i.created_at().as_ms())
        .bind(mark.at.as_ms())
        .bind(mark.rank)
        .bind(mark.event_id)
        .bind(now.as_ms())
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
    })
}

/// A page of the mirror's subscriptions in the order of their ids, after `after` (empty: from the first).
///
/// # Errors
/// When the database did not answer.
pub async fn subscriptions(db: &Database, after: &str, limit: u32) -> Result<Vec<SubscriptionRow>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select id, customer, status, currency, amount_minor, period_end, cancel_at_period_end, created_at,
                    updated_at, event_id
             from stripe_subscriptions where id > $1 order by id limit $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
    })
}

/// One subscription.
///
/// # Errors
/// When the database did not answer.
pub async fn subscription(db: &Database, id: &str) -> Result<Option<SubscriptionRow>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select id, customer, status, currency, amount_minor, period_end, cancel_at_period_end, created_at,
                    updated_at, event_id
             from stripe_subscriptions where id = $1",
        )
        .bind(id)
        .fetch_optional(pool)
        .await
    })
}

/// A page of the mirror's invoices created in `from..until`, in the order of their ids, after `after`.
///
/// # Errors
/// When the database did not answer.
pub async fn invoices(
    db: &Database,
    (from, until): (Timestamp, Timestamp),
    after: &str,
    limit: u32,
) -> Result<Vec<InvoiceRow>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select id, status, currency, amount_due, amount_paid, amount_remaining, updated_at, event_id
             from stripe_invoices where id > $1 and created_at >= $2 and created_at < $3 order by id limit $4",
        )
        .bind(after)
        .bind(from.as_ms())
        .bind(until.as_ms())
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
    })
}

/// One invoice.
///
/// # Errors
/// When the database did not answer.
pub async fn invoice(db: &Database, id: &str) -> Result<Option<InvoiceRow>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select id, status, currency, amount_due, amount_paid, amount_remaining, updated_at, event_id
             from stripe_invoices where id = $1",
        )
        .bind(id)
        .fetch_optional(pool)
        .await
    })
}
