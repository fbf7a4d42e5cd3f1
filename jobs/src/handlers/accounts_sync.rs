//! `accounts.sync`: one bank connection's balances and bookings, from Plaid.
//!
//! The payload names the connection and nothing else; the access token is opened from the database for the time of the
//! run. What a loop of pages brings is kept with its last cursor in one transaction, so a failure anywhere before
//! that costs a repeat and loses nothing. A connection that needs its user is marked so, and not tried for nothing.

use std::time::Duration;

use anyhow::anyhow;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tidemill::clock::Timestamp;
use tidemill::job::{Done, JobError, JobKind, JobSpec, PayloadError};
use tidemill::worker::{Context, Handler};

use crate::app::{App, PlaidAccess};
use crate::clients::plaid::{Account, Plaid, SyncPage, Transaction, is_mutation};
use crate::clients::{CallError, Meaning};
use crate::money::{Currency, MoneyError};
use crate::store::accounts::{self, AccountRow, Applied, BookingRow, Change, Item, ItemStatus};

/// How often the loop starts again because the data changed between its pages, before the attempt is given up.
const MAX_RESTARTS: u32 = 3;
/// 200 pages of 500: more in one loop is not a bank account.
const MAX_PAGES: usize = 200;
/// How long a new connection may be "not ready" before the job leaves it to the next scheduled one.
const WAIT_FOR_READY: Duration = Duration::from_secs(3600);
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Syncs one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountsSync {
    /// Plaid's id for it.
    pub item: String,
}

impl JobKind for AccountsSync {
    const KIND: &'static str = "accounts.sync";
    const QUEUE: &'static str = "medium_priority";
    const MAX_ATTEMPTS: u32 = 8;
    const TIMEOUT: Duration = Duration::from_secs(600);
}

impl AccountsSync {
    /// The job that a person or a webhook asks for, `delay` from now; one at a time for each connection.
    ///
    /// # Errors
    /// When the item's id is too long for a payload.
    pub fn on_demand(item: &str, tenant: &str, delay: Duration) -> Result<JobSpec, PayloadError> {
        let key = format!("accounts.sync:{item}:on-demand");
        Ok(JobSpec::of(&Self { item: item.to_owned() })?.tenant(tenant).after(delay).unique(&key))
    }

    /// The job that the schedule asks for. Its key is its own, so that a delayed one does not hold it up; that two
    /// never mix is the cursor's doing.
    pub(super) fn scheduled(item: &str, tenant: &str) -> Result<JobSpec, PayloadError> {
        let key = format!("accounts.sync:{item}");
        Ok(JobSpec::of(&Self { item: item.to_owned() })?.tenant(tenant).unique(&key))
    }
}

/// What a sync brought; the job's result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Accounts whose balances were kept.
    pub accounts: usize,
    /// Bookings new or changed.
    pub upserted: usize,
    /// Bookings gone.
    pub removed: usize,
    /// False: Plaid is still preparing the connection's history.
    pub ready: bool,
}

impl Handler for AccountsSync {
    type State = App;

    async fn run(self, ctx: Context, app: &App) -> Result<Done, JobError> {
        let report = sync(app, &self.item, ctx.tenant(), ctx.clock().now()).await?;
        if !report.ready && ctx.clock().now().since(ctx.created_at()) < WAIT_FOR_READY {
            return Err(JobError::snooze(ASK_AGAIN, "Plaid is still preparing the connection's history"));
        }
        Ok(Done::with(report))
    }
}

/// One sync, for a job of `tenant`.
///
/// # Errors
/// As the failure is meant: dead, cancelled, or try again.
pub async fn sync(app: &App, item_id: &str, tenant: Option<&str>, now: Timestamp) -> Result<Report, JobError> {
    let PlaidAccess { client, sealer } = app.plaid()?;
    let item = accounts::item(&app.db, item_id).await?;
    let item = item.ok_or_else(|| JobError::cancelled(format!("there is no bank connection `{item_id}`")))?;
    if tenant.is_some_and(|t| t != item.tenant) {
        return Err(JobError::dead(anyhow!("bank connection `{item_id}` belongs to another tenant")));
    }
    let token = sealer
        .open(&item.seal_context(), &item.token)
        .map_err(|e| JobError::dead(anyhow!("the access token of `{item_id}` can't be read: {e}")))?;
    match balances_and_bookings(app, client, &token, &item, now).await {
        Ok(report) => {
            if item.status != ItemStatus::Active {
                accounts::set_status(&app.db, item_id, ItemStatus::Active, None, now).await?;
            }
            Ok(report)
        }
        Err(Failure::Call(error)) => Err(troubled(app, &item, error, now).await?),
        Err(Failure::Job(error)) => Err(error),
    }
}

enum Failure {
    Call(CallError),
    Job(JobError),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Job(JobError::retry(error))
    }
}

impl From<MoneyError> for Failure {
    fn from(error: MoneyError) -> Self {
        Self::Job(JobError::dead(error))
    }
}

async fn balances_and_bookings(
    app: &App,
    plaid: &Plaid,
    token: &SecretString,
    item: &Item,
    now: Timestamp,
) -> Result<Report, Failure> {
    let found = plaid.balances(token).await?;
    let rows = found.iter().map(account_row).collect::<Result<Vec<_>, _>>()?;
    if !accounts::save_accounts(&app.db, &item.item_id, &rows, now).await? {
        return Err(Failure::Job(JobError::cancelled(format!("bank connection `{}` is gone", item.item_id))));
    }
    let from = item.cursor.as_deref();
    let Some(Collected { changes, next }) = collect(plaid, token, from).await? else {
        return Ok(Report { accounts: rows.len(), ..Report::default() });
    };
    match accounts::apply(&app.db, &item.item_id, (from, Some(&next)), &changes, now).await? {
        Applied::Overtaken => {
            Err(Failure::Job(JobError::retry(anyhow!("another sync of `{}` was faster", item.item_id))))
        }
        Applied::Done => {
            let removed = changes.iter().filter(|c| matches!(c, Change::Remove(_))).count();
            let upserted = changes.len() - removed;
            Ok(Report { accounts: rows.len(), upserted, removed, ready: true })
        }
    }
}

struct Collected {
    changes: Vec<Change>,
    next: String,
}

/// Reads all pages from `first` on; again from `first` when the data changed between two of them. `None`: not ready.
async fn collect(plaid: &Plaid, token: &SecretString, first: Option<&str>) -> Result<Option<Collected>, Failure> {
    for _ in 0..MAX_RESTARTS {
        match pages(plaid, token, first).await {
            Err(Failure::Call(error)) if is_mutation(&error) => {}
            other => return other,
        }
    }
    pages(plaid, token, first).await
}

async fn pages(plaid: &Plaid, token: &SecretString, first: Option<&str>) -> Result<Option<Collected>, Failure> {
    let (mut changes, mut cursor) = (Vec::new(), first.map(str::to_owned));
    for _ in 0..MAX_PAGES {
        let page = plaid.sync(token, cursor.as_deref()).await?;
        if page.next_cursor.is_empty() {
            return Ok(None);
        }
        let (next, more) = (page.next_cursor.clone(), page.has_more);
        take(page, &mut changes)?;
        if !more {
            return Ok(Some(Collected { changes, next }));
        }
        cursor = Some(next);
    }
    Err(Failure::Job(JobError::dead(anyhow!("more than {MAX_PAGES} pages of bookings in one sync"))))
}

fn take(page: SyncPage, into: &mut Vec<Change>) -> Result<(), MoneyError> {
    for transaction in page.added.iter().chain(&page.modified) {
        into.push(Change::Upsert(Box::new(booking_row(transaction)?)));
    }
    into.extend(page.removed.into_iter().map(|gone| Change::Remove(gone.transaction_id)));
    Ok(())
}

/// Marks the connection when its user or its end is the reason, and decides what becomes of the job. A job that waits
/// for its user is cancelled, not dead: no operator can help.
async fn troubled(app: &App, item: &Item, error: CallError, now: Timestamp) -> Result<JobError, sqlx::Error> {
    let status = match (error.meaning, error.code.as_deref()) {
        (Meaning::Retryable { .. }, _) | (Meaning::Permanent, None) => return Ok(error.decision()),
        (Meaning::UserAction, Some("ITEM_LOCKED")) => ItemStatus::Locked,
        (Meaning::UserAction, Some("ACCESS_NOT_GRANTED")) => ItemStatus::AccessNotGranted,
        (Meaning::UserAction, Some("USER_PERMISSION_REVOKED")) => ItemStatus::Revoked,
        (Meaning::UserAction, Some("NO_ACCOUNTS")) => ItemStatus::NoAccounts,
        (Meaning::UserAction, _) => ItemStatus::LoginRequired,
        (Meaning::Permanent, Some("INVALID_ACCESS_TOKEN" | "ITEM_NOT_FOUND" | "ITEM_NOT_SUPPORTED")) => {
            ItemStatus::Broken
        }
        // Wrong keys and wrong requests say nothing about the connection.
        (Meaning::Permanent, Some(_)) => return Ok(error.decision()),
    };
    accounts::set_status(&app.db, &item.item_id, status, Some(&error.detail), now).await?;
    Ok(match status {
        ItemStatus::Broken => error.decision(),
        _ => JobError::cancelled(format!("waits for the user ({}): {}", status.as_str(), error.detail)),
    })
}

fn account_row(account: &Account) -> Result<AccountRow, MoneyError> {
    let currency = account.balances.currency()?;
    let minor = |amount: Option<crate::money::Exact>| amount.map(|a| currency.minor_rounded(a.0)).transpose();
    Ok(AccountRow {
        account_id: account.account_id.clone(),
        name: account.name.clone(),
        mask: account.mask.clone(),
        kind: account.kind.clone(),
        subtype: account.subtype.clone(),
        available_minor: minor(account.balances.available)?,
        current_minor: minor(account.balances.current)?,
        limit_minor: minor(account.balances.limit)?,
        places: places(&currency),
        currency: currency.code().to_owned(),
    })
}

fn booking_row(t: &Transaction) -> Result<BookingRow, MoneyError> {
    let currency = t.currency()?;
    Ok(BookingRow {
        transaction_id: t.transaction_id.clone(),
        account_id: t.account_id.clone(),
        amount_minor: currency.minor(t.amount.0)?,
        places: places(&currency),
        currency: currency.code().to_owned(),
        date: t.date.to_string(),
        authorized_date: t.authorized_date.map(|d| d.to_string()),
        name: t.name.clone(),
        merchant: t.merchant_name.clone(),
        category: t.category().map(str::to_owned),
        pending: t.pending,
        pending_transaction_id: t.pending_transaction_id.clone(),
    })
}

fn places(currency: &Currency) -> i64 {
    i64::from(currency.places())
}
