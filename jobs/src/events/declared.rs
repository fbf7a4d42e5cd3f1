//! The types that this application publishes, as receivers are told of them.
//!
//! What a type has today it keeps: receivers rely on it. A new field may come at any time, so schemas allow more than they name.

use serde_json::{Value, json};
use tidemill::fanout::event_types::Declaration;

use super::{INVOICE_FAILED, INVOICE_PAID, MARKET_UPDATED, RECONCILE_STRIPE_FINISHED, SUBSCRIPTION_CHANGED};

/// What one of our types means; `None`: it is none.
pub(super) fn declared(event_type: &str) -> Option<Declaration> {
    let (description, schema, example) = match event_type {
        MARKET_UPDATED => ("New prices of GPU hours were kept; read them at the API.", market(), market_example()),
        SUBSCRIPTION_CHANGED => {
            ("A subscription at Stripe was made, changed or ended.", subscription(), subscription_example())
        }
        INVOICE_PAID => ("An invoice at Stripe was paid.", invoice(), invoice_example("paid", 4_900)),
        INVOICE_FAILED => ("An attempt to collect an invoice at Stripe failed.", invoice(), invoice_example("open", 0)),
        RECONCILE_STRIPE_FINISHED => {
            ("Stripe's books were compared with the mirror.", reconciliation(), reconciliation_example())
        }
        _ => return None,
    };
    Some(Declaration { description: description.to_owned(), schema: Some(schema), example: Some(example) })
}

fn market() -> Value {
    object(
        &["platform", "observed_at"],
        json!({ "platform": text("Where the prices come from."), "observed_at": time() }),
    )
}

fn market_example() -> Value {
    json!({ "platform": "500.farm", "observed_at": "2026-01-02T03:04:05.000Z" })
}

fn subscription() -> Value {
    let mut fields = json!({
        "subscription": text("Stripe's id, sub_…"), "customer": text("Stripe's id, cus_…"),
        "status": text("As Stripe has it: active, canceled, past_due, …"),
        "amount_minor": or_null(amount("What a period costs; null where a price has no fixed amount.")),
        "currency": or_null(text("ISO 4217, lower case.")), "period_end": or_null(time()),
        "cancel_at_period_end": { "type": "boolean" },
    });
    let required = ["subscription", "customer", "status", "cancel_at_period_end"];
    of_stripe(&required, &mut fields)
}

fn subscription_example() -> Value {
    json!({
        "subscription": "sub_1", "customer": "cus_1", "status": "active", "amount_minor": 4_900, "currency": "eur",
        "period_end": "2026-02-02T03:04:05.000Z", "cancel_at_period_end": false,
        "stripe_event": "evt_1", "stripe_type": "customer.subscription.updated",
        "occurred_at": "2026-01-02T03:04:05.000Z",
    })
}

fn invoice() -> Value {
    let mut fields = json!({
        "invoice": text("Stripe's id, in_…"), "customer": or_null(text("Stripe's id, cus_…")),
        "subscription": or_null(text("Stripe's id, sub_…")),
        "status": or_null(text("As Stripe has it: draft, open, paid, uncollectible, void.")),
        "amount_due_minor": amount("Asked for."), "amount_paid_minor": amount("Received."),
        "amount_remaining_minor": amount("Outstanding."), "currency": text("ISO 4217, lower case."),
        "attempt_count": { "type": "integer", "minimum": 0 }, "next_attempt_at": or_null(time()),
    });
    let required =
        ["invoice", "amount_due_minor", "amount_paid_minor", "amount_remaining_minor", "currency", "attempt_count"];
    of_stripe(&required, &mut fields)
}

fn invoice_example(status: &str, paid: i64) -> Value {
    json!({
        "invoice": "in_1", "customer": "cus_1", "subscription": "sub_1", "status": status,
        "amount_due_minor": 4_900, "amount_paid_minor": paid, "amount_remaining_minor": 4_900 - paid, "currency": "eur",
        "attempt_count": 1, "next_attempt_at": if status == "open" { json!("2026-01-05T03:04:05.000Z") } else { Value::Null },
        "stripe_event": "evt_1",
        "stripe_type": if status == "open" { "invoice.payment_failed" } else { "invoice.payment_succeeded" },
        "occurred_at": "2026-01-02T03:04:05.000Z",
    })
}

fn reconciliation() -> Value {
    let count = |of: &str| json!({ "type": "integer", "minimum": 0, "description": of });
    let required =
        ["run", "from", "until", "checked", "matched", "missing", "extra", "differing", "in_flight", "differences"];
    object(
        &required,
        json!({
            "run": text("The run's name, the key to its differences."), "from": time(), "until": time(),
            "checked": count("All objects looked at, ours and Stripe's."),
            "matched": count("The same on both sides."), "missing": count("Stripe has it, we don't."),
            "extra": count("We have it, Stripe does not."), "differing": count("At least one field differs."),
            "in_flight": count("Changed here meanwhile: looked at next time."), "differences": count("Differences kept."),
        }),
    )
}

fn reconciliation_example() -> Value {
    json!({
        "run": "stripe:1767150245000:1767323045000", "from": "2025-12-31T03:04:05.000Z",
        "until": "2026-01-02T03:04:05.000Z", "checked": 130, "matched": 128, "missing": 1, "extra": 0, "differing": 1,
        "in_flight": 0, "differences": 2,
    })
}

/// What every event that comes from a webhook of Stripe's says beside its own fields.
fn of_stripe(required: &[&str], fields: &mut Value) -> Value {
    fields["stripe_event"] = text("The event at Stripe that caused this, evt_…");
    fields["stripe_type"] = text("That event's type.");
    fields["occurred_at"] = time();
    object(&[required, &["stripe_event", "stripe_type", "occurred_at"]].concat(), fields.take())
}

fn object(required: &[&str], fields: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": fields })
}

fn text(of: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "description": of })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time", "minLength": 20 })
}

fn amount(of: &str) -> Value {
    json!({ "type": "integer", "description": format!("In the currency's smallest unit. {of}") })
}

fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}
