//! `plaid_items`, `bank_accounts`, `bank_transactions`: bank connections and what they brought.
//!
//! [`apply`] is the one writer of bookings and cursor, in one transaction, and only when the cursor still is the one
//! that the changes were read from; so no change is lost, and none is applied from a stale place.

mod rows;

use secrecy::SecretString;
use tidemill::clock::Timestamp;
use tidemill::data::{Database, Tx};
use tidemill::{on_pool, on_tx};

use tidemill::sealing::Sealed;

pub use rows::{AccountRow, BookingRow, accounts, bookings, save_accounts};

/// How a bank connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemStatus {
    /// It works.
    Active,
    /// The user must log in again.
    LoginRequired,
    /// The institution has locked the user out.
    Locked,
    /// The user has not given access to what is asked for.
    AccessNotGranted,
    /// The user has taken the permission back.
    Revoked,
    /// There are no accounts (any more).
    NoAccounts,
    /// It will not work again.
    Broken,
}

impl ItemStatus {
    const ALL: [Self; 7] = [
        Self::Active,
        Self::LoginRequired,
        Self::Locked,
        Self::AccessNotGranted,
        Self::Revoked,
        Self::NoAccounts,
        Self::Broken,
    ];

    /// The word that the table has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::LoginRequired => "login_required",
            Self::Locked => "locked",
            Self::AccessNotGranted => "access_not_granted",
            Self::Revoked => "revoked",
            Self::NoAccounts => "no_accounts",
            Self::Broken => "broken",
        }
    }
}

/// A bank connection.
#[derive(Clone, Debug)]
pub struct Item {
    /// Plaid's id for it.
    pub item_id: String,
    /// Whose it is.
    pub tenant: String,
    /// How it is doing.
    pub status: ItemStatus,
    /// Where the next sync begins.
    pub cursor: Option<String>,
    /// Its access token.
    pub token: Sealed,
}

impl Item {
    /// What its token is sealed for.
    pub fn seal_context(&self) -> String {
        seal_context(&self.tenant, &self.item_id)
    }
}

/// What a token is sealed for: it opens in the row of this tenant and item only.
pub fn seal_context(tenant: &str, item_id: &str) -> String {
    format!("{tenant}|{item_id}")
}

/// A bank connection with the token in the open, for [`add_item`].
#[derive(Clone, Debug)]
pub struct NewItem<'a> {
    /// Plaid's id for it.
    pub item_id: &'a str,
    /// Whose it is.
    pub tenant: &'a str,
    /// `ins_3`
    pub institution: Option<&'a str>,
    /// Its access token; sealed before it is kept.
    pub token: &'a SecretString,
}

/// What [`apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Bookings and cursor are kept.
    Done,
    /// Somebody else has moved the cursor meanwhile; nothing was changed.
    Overtaken,
}

/// One step of what a loop of `/transactions/sync` brought; steps are applied in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// New or changed.
    Upsert(Box<BookingRow>),
    /// Gone.
    Remove(String),
}

/// Keeps a bank connection; one that is known gets the new token and is active again, its cursor stays.
///
/// # Errors
/// When the token can't be sealed, the item belongs to another tenant, or the database did not take it.
pub async fn add_item(
    db: &Database,
    sealer: &tidemill::sealing::Sealer,
    entropy: &tidemill::clock::Entropy,
    item: &NewItem<'_>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let sealed = sealer.seal(&seal_context(item.tenant, item.item_id), item.token, entropy)?;
    let done = on_pool!(db.write(), pool => {
        sqlx::query(
            "insert into plaid_items
                 (item_id, tenant, institution, status, status_at, token_key_id, token_sealed, created_at)
             values ($1, $2, $3, 'active', $4, $5, $6, $4)
             on conflict (item_id) do update set
                 institution = excluded.institution, status = 'active', status_reason = null,
                 status_at = excluded.status_at, token_key_id = excluded.token_key_id,
                 token_sealed = excluded.token_sealed
             where plaid_items.tenant = excluded.tenant",
        )
        .bind(item.item_id)
        .bind(item.tenant)
        .bind(item.institution)
        .bind(now.as_ms())
        .bind(&sealed.key_id)
        .bind(&sealed.bytes)
        .execute(pool)
        .await?
        .rows_affected()
    });
    anyhow::ensure!(done == 1, "item `{}` belongs to another tenant", item.item_id);
    Ok(())
}

/// One bank connection.
///
/// # Errors
/// When the database did not answer.
pub async fn item(db: &Database, item_id: &str) -> Result<Option<Item>, sqlx::Error> {
    type Row = (String, String, Option<String>, String, Vec<u8>);
    let row: Option<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select tenant, status, cursor, token_key_id, token_sealed from plaid_items where item_id = $1",
        )
        .bind(item_id)
        .fetch_optional(pool)
        .await?
    });
    row.map(|(tenant, status, cursor, key_id, bytes)| {
        let status = ItemStatus::ALL
            .into_iter()
            .find(|s| s.as_str() == status)
            .ok_or_else(|| super::unreadable("plaid_items.status", &status))?;
        Ok(Item { item_id: item_id.to_owned(), tenant, status, cursor, token: Sealed { key_id, bytes } })
    })
    .transpose()
}

/// A page of the active connections as (item, tenant), in the order of their ids, after `after`.
///
/// # Errors
/// When the database did not answer.
pub async fn active_items(db: &Database, after: &str, limit: u32) -> Result<Vec<(String, String)>, sqlx::Error> {
    on_pool!(db.read(), pool => {
        sqlx::query_as(
            "select item_id, tenant from plaid_items where status = 'active' and item_id > $1
             order by item_id limit $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
    })
}

/// Says how a connection is doing. False: there is none of this id.
///
/// # Errors
/// When the database did not take it.
pub async fn set_status(
    db: &Database,
    item_id: &str,
    status: ItemStatus,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    on_pool!(db.write(), pool => {
        sqlx::query(
            "update plaid_items
             set status_at = case when status = $2 then status_at else $4 end, status = $2, status_reason = $3
             where item_id = $1",
        )
        .bind(item_id)
        .bind(status.as_str())
        .bind(reason)
        .bind(now.as_ms())
        .execute(pool)
        .await
        .map(|done| done.rows_affected() == 1)
    })
}

/// Applies what was read from cursor `from` on, and moves the cursor to `to`: all of it, or nothing.
///
/// # Errors
/// When the database did not take it.
pub async fn apply(
    db: &Database,
    item_id: &str,
    (from, to): (Option<&str>, Option<&str>),
    changes: &[Change],
    now: Timestamp,
) -> Result<Applied, sqlx::Error> {
    let mut tx = db.begin().await?;
    // First, so that a stale writer stops before it has written anything.
    if !move_cursor(&mut tx, item_id, (from, to), now).await? {
        return Ok(Applied::Overtaken);
    }
    for change in changes {
        match change {
            Change::Upsert(booking) => rows::upsert(&mut tx, item_id, booking, now).await?,
            Change::Remove(gone) => drop(rows::remove(&mut tx, item_id, gone, now).await?),
        }
    }
    tx.commit().await?;
    Ok(Applied::Done)
}

async fn move_cursor(
    tx: &mut Tx,
    item_id: &str,
    (from, to): (Option<&str>, Option<&str>),
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query(
            "update plaid_items set cursor = $3, synced_at = $4
             where item_id = $1 and cursor is not distinct from $2",
        )
        .bind(item_id)
        .bind(from)
        .bind(to)
        .bind(now.as_ms())
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
    })
}
