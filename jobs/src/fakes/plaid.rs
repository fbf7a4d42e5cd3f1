//! Plaid: live balances and `/transactions/sync` with real cursors.
//!
//! Each item keeps a log of changes; a cursor is a place in that log together with the log's length when its loop
//! began, so that a change between two pages is noticed and refused as the real one does.

mod snapshot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tidemill::clock::{Clock, Timestamp};

use super::server::{Fake, FakeError};
use super::trouble::{Moods, meet};

/// What the fake's one client is called.
pub const CLIENT_ID: &str = "fake-plaid-client";
/// Its secret. Not one: everybody may read it.
pub const SECRET: &str = "fake-plaid-secret";

/// So many of the last cursors are remembered for [`Bank::cursors`].
const MAX_CURSORS: usize = 1_000;

/// The bank behind the fake. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Bank {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
    /// How it feels.
    pub moods: Moods,
}

#[derive(Debug, Default)]
struct Inner {
    items: BTreeMap<String, Item>,
    page_limit: Option<usize>,
    balance_limit: Option<usize>,
    next_page: Vec<(String, Entry)>,
    restless: Option<String>,
}

#[derive(Debug, Default)]
struct Item {
    item_id: String,
    accounts: Vec<Value>,
    log: Vec<Entry>,
    error: Option<(&'static str, &'static str)>,
    preparing: bool,
    balance_calls: Vec<Timestamp>,
    sync_cursors: Vec<String>,
}

#[derive(Clone, Debug)]
enum Entry {
    Added(Value),
    Modified(Value),
    Removed(String),
}

/// An answer that is not 200.
type Refusal = Box<Response>;

/// Starts the fake on `port` (0: a free one), without items.
///
/// # Errors
/// When the port can't be had.
pub async fn start(port: u16, clock: Clock) -> Result<Fake<Bank>, FakeError> {
    let bank = Bank { inner: Arc::default(), clock, moods: Moods::default() };
    let router = Router::new()
        .route("/accounts/balance/get", post(balance_get))
        .route("/transactions/sync", post(transactions_sync))
        .with_state(bank.clone())
        .layer(from_fn_with_state(bank.moods.clone(), meet));
    Fake::start("plaid", port, bank, router).await
}

impl Bank {
    /// Adds an item with one checking account, `<item_id>-checking`, that holds 110.00 USD.
    pub fn add_item(&self, item_id: &str, token: &str) {
        let account = json!({
            "account_id": format!("{item_id}-checking"), "mask": "0000", "name": "Plaid Checking",
            "official_name": "Plaid Gold Standard 0% Interest Checking", "type": "depository", "subtype": "checking",
            "balances": { "available": 100, "current": 110, "limit": null, "iso_currency_code": "USD",
                          "unofficial_currency_code": null },
        });
        let item = Item { item_id: item_id.to_owned(), accounts: vec![account], ..Item::default() };
        self.with(|b| b.items.insert(token.to_owned(), item));
    }

    /// Puts other accounts, as JSON, in the place of those that an item has.
    pub fn set_accounts(&self, token: &str, accounts: Vec<Value>) {
        self.item(token, |item| item.accounts = accounts);
    }

    /// Books something: `amount` as JSON number text, positive is money out.
    pub fn book(&self, token: &str, id: &str, amount: &str) {
        self.item(token, |item| {
            let booking = transaction(&item.item_id, id, amount);
            item.log.push(Entry::Added(booking));
        });
    }

    /// Changes a booking's amount.
    pub fn change(&self, token: &str, id: &str, amount: &str) {
        self.item(token, |item| {
            let booking = transaction(&item.item_id, id, amount);
            item.log.push(Entry::Modified(booking));
        });
    }

    /// Takes a booking away.
    pub fn remove(&self, token: &str, id: &str) {
        self.item(token, |item| item.log.push(Entry::Removed(id.to_owned())));
    }

    /// Books something right after the next page has been given out, in the middle of somebody's loop.
    pub fn book_after_next_page(&self, token: &str, id: &str, amount: &str) {
        let entry = self.item(token, |item| Entry::Added(transaction(&item.item_id, id, amount)));
        self.with(|b| b.next_page.push((token.to_owned(), entry)));
    }

    /// Something is booked after every page: no loop of more than one page ever ends.
    pub fn mutate_always(&self, token: &str, restless: bool) {
        self.with(|b| b.restless = restless.then(|| token.to_owned()));
    }

    /// Every call for this item fails with this type and code; `None`: no more.
    pub fn fail(&self, token: &str, error: Option<(&'static str, &'static str)>) {
        self.item(token, |item| item.error = error);
    }

    /// The item's history is not ready yet: an empty page with an empty cursor.
    pub fn preparing(&self, token: &str, preparing: bool) {
        self.item(token, |item| item.preparing = preparing);
    }

    /// No page is longer than this, whatever is asked for.
    pub fn page_limit(&self, limit: usize) {
        self.with(|b| b.page_limit = Some(limit));
    }

    /// So many live balances an item and minute.
    pub fn balance_limit(&self, limit: usize) {
        self.with(|b| b.balance_limit = Some(limit));
    }

    /// The cursors that syncs of an item came with, in order.
    pub fn cursors(&self, token: &str) -> Vec<String> {
        self.item(token, |item| item.sync_cursors.clone())
    }

    /// # Panics
    /// When there is no such item: whoever drives the fake has added it.
    fn item<T>(&self, token: &str, f: impl FnOnce(&mut Item) -> T) -> T {
        self.with(|b| match b.items.get_mut(token) {
            Some(item) => f(item),
            None => panic!("the fake bank has no item with the token `{token}`"),
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn balance_get(State(bank): State<Bank>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let now = bank.clock.now();
    bank.with(|b| {
        let limit = b.balance_limit;
        let item = find(b, &headers, &body)?;
        item.balance_calls.retain(|at| now.since(*at) < Duration::from_secs(60));
        if limit.is_some_and(|limit| item.balance_calls.len() >= limit) {
            return Err(refuse(429, "RATE_LIMIT_EXCEEDED", "BALANCE_LIMIT"));
        }
        item.balance_calls.push(now);
        let about = json!({ "item_id": item.item_id, "institution_id": "ins_3", "error": null });
        Ok(json!({ "accounts": item.accounts, "item": about, "request_id": "fake" }))
    })
    .map_or_else(|refusal| *refusal, |reply| Json(reply).into_response())
}

async fn transactions_sync(State(bank): State<Bank>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    bank.with(|b| {
        let limit = b.page_limit.unwrap_or(usize::MAX);
        let reply = sync(find(b, &headers, &body)?, &body, limit)?;
        let restless = b.restless.clone();
        if let Some(item) = restless.as_ref().and_then(|token| b.items.get_mut(token)) {
            let booking = transaction(&item.item_id, &format!("restless-{}", item.log.len()), "1");
            item.log.push(Entry::Added(booking));
        }
        for (token, entry) in std::mem::take(&mut b.next_page) {
            if let Some(item) = b.items.get_mut(&token) {
                item.log.push(entry);
            }
        }
        Ok(reply)
    })
    .map_or_else(|refusal: Refusal| *refusal, |reply| Json(reply).into_response())
}

fn sync(item: &mut Item, body: &Value, limit: usize) -> Result<Value, Refusal> {
    let count = body["count"].as_u64().unwrap_or(100);
    if !(1..=500).contains(&count) {
        return Err(refuse(400, "INVALID_REQUEST", "INVALID_FIELD"));
    }
    let cursor = body["cursor"].as_str().unwrap_or_default();
    item.sync_cursors.push(cursor.to_owned());
    if item.sync_cursors.len() > MAX_CURSORS {
        item.sync_cursors.remove(0);
    }
    if item.preparing {
        return Ok(page(&[], "", false, "NOT_READY"));
    }
    let (from, loop_end) = place(item, cursor)?;
    let count = usize::try_from(count).unwrap_or(500).min(limit);
    let end = (from + count).min(loop_end);
    let more = end < loop_end;
    // The last page's cursor is outside any loop: what comes after it is nobody's mutation.
    let next = if more { format!("{}:{end}:{loop_end}", item.item_id) } else { format!("{}:{end}", item.item_id) };
    Ok(page(&item.log[from..end], &next, more, "HISTORICAL_UPDATE_COMPLETE"))
}

/// Where a cursor stands, and where its loop ends.
fn place(item: &Item, cursor: &str) -> Result<(usize, usize), Refusal> {
    let now = item.log.len();
    if cursor.is_empty() {
        return Ok((0, now));
    }
    let foreign = || refuse(400, "INVALID_REQUEST", "INVALID_FIELD");
    let rest = cursor.strip_prefix(&format!("{}:", item.item_id)).ok_or_else(foreign)?;
    let (from, loop_end) = rest.split_once(':').map_or((rest, None), |(from, end)| (from, Some(end)));
    let from: usize = from.parse().ok().filter(|from| *from <= now).ok_or_else(foreign)?;
    match loop_end.map(|end| end.parse::<usize>().map_err(|_| foreign())).transpose()? {
        Some(end) if end != now => {
            Err(refuse(400, "TRANSACTIONS_ERROR", "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"))
        }
        _ => Ok((from, now)),
    }
}

fn page(entries: &[Entry], next: &str, more: bool, status: &str) -> Value {
    let (mut added, mut modified, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Added(t) => added.push(t.clone()),
            Entry::Modified(t) => modified.push(t.clone()),
            Entry::Removed(id) => removed.push(json!({ "transaction_id": id })),
        }
    }
    json!({
        "accounts": [], "added": added, "modified": modified, "removed": removed, "next_cursor": next,
        "has_more": more, "transactions_update_status": status, "request_id": "fake",
    })
}

fn find<'a>(bank: &'a mut Inner, headers: &HeaderMap, body: &Value) -> Result<&'a mut Item, Refusal> {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let given = |name: &str, field: &str| header(name).or_else(|| body[field].as_str().map(str::to_owned));
    let client = given("plaid-client-id", "client_id");
    if client.as_deref() != Some(CLIENT_ID) || given("plaid-secret", "secret").as_deref() != Some(SECRET) {
        return Err(refuse(400, "INVALID_INPUT", "INVALID_API_KEYS"));
    }
    let token = body["access_token"].as_str().unwrap_or_default();
    let item = bank.items.get_mut(token).ok_or_else(|| refuse(400, "INVALID_INPUT", "INVALID_ACCESS_TOKEN"))?;
    match item.error {
        Some((kind, code)) => Err(refuse(if kind == "API_ERROR" { 500 } else { 400 }, kind, code)),
        None => Ok(item),
    }
}

fn refuse(status: u16, kind: &str, code: &str) -> Refusal {
    let body = json!({
        "error_type": kind, "error_code": code, "error_code_reason": null, "error_message": "the fake says no",
        "display_message": null, "request_id": "fake", "suggested_action": null,
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    Box::new((status, Json(body)).into_response())
}

fn transaction(item_id: &str, id: &str, amount: &str) -> Value {
    let amount: Value = serde_json::from_str(amount).unwrap_or(Value::Null);
    json!({
        "transaction_id": id, "account_id": format!("{item_id}-checking"), "amount": amount,
        "iso_currency_code": "USD", "unofficial_currency_code": null, "date": "2026-09-24",
        "authorized_date": "2026-09-22", "name": format!("PURCHASE {id}"), "merchant_name": "Walmart",
        "pending": false, "pending_transaction_id": null, "payment_channel": "in store",
        "personal_finance_category": { "primary": "GENERAL_MERCHANDISE",
            "detailed": "GENERAL_MERCHANDISE_SUPERSTORES", "confidence_level": "VERY_HIGH" },
    })
}
