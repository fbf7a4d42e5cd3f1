//! Stripe's objects, the parts that are used. Amounts are integer minor units, times unix seconds.

use serde::Deserialize;
use serde_json::value::RawValue;
use tidemill::clock::Timestamp;

/// A page of a list, newest first.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    /// There is an older page.
    pub has_more: bool,
    /// The objects.
    pub data: Vec<T>,
}

/// What every listed object has.
pub trait Listed {
    /// Stripe's id.
    fn id(&self) -> &str;
}

impl Listed for Subscription {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Invoice {
    fn id(&self) -> &str {
        &self.id
    }
}

/// A subscription. The period stands on its items.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Subscription {
    /// `sub_…`
    pub id: String,
    /// `cus_…`
    pub customer: String,
    /// `active`, `canceled`, `incomplete`, `incomplete_expired`, `past_due`, `paused`, `trialing`, `unpaid`.
    pub status: String,
    /// It ends with the period.
    pub cancel_at_period_end: bool,
    /// Made at.
    pub created: Option<i64>,
    items: Items,
    /// `in_…`
    pub latest_invoice: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Items {
    data: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Item {
    quantity: Option<i64>,
    price: Price,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Price {
    id: String,
    unit_amount: Option<i64>,
    currency: String,
}

impl Subscription {
    /// The currency, lower case as Stripe writes it; `None` without items.
    pub fn currency(&self) -> Option<&str> {
        self.items.data.first().map(|i| i.price.currency.as_str())
    }

    /// What one period costs, over all items; `None` when a price has no fixed amount, or the sum has no room.
    pub fn amount_minor(&self) -> Option<i64> {
        self.items.data.iter().try_fold(0_i64, |sum, item| {
            sum.checked_add(item.price.unit_amount?.checked_mul(item.quantity.unwrap_or(1))?)
        })
    }

    /// The first item's price.
    pub fn price(&self) -> Option<&str> {
        self.items.data.first().map(|i| i.price.id.as_str())
    }

    /// The earliest start of its items' periods.
    pub fn period_start(&self) -> Option<Timestamp> {
        self.items.data.iter().filter_map(|i| i.current_period_start).min().map(from_seconds)
    }

    /// The latest end of its items' periods.
    pub fn period_end(&self) -> Option<Timestamp> {
        self.items.data.iter().filter_map(|i| i.current_period_end).max().map(from_seconds)
    }

    /// Made at.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created.map(from_seconds)
    }

    /// It will never change its status again.
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }
}

/// An invoice.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Invoice {
    /// `in_…`
    pub id: String,
    /// `cus_…`
    pub customer: Option<String>,
    /// `draft`, `open`, `paid`, `uncollectible`, `void`.
    pub status: Option<String>,
    /// Lower case.
    pub currency: String,
    /// Asked for.
    pub amount_due: i64,
    /// Received.
    pub amount_paid: i64,
    /// Outstanding.
    pub amount_remaining: i64,
    /// Payment attempts made.
    #[serde(default)]
    pub attempt_count: i64,
    next_payment_attempt: Option<i64>,
    /// `subscription_cycle`, …
    pub billing_reason: Option<String>,
    created: i64,
    parent: Option<Parent>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Parent {
    subscription_details: Option<SubscriptionDetails>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct SubscriptionDetails {
    subscription: Option<String>,
}

impl Invoice {
    /// The subscription it is for.
    pub fn subscription(&self) -> Option<&str> {
        self.parent.as_ref()?.subscription_details.as_ref()?.subscription.as_deref()
    }

    /// Made at.
    pub fn created_at(&self) -> Timestamp {
        from_seconds(self.created)
    }

    /// Stripe will try to collect it then.
    pub fn next_attempt_at(&self) -> Option<Timestamp> {
        self.next_payment_attempt.map(from_seconds)
    }

    /// Stripe has told of it by one of the events that are listened to: there was an attempt to collect it, or it is
    /// paid. A draft, for one, nobody has heard of yet.
    pub fn was_told_of(&self) -> bool {
        self.attempt_count > 0 || self.status.as_deref() == Some("paid")
    }

    /// Nothing more will be paid on it.
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_deref(), Some("paid" | "void"))
    }
}

/// One event of a webhook, its object not looked at yet.
#[derive(Debug, Deserialize)]
pub struct Event {
    /// `evt_…`
    pub id: String,
    /// `invoice.payment_failed`, …
    #[serde(rename = "type")]
    pub kind: String,
    created: i64,
    data: EventData,
}

#[derive(Debug, Deserialize)]
struct EventData {
    object: Box<RawValue>,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// `customer.subscription.*`
    Subscription(Box<Subscription>),
    /// `invoice.payment_*`
    Invoice(Box<Invoice>),
    /// A type that this program does not act on.
    Other,
}

/// An event that is not of the pinned version's shape.
#[derive(Debug, thiserror::Error)]
#[error("the event {what} can't be read: {source}")]
pub struct UnreadableEvent {
    what: String,
    source: serde_json::Error,
}

impl Event {
    /// Reads a webhook's body.
    ///
    /// # Errors
    /// When it is no event.
    pub fn parse(body: &[u8]) -> Result<Self, UnreadableEvent> {
        serde_json::from_slice(body).map_err(|source| UnreadableEvent { what: "itself".to_owned(), source })
    }

    /// When it happened; Stripe counts whole seconds.
    pub fn created_at(&self) -> Timestamp {
        from_seconds(self.created)
    }

    /// Reads the object it is about.
    ///
    /// # Errors
    /// When the object does not have the shape that the event's type promises.
    pub fn body(&self) -> Result<EventBody, UnreadableEvent> {
        let object = self.data.object.get();
        let read = match self.kind.as_str() {
            "customer.subscription.created" | "customer.subscription.updated" | "customer.subscription.deleted" => {
                serde_json::from_str(object).map(|s| EventBody::Subscription(Box::new(s)))
            }
            "invoice.payment_succeeded" | "invoice.payment_failed" => {
                serde_json::from_str(object).map(|i| EventBody::Invoice(Box::new(i)))
            }
            _ => Ok(EventBody::Other),
        };
        read.map_err(|source| UnreadableEvent { what: format!("{} ({})", self.id, self.kind), source })
    }
}

fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_ms(seconds.saturating_mul(1000))
}
