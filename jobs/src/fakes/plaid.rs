//! Plaid: live balances and `/transactions/sync` with real cursors.
//!
//! Each item keeps a log of changes; a cursor is a place in that log together with the log's length when its loop
//! began, so that a change between two pages is noticed and refused as the real one does.

mod routes;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use serde_json::{Value, json};
use tidemill::clock::{Clock, Timestamp};

use super::server::{Fake, FakeError};
use super::trouble::{Moods, meet};

/// What the fake's one client is called.
pub const CLIENT_ID: &str = "fake-plaid-client";
/// Its secret. Not one: everybody may read it.
pub const SECRET: &str = "fake-plaid-secret";

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
    /// It comes from a snapshot, which may be older than the last cursors that were given out.
    restored: bool,
}

#[derive(Clone, Debug)]
enum Entry {
    Added(Value),
    Modified(Value),
    Removed(String),
}

/// Starts the fake on `port` (0: a free one), without items.
///
/// # Errors
/// When the port can't be had.
pub async fn start(port: u16, clock: Clock) -> Result<Fake<Bank>, FakeError> {
    let bank = Bank { inner: Arc::default(), clock, moods: Moods::default() };
    let router = Router::new()
        .route("/accounts/balance/get", post(routes::balance_get))
        .route("/transactions/sync", post(routes::transactions_sync))
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
