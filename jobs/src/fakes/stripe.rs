//! Stripe: the lists of subscriptions and invoices, and the events that go with every change to them.
//!
//! A change of state returns the [`SentEvent`] that Stripe would send for it; [`SentEvent::signature`] signs it as
//! Stripe does. So the webhooks and the lists tell one story, unless a test makes them differ.

mod lists;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tidemill::clock::{Clock, Timestamp};

use super::server::{Fake, FakeError};
use super::trouble::{Moods, meet};

/// The fake account's secret key. Not one: everybody may read it.
pub const SECRET_KEY: &str = "sk_test_fake";
const MONTH_SECONDS: i64 = 30 * 24 * 3600;

/// The account behind the fake. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Account {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
    /// How it feels.
    pub moods: Moods,
}

#[derive(Debug, Default)]
struct Inner {
    /// In the order in which they were made; an id sorts as it was made.
    subscriptions: BTreeMap<String, Value>,
    invoices: BTreeMap<String, Value>,
    made: u64,
    versions: Vec<String>,
}

/// An event as Stripe would post it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEvent {
    /// `evt_…`
    pub id: String,
    /// `invoice.payment_failed`, …
    pub event_type: String,
    /// The object it is about.
    pub object_id: String,
    /// The exact body.
    pub body: String,
}

impl SentEvent {
    /// The `Stripe-Signature` header for this body, sent at `at`.
    pub fn signature(&self, secret: &str, at: Timestamp) -> String {
        let t = at.as_ms().div_euclid(1000);
        // A MAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
        mac.update(format!("{t}.{}", self.body).as_bytes());
        format!("t={t},v1={}", hex::encode(mac.finalize().into_bytes()))
    }
}

/// Starts the fake on `port` (0: a free one) with an empty account.
///
/// # Errors
/// When the port can't be had.
pub async fn start(port: u16, clock: Clock) -> Result<Fake<Account>, FakeError> {
    let account = Account { inner: Arc::default(), clock, moods: Moods::default() };
    let router = Router::new()
        .route("/v1/subscriptions", get(lists::subscriptions))
        .route("/v1/invoices", get(lists::invoices))
        .with_state(account.clone())
        .layer(from_fn_with_state(account.moods.clone(), meet));
    Fake::start("stripe", port, account, router).await
}

impl Account {
    /// A customer subscribes to something of this price a month, in US cents.
    pub fn subscribe(&self, customer: &str, cents: i64) -> SentEvent {
        let now = self.seconds();
        self.with(|a| {
            let id = a.id("sub");
            let subscription = json!({
                "id": id, "object": "subscription", "customer": customer, "status": "active", "created": now,
                "cancel_at_period_end": false, "currency": "usd", "latest_invoice": null, "trial_end": null,
                "livemode": false, "metadata": {},
                "items": { "object": "list", "has_more": false, "data": [{
                    "id": format!("si_{id}"), "quantity": 1,
                    "price": { "id": "price_1", "unit_amount": cents, "currency": "usd",
                               "recurring": { "interval": "month" } },
                    "current_period_start": now, "current_period_end": now + MONTH_SECONDS,
                }] },
            });
            a.subscriptions.insert(id, subscription.clone());
            a.event("customer.subscription.created", &subscription, now)
        })
    }

    /// A subscription changes its price.
    ///
    /// # Panics
    /// When there is none of this id, as all that follow.
    pub fn change_price(&self, subscription: &str, cents: i64) -> SentEvent {
        let now = self.seconds();
        self.with(|a| {
            let changed = known(&mut a.subscriptions, subscription);
            changed["items"]["data"][0]["price"]["unit_amount"] = json!(cents);
            let changed = changed.clone();
            a.event("customer.subscription.updated", &changed, now)
        })
    }

    /// A subscription ends.
    pub fn cancel(&self, subscription: &str) -> SentEvent {
        let now = self.seconds();
        self.with(|a| {
            let ended = known(&mut a.subscriptions, subscription);
            (ended["status"], ended["ended_at"]) = (json!("canceled"), json!(now));
            let ended = ended.clone();
            a.event("customer.subscription.deleted", &ended, now)
        })
    }

    /// A subscription is billed, and the first attempt to collect fails.
    pub fn bill_in_vain(&self, subscription: &str) -> SentEvent {
        let now = self.seconds();
        self.with(|a| {
            let invoice = a.bill(subscription, now);
            a.event("invoice.payment_failed", &invoice, now)
        })
    }

    /// A subscription is billed and paid.
    pub fn bill_and_pay(&self, subscription: &str) -> SentEvent {
        let now = self.seconds();
        let id = self.with(|a| a.bill(subscription, now)["id"].as_str().unwrap_or_default().to_owned());
        self.pay(&id)
    }

    /// An open invoice is paid.
    pub fn pay(&self, invoice: &str) -> SentEvent {
        let now = self.seconds();
        self.with(|a| {
            let paid = known(&mut a.invoices, invoice);
            (paid["status"], paid["amount_remaining"]) = (json!("paid"), json!(0));
            paid["amount_paid"] = paid["amount_due"].clone();
            paid["next_payment_attempt"] = Value::Null;
            let paid = paid.clone();
            a.event("invoice.payment_succeeded", &paid, now)
        })
    }

    /// Changes a field of an invoice without telling anybody.
    pub fn tamper(&self, invoice: &str, field: &str, value: Value) {
        self.with(|a| known(&mut a.invoices, invoice)[field] = value);
    }

    /// Forgets an object, as if it had never been.
    pub fn forget(&self, id: &str) {
        self.with(|a| (a.invoices.remove(id), a.subscriptions.remove(id)));
    }

    /// The `Stripe-Version` headers that came, each once.
    pub fn versions(&self) -> Vec<String> {
        self.with(|a| a.versions.clone())
    }

    fn seconds(&self) -> i64 {
        self.clock.now().as_ms().div_euclid(1000)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}_{:08}", self.made)
    }

    fn bill(&mut self, subscription: &str, now: i64) -> Value {
        let of = known(&mut self.subscriptions, subscription).clone();
        let due = of["items"]["data"][0]["price"]["unit_amount"].clone();
        let id = self.id("in");
        let invoice = json!({
            "id": id, "object": "invoice", "customer": of["customer"], "status": "open", "currency": "usd",
            "amount_due": due, "amount_paid": 0, "amount_remaining": due, "attempt_count": 1,
            "next_payment_attempt": now + 3 * 24 * 3600, "billing_reason": "subscription_cycle", "created": now,
            "parent": { "type": "subscription_details", "subscription_details": { "subscription": subscription } },
            "livemode": false,
        });
        self.invoices.insert(id, invoice.clone());
        invoice
    }

    fn event(&mut self, event_type: &str, object: &Value, now: i64) -> SentEvent {
        let id = self.id("evt");
        let body = json!({
            "id": id, "object": "event", "api_version": crate::clients::stripe::API_VERSION, "created": now,
            "type": event_type, "livemode": false, "pending_webhooks": 1,
            "request": { "id": null, "idempotency_key": null }, "data": { "object": object },
        });
        let object_id = object["id"].as_str().unwrap_or_default().to_owned();
        SentEvent { id, event_type: event_type.to_owned(), object_id, body: body.to_string() }
    }
}

fn known<'a>(objects: &'a mut BTreeMap<String, Value>, id: &str) -> &'a mut Value {
    objects.get_mut(id).unwrap_or_else(|| panic!("the fake account has no `{id}`"))
}
