//! `stripe.event`: brings one recorded Stripe event into the mirror, and tells the outside.
//!
//! Any order and any number of repeats of the same events end in the same mirror (see [`Mark`]), and every event that
//! is acted on is published once, by its own id, whether or not something newer came before it.

use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidemill::clock::Timestamp;
use tidemill::data::{Tx, Write};
use tidemill::job::{Done, JobError, JobKind, JobSpec, PayloadError};
use tidemill::worker::{Context, Handler};

use crate::app::App;
use crate::clients::stripe::{Event, EventBody, Invoice, Subscription};
use crate::events;
use crate::store::billing::{self, Mark};
use crate::store::events::{self as recorded, Outcome};

/// The source's name, in the tables and in the path of the webhook.
pub const SOURCE: &str = "stripe";

/// Names a recorded event; its body stays in `webhook_events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StripeEvent {
    /// `evt_…`
    pub event_id: String,
}

impl JobKind for StripeEvent {
    const KIND: &'static str = "stripe.event";
    const QUEUE: &'static str = "high_priority";
    const TIMEOUT: Duration = Duration::from_secs(30);
}

impl StripeEvent {
    pub(super) fn spec(event_id: &str) -> Result<JobSpec, PayloadError> {
        let key = format!("stripe.event:{event_id}");
        Ok(JobSpec::of(&Self { event_id: event_id.to_owned() })?.unique(&key))
    }
}

/// What became of it; the job's result and what is published.
#[derive(Clone, Debug, PartialEq)]
pub struct Handled {
    /// `invoice.payment_failed`
    pub kind: String,
    /// In the mirror.
    pub outcome: Outcome,
    /// What is told to the outside: its type and payload. `None` for a type that nobody acts on.
    pub told: Option<(&'static str, Value)>,
}

impl Handler for StripeEvent {
    type State = App;

    async fn run(self, ctx: Context, app: &App) -> Result<Done, JobError> {
        let handled = apply(app, &self.event_id, ctx.clock().now()).await?;
        let done = Done::with(json!({ "type": handled.kind, "outcome": handled.outcome.as_str() }));
        match handled.told {
            Some((event_type, payload)) => {
                let id = format!("{SOURCE}:{}", self.event_id);
                Ok(done.then(events::publish(id, event_type, ctx.tenant(), payload)?))
            }
            None => Ok(done),
        }
    }
}

/// Brings a recorded event into the mirror.
///
/// # Errors
/// Dead when it is not recorded (any more) or can't be read; otherwise as the database's failure.
pub async fn apply(app: &App, event_id: &str, now: Timestamp) -> Result<Handled, JobError> {
    let body = recorded::body(&app.db, SOURCE, event_id).await?;
    let body = body.ok_or_else(|| {
        JobError::dead(anyhow!("event `{event_id}` is not recorded (any more); replay it from Stripe"))
    })?;
    let read = Event::parse(&body).and_then(|event| event.body().map(|about| (event, about)));
    let (event, about) = match read {
        Ok((event, _)) if event.id != event_id => {
            let found: String = event.id.chars().take(80).collect();
            return unreadable(app, event_id, anyhow!("the body is of event `{found}`"), now).await;
        }
        Ok(read) => read,
        Err(error) => return unreadable(app, event_id, error.into(), now).await,
    };
    let (told, kind) = (told(&event, &about), event.kind.clone());
    let outcome = app.db.together(Keep { event, about, now }).await?;
    Ok(Handled { outcome, told, kind })
}

/// What an event changes in the mirror, and that it has.
struct Keep {
    event: Event,
    about: EventBody,
    now: Timestamp,
}

impl Write for Keep {
    type Output = Outcome;
    type Error = sqlx::Error;

    async fn write(&self, tx: &mut Tx) -> Result<Outcome, sqlx::Error> {
        let mark = mark(&self.event, &self.about);
        let outcome = match &self.about {
            EventBody::Subscription(s) => applied(billing::keep_subscription(tx, s, mark, self.now).await?),
            EventBody::Invoice(i) => applied(billing::keep_invoice(tx, i, mark, self.now).await?),
            EventBody::Other => Outcome::Ignored,
        };
        // False at a repeat: what was said the first time stays.
        recorded::finish(tx, SOURCE, &self.event.id, outcome, self.now).await?;
        Ok(outcome)
    }
}

const fn applied(newer: bool) -> Outcome {
    if newer { Outcome::Applied } else { Outcome::Superseded }
}

async fn unreadable(app: &App, event_id: &str, why: anyhow::Error, now: Timestamp) -> Result<Handled, JobError> {
    let mut tx = app.db.begin().await?;
    recorded::finish(&mut tx, SOURCE, event_id, Outcome::Unreadable, now).await?;
    tx.commit().await?;
    Err(JobError::dead(why.context(format!("event `{event_id}`"))))
}

/// Stripe's times are whole seconds, and much happens within one. There an end outranks what is not one, and a later
/// step in an object's life an earlier one.
fn mark<'a>(event: &'a Event, about: &EventBody) -> Mark<'a> {
    let over = match about {
        EventBody::Subscription(s) => s.is_over(),
        EventBody::Invoice(i) => i.is_over(),
        EventBody::Other => false,
    };
    let step = match event.kind.as_str() {
        "customer.subscription.deleted" => 2,
        "customer.subscription.updated" | "invoice.payment_succeeded" => 1,
        _ => 0,
    };
    Mark { at: event.created_at(), rank: i64::from(over) * 10 + step, event_id: &event.id }
}

fn told(event: &Event, about: &EventBody) -> Option<(&'static str, Value)> {
    let mut told = match about {
        EventBody::Subscription(s) => (events::SUBSCRIPTION_CHANGED, subscription_payload(s)),
        EventBody::Invoice(i) if event.kind == "invoice.payment_succeeded" => {
            (events::INVOICE_PAID, invoice_payload(i))
        }
        EventBody::Invoice(i) => (events::INVOICE_FAILED, invoice_payload(i)),
        EventBody::Other => return None,
    };
    told.1["stripe_event"] = json!(event.id);
    told.1["stripe_type"] = json!(event.kind);
    told.1["occurred_at"] = json!(event.created_at());
    Some(told)
}

fn subscription_payload(s: &Subscription) -> Value {
    json!({
        "subscription": s.id, "customer": s.customer, "status": s.status,
        "amount_minor": s.amount_minor(), "currency": s.currency(),
        "period_end": s.period_end(), "cancel_at_period_end": s.cancel_at_period_end,
    })
}

fn invoice_payload(i: &Invoice) -> Value {
    json!({
        "invoice": i.id, "customer": i.customer, "subscription": i.subscription(), "status": i.status,
        "amount_due_minor": i.amount_due, "amount_paid_minor": i.amount_paid,
        "amount_remaining_minor": i.amount_remaining, "currency": i.currency,
        "attempt_count": i.attempt_count, "next_attempt_at": i.next_attempt_at(),
    })
}
