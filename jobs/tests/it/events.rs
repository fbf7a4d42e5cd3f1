//! What the application publishes: each type declared, each payload of each handler as declared, anything else refused.

use std::time::Duration;

use serde_json::{Value, json};
use tidemill::clock::Entropy;
use tidemill::fanout::{Event, event_types};
use tidemill::job::JobSpec;
use tidemill_jobs::events::{self, ALL, declarations, publish};
use tidemill_jobs::fakes;
use tidemill_jobs::handlers::market_poll::poll;
use tidemill_jobs::handlers::reconcile_stripe::reconcile;
use tidemill_jobs::handlers::stripe_event::apply;
use tidemill_jobs::handlers::webhook_received::receive;

use crate::rig::{Outside, Rig, decided, noon};
use crate::stripe_event::{FIRST, by, webhook};

/// What a job will publish.
fn event(spec: &JobSpec) -> Event {
    serde_json::from_str(&spec.payload).unwrap()
}

/// Says that a payload fits and that receivers can read of each of its fields.
fn is_described(event_type: &str, payload: &Value) {
    let (_, said) = declarations().into_iter().find(|(name, _)| *name == event_type).unwrap();
    said.check_payload(event_type, payload).unwrap();
    let known = said.schema.unwrap()["properties"].as_object().unwrap().clone();
    for field in payload.as_object().unwrap().keys() {
        assert!(known.contains_key(field), "{event_type}: the schema says nothing of `{field}`");
    }
}

#[tokio::test]
async fn every_type_is_declared_with_words_a_schema_and_an_example_that_fits() {
    assert_eq!(declarations().len(), ALL.len());
    let rig = Rig::new(noon(), Outside::default()).await;
    let fanout = tidemill::fanout::FanoutState::new(
        rig.app.db.clone(),
        tidemill::config::fanout::FanoutConfig::default(),
        None,
        rig.clock.clone(),
        Entropy::seeded(1),
    );
    let fanout = fanout.unwrap();
    events::declare(&fanout).await.unwrap();
    let first = event_types::list(fanout.db()).await.unwrap();
    for (name, said) in declarations() {
        let example = said.example.unwrap();
        is_described(name, &example);
        assert!(publish("id".to_owned(), name, None, example).is_ok(), "{name}");
        assert!(first.iter().any(|kept| kept.name == name && kept.description == said.description), "{name}");
    }
    rig.clock.advance(Duration::from_secs(60));
    events::declare(&fanout).await.unwrap();
    assert_eq!(event_types::list(fanout.db()).await.unwrap(), first, "a restart changes nothing");
}

#[test]
fn what_does_not_fit_is_refused_and_the_place_is_named() {
    let invoice =
        declarations().into_iter().find(|(name, _)| *name == events::INVOICE_PAID).unwrap().1.example.unwrap();
    let changed = |field: &str, to: Value| {
        let mut payload = invoice.clone();
        payload[field] = to;
        payload
    };
    let mut without = invoice.clone();
    without.as_object_mut().unwrap().remove("currency");
    for (event_type, payload, named) in [
        (events::INVOICE_PAID, changed("amount_paid_minor", json!(49.5)), "/amount_paid_minor"),
        (events::INVOICE_PAID, changed("amount_paid_minor", json!("4900")), "/amount_paid_minor"),
        (events::INVOICE_PAID, changed("occurred_at", Value::Null), "/occurred_at"),
        (events::INVOICE_PAID, without, "currency"),
        (events::MARKET_UPDATED, invoice.clone(), "platform"),
        (events::MARKET_UPDATED, json!([]), "array"),
        ("billing.invoice.payed", invoice.clone(), "billing.invoice.payed"),
    ] {
        let (word, text) = decided(publish("id".to_owned(), event_type, None, payload).unwrap_err());
        assert!(word == "dead" && text.contains(named), "{event_type}: {named}: {word} {text}");
    }
}

#[tokio::test]
async fn what_the_handlers_tell_of_stripe_is_as_declared() {
    let clock = noon();
    let stripe = fakes::stripe::start(0, clock.clone()).await.unwrap();
    let rig = Rig::new(clock, Outside::default().stripe(&stripe)).await;
    let subscribed = stripe.state.subscribe("cus_1", 2_000);
    let failed = stripe.state.bill_in_vain(&subscribed.object_id);
    let paid = stripe.state.pay(&failed.object_id);
    let changed = stripe.state.change_price(&subscribed.object_id, 2_500);
    let ended = stripe.state.cancel(&subscribed.object_id);
    let mut told = std::collections::BTreeSet::new();
    for sent in [subscribed, failed, paid, changed, ended] {
        receive(&rig.app, &webhook(&sent, &rig), by(FIRST)).await.unwrap();
        let (event_type, payload) = apply(&rig.app, &sent.id, rig.clock.now()).await.unwrap().told.unwrap();
        is_described(event_type, &payload);
        publish(sent.id, event_type, None, payload).map_err(decided).unwrap();
        told.insert(event_type);
    }
    assert_eq!(
        told.into_iter().collect::<Vec<_>>(),
        [events::INVOICE_FAILED, events::INVOICE_PAID, events::SUBSCRIPTION_CHANGED]
    );

    let until = rig.clock.now().after(Duration::from_secs(60));
    let from = until.before(Duration::from_secs(24 * 3600));
    let report = reconcile(&rig.app, from, until).await.map_err(decided).unwrap();
    let event = event(&report.told(None).map_err(decided).unwrap());
    is_described(&event.event_type, &event.payload);
    assert_eq!(
        (event.event_type.as_str(), &event.payload["differences"]),
        (events::RECONCILE_STRIPE_FINISHED, &json!(0))
    );
}

#[tokio::test]
async fn objects_of_stripes_with_as_little_as_they_may_have_are_told_all_the_same() {
    let rig = Rig::new(noon(), Outside::default()).await;
    let invoice = json!({
        "id": "in_1", "customer": null, "status": null, "currency": "eur", "amount_due": -5, "amount_paid": 0,
        "amount_remaining": 0, "created": 1_767_323_045,
    });
    let subscription = json!({
        "id": "sub_1", "customer": "cus_1", "status": "incomplete", "cancel_at_period_end": false,
        "items": { "data": [] },
    });
    for (n, (kind, object)) in
        [("invoice.payment_failed", invoice), ("customer.subscription.created", subscription)].into_iter().enumerate()
    {
        let id = format!("evt_{n}");
        let body =
            json!({ "id": id, "type": kind, "created": 1_767_323_045, "data": { "object": object } }).to_string();
        let sent = fakes::stripe::SentEvent { id, event_type: kind.to_owned(), object_id: "x".to_owned(), body };
        receive(&rig.app, &webhook(&sent, &rig), by(FIRST)).await.unwrap();
        let (event_type, payload) =
            apply(&rig.app, &sent.id, rig.clock.now()).await.map_err(decided).unwrap().told.unwrap();
        is_described(event_type, &payload);
        publish(sent.id, event_type, None, payload).map_err(decided).unwrap();
    }
}

#[tokio::test]
async fn what_a_poll_of_the_market_tells_is_as_declared() {
    let clock = noon();
    let market = fakes::gpu_market::start(0, clock.clone()).await.unwrap();
    let rig = Rig::new(clock, Outside::default().market(&market)).await;
    let report = poll(&rig.app, rig.clock.now()).await.map_err(decided).unwrap();
    let event = event(&report.told(Some("acme")).map_err(decided).unwrap().unwrap());
    is_described(&event.event_type, &event.payload);
    assert_eq!((event.event_type.as_str(), event.tenant.as_str()), (events::MARKET_UPDATED, "acme"));
}
