//! The accounts and bookings of an item, row by row.

use serde::Serialize;
use tidemill::clock::Timestamp;
use tidemill::data::{Database, Tx};
use tidemill::{on_pool, on_tx};

/// An account with its last balances, in minor units of a currency with `places` decimals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct AccountRow {
    /// Plaid's id for it.
    pub account_id: String,
    /// Its name.
    pub name: String,
    /// The last digits of its number.
    pub mask: Option<String>,
    /// `depository`, …
    pub kind: String,
    /// `checking`, …
    pub subtype: Option<String>,
    /// Upper case.
    pub currency: String,
    /// Decimal places of the minor unit.
    pub places: i64,
    /// May be spent.
    pub available_minor: Option<i64>,
    /// Is there.
    pub current_minor: Option<i64>,
    /// Credit limit.
    pub limit_minor: Option<i64>,
}

/// A booking; a positive amount is money out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct BookingRow {
    /// Plaid's id for it.
    pub transaction_id: String,
    /// The account it is on.
    pub account_id: String,
    /// Minor units.
    pub amount_minor: i64,
    /// Upper case.
    pub currency: String,
    /// Decimal places of the minor unit.
    pub places: i64,
    /// `2026-01-31`
    pub date: String,
    /// Likewise.
    pub authorized_date: Option<String>,
    /// As the institution describes it.
    pub name: String,
    /// The merchant.
    pub merchant: Option<String>,
    /// Plaid's detailed category.
    pub category: Option<String>,
    /// Not booked yet.
    pub pending: bool,
    /// The pending one that became this.
    pub pending_transaction_id: Option<String>,
}

/// Keeps the accounts of an item and their balances, all or nothing. False: there is no such item.
///
/// # Errors
/// When the database did not take it.
pub async fn save_accounts(
    db: &Database,
    item_id: &str,
    accounts: &[AccountRow],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let mut tx = db.begin().await?;
    let known = on_tx!(&mut tx, conn => {
        sqlx::query("update plaid_items set balances_at = $2 where item_id = $1")
            .bind(item_id)
            .bind(now.as_ms())
            .execute(conn)
            .await?
            .rows_affected()
    });
    if known != 1 {
        return Ok(false);
    }
    for account in accounts {
        save_account(&mut tx, item_id, account, now).await?;
    }
    tx.commit().await?;
    Ok(true)
}

async fn save_account(tx: &mut Tx, item_id: &str, a: &AccountRow, now: Timestamp) -> Result<(), sqlx::Error> {
    let done = on_tx!(tx, conn => {
        sqlx::query(
            "insert into bank_accounts
                 (account_id, item_id, name, mask, kind, subtype, currency, places,
                  available_minor, current_minor, limit_minor, observed_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             on conflict (account_id) do update set
                 name = excluded.name, mask = excluded.mask, kind = excluded.kind, subtype = excluded.subtype,
                 currency = excluded.currency, places = excluded.places,
                 available_minor = excluded.available_minor, current_minor = excluded.current_minor,
                 limit_minor = excluded.limit_minor, observed_at = excluded.observed_at
             where bank_accounts.item_id = excluded.item_id",
        )
        .bind(&a.account_id)
        .bind(item_id)
        .bind(&a.name)
        .bind(a.mask.as_deref())
        .bind(&a.kind)
        .bind(a.subtype.as_deref())
        .bind(&a.currency)
        .bind(a.places)
        .bind(a.available_minor)
        .bind(a.current_minor)
        .bind(a.limit_minor)
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    belongs(done, "bank_accounts", &a.account_id)
}

pub(super) async fn upsert(tx: &mut Tx, item_id: &str, b: &BookingRow, now: Timestamp) -> Result<(), sqlx::Error> {
    let done = on_tx!(tx, conn => {
        sqlx::query(
            "insert into bank_transactions
                 (transaction_id, item_id, account_id, amount_minor, currency, places, date, authorized_date, name,
                  merchant, category, pending, pending_transaction_id, updated_at, removed_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, null)
             on conflict (transaction_id) do update set
                 account_id = excluded.account_id, amount_minor = excluded.amount_minor,
                 currency = excluded.currency, places = excluded.places, date = excluded.date,
                 authorized_date = excluded.authorized_date, name = excluded.name, merchant = excluded.merchant,
                 category = excluded.category, pending = excluded.pending,
                 pending_transaction_id = excluded.pending_transaction_id, updated_at = excluded.updated_at,
                 removed_at = null
             where bank_transactions.item_id = excluded.item_id",
        )
        .bind(&b.transaction_id)
        .bind(item_id)
        .bind(&b.account_id)
        .bind(b.amount_minor)
        .bind(&b.currency)
        .bind(b.places)
        .bind(&b.date)
        .bind(b.authorized_date.as_deref())
        .bind(&b.name)
        .bind(b.merchant.as_deref())
        .bind(b.category.as_deref())
        .bind(b.pending)
        .bind(b.pending_transaction_id.as_deref())
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    belongs(done, "bank_transactions", &b.transaction_id)
}

/// Marks a booking as gone. One that is not here, or is marked already, needs no mark: zero rows are fine.
pub(super) async fn remove(tx: &mut Tx, item_id: &str, id: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query(
            "update bank_transactions set removed_at = $3
             where transaction_id = $1 and item_id = $2 and removed_at is null",
        )
        .bind(id)
        .bind(item_id)
        .bind(now.as_ms())
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
    })
}

/// The accounts of an item, in the order of their ids.
///
/// # Errors
/// When the database did not answer.
pub async fn accounts(db: &Database, item_id: &str) -> Result<Vec<AccountRow>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select account_id, name, mask, kind, subtype, currency, places,
                    available_minor, current_minor, limit_minor
             from bank_accounts where item_id = $1 order by account_id",
        )
        .bind(item_id)
        .fetch_all(pool)
        .await
    })
}

/// A page of an item's bookings that are not gone, in the order of their ids, after `after`.
///
/// # Errors
/// When the database did not answer.
pub async fn bookings(db: &Database, item_id: &str, after: &str, limit: u32) -> Result<Vec<BookingRow>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select transaction_id, account_id, amount_minor, currency, places, date, authorized_date, name,
                    merchant, category, pending, pending_transaction_id
             from bank_transactions where item_id = $1 and removed_at is null and transaction_id > $2
             order by transaction_id limit $3",
        )
        .bind(item_id)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
    })
}

fn belongs(rows: u64, table: &'static str, id: &str) -> Result<(), sqlx::Error> {
    if rows == 1 {
        return Ok(());
    }
    Err(sqlx::Error::Protocol(format!("row `{id}` of {table} belongs to another item")))
}
