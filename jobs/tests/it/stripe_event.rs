//! `webhook.received` and `stripe.event`: the mirror does not depend on the order in which events come.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::ingress::{RawBody, WebhookReceived};
use tidemill::job::{Done, JobId};
use tidemill_jobs::fakes::Fake;
use tidemill_jobs::fakes::stripe::{Account, SentEvent, start};
use tidemill_jobs::handlers::stripe_event::{Handled, apply};
use tidemill_jobs::handlers::webhook_received::{Recorded, Taker, next, receive};
use tidemill_jobs::store::billing::{self, InvoiceRow, SubscriptionRow};
use tidemill_jobs::store::events::{self, Outcome};

use crate::rig::{Outside, Rig, decided, noon};

/// The job that brings an event first.
pub(crate) const FIRST: JobId = JobId::from_bytes([1; 16]);

pub(crate) fn by(job: JobId) -> Taker<'static> {
    Taker { job, queue: "high_priority" }
}

pub(crate) fn webhook(event: &SentEvent, rig: &Rig) -> WebhookReceived {
    WebhookReceived {
        source: "stripe".to_owned(),
        event_id: event.id.clone(),
        event_type: event.event_type.clone(),
        handle_as: None,
        received_at: rig.clock.now(),
        verified_with: Some("env:STRIPE_WEBHOOK_SECRET".to_owned()),
        headers: BTreeMap::new(),
        body: RawBody::new(event.body.clone().into()),
    }
}

async fn rig() -> (Fake<Account>, Rig) {
    let clock = noon();
    let fake = start(0, clock.clone()).await.unwrap();
    let rig = Rig::new(clock, Outside::default().stripe(&fake)).await;
    (fake, rig)
}

impl Rig {
    async fn receive(&self, event: &SentEvent) -> Done {
        receive(&self.app, &webhook(event, self), by(FIRST)).await.unwrap()
    }

    async fn apply(&self, event: &SentEvent) -> Handled {
        apply(&self.app, &event.id, self.clock.now()).await.map_err(decided).unwrap()
    }

    async fn bring(&self, event: &SentEvent) -> Handled {
        self.receive(event).await;
        self.apply(event).await
    }

    /// The whole mirror, without the times at which rows were written.
    async fn mirror(&self) -> (Vec<SubscriptionRow>, Vec<InvoiceRow>) {
        let mut subscriptions = billing::subscriptions(&self.app.db, "", 100).await.unwrap();
        subscriptions.iter_mut().for_each(|row| row.updated_at = 0);
        let all = (tidemill::clock::Timestamp::from_ms(0), tidemill::clock::Timestamp::from_ms(i64::MAX));
        let mut invoices = billing::invoices(&self.app.db, all, "", 100).await.unwrap();
        invoices.iter_mut().for_each(|row| row.updated_at = 0);
        (subscriptions, invoices)
    }

    async fn forget_mirror(&self) {
        for sql in ["delete from stripe_subscriptions", "delete from stripe_invoices"] {
            tidemill::on_pool!(self.app.db.write(), pool => sqlx::query(sql).execute(pool).await.unwrap());
        }
    }
}

/// The same event under an id that sorts before all others, so that the id can't be what decides.
fn first_by_id(event: SentEvent) -> SentEvent {
    let id = format!("evt_{}", "0".repeat(event.id.len() - 4));
    SentEvent { body: event.body.replace(&event.id, &id), id, ..event }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(n - 1) {
        for at in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(at, n - 1);
            all.push(longer);
        }
    }
    all
}

async fn every_order_of(events: &[SentEvent], rig: &Rig) -> (Vec<SubscriptionRow>, Vec<InvoiceRow>) {
    for event in events {
        rig.bring(event).await;
    }
    let in_order = rig.mirror().await;
    for order in permutations(events.len()) {
        rig.forget_mirror().await;
        for &nth in &order {
            rig.apply(&events[nth]).await;
        }
        // And one of them again, as senders do.
        rig.apply(&events[order[0]]).await;
        assert_eq!(rig.mirror().await, in_order, "in the order {order:?}");
    }
    in_order
}

#[tokio::test]
async fn every_order_of_a_subscriptions_events_gives_the_same_mirror() {
    let (stripe, rig) = rig().await;
    let created = stripe.state.subscribe("cus_1", 2_000);
    let id = created.object_id.clone();
    let mut story = vec![created, stripe.state.change_price(&id, 2_500)];
    rig.clock.advance(Duration::from_secs(1));
    story.push(stripe.state.change_price(&id, 3_000));
    story.push(stripe.state.change_price(&id, 3_500));
    story.push(stripe.state.cancel(&id));
    let (subscriptions, _) = every_order_of(&story, &rig).await;
    assert_eq!((subscriptions[0].status.as_str(), subscriptions[0].amount_minor), ("canceled", Some(3_500)));
}

#[tokio::test]
async fn every_order_of_an_invoices_events_within_one_second_ends_paid() {
    let (stripe, rig) = rig().await;
    let subscribed = stripe.state.subscribe("cus_1", 2_000);
    let failed = stripe.state.bill_in_vain(&subscribed.object_id);
    let paid = first_by_id(stripe.state.pay(&failed.object_id));
    let other = stripe.state.bill_and_pay(&subscribed.object_id);
    let (_, invoices) = every_order_of(&[subscribed, failed, paid, other], &rig).await;
    let amounts: Vec<_> = invoices.iter().map(|i| (i.status.as_deref(), i.amount_paid, i.amount_remaining)).collect();
    assert_eq!(amounts, [(Some("paid"), 2_000, 0); 2]);
}

#[tokio::test]
async fn a_cancelled_subscription_is_not_revived_by_what_was_before_it() {
    let (stripe, rig) = rig().await;
    let created = stripe.state.subscribe("cus_1", 2_000);
    let updated = stripe.state.change_price(&created.object_id, 2_500);
    let ended = first_by_id(stripe.state.cancel(&created.object_id));
    assert_eq!(rig.bring(&ended).await.outcome, Outcome::Applied);
    for late in [&updated, &created] {
        assert_eq!(rig.bring(late).await.outcome, Outcome::Superseded, "same second, and it lost");
    }
    let row = billing::subscription(&rig.app.db, &created.object_id).await.unwrap().unwrap();
    assert_eq!(row.status, "canceled");
}

#[tokio::test]
async fn a_webhook_is_recorded_once_and_always_passed_on() {
    let (stripe, rig) = rig().await;
    let event = stripe.state.subscribe("cus_1", 2_000);
    for new in [true, false] {
        let done = rig.receive(&event).await;
        assert_eq!(done.result.unwrap()["new"], new);
        assert_eq!(done.then.len(), 1);
        let next = &done.then[0];
        assert_eq!(
            (&*next.kind, &*next.payload),
            ("stripe.event", format!(r#"{{"event_id":"{}"}}"#, event.id).as_str())
        );
        assert_eq!(&*next.unique.as_ref().unwrap().key, format!("stripe.event:{}", event.id));
    }
    assert_eq!(rig.count("webhook_events").await, 1);
    let body = events::body(&rig.app.db, "stripe", &event.id).await.unwrap().unwrap();
    assert_eq!(body, event.body.as_bytes(), "byte for byte");
}

#[tokio::test]
async fn a_webhook_of_another_source_is_recorded_and_ends_there() {
    let (stripe, rig) = rig().await;
    let event = stripe.state.subscribe("cus_1", 2_000);
    let webhook = WebhookReceived { source: "buffr".to_owned(), ..webhook(&event, &rig) };
    assert!(receive(&rig.app, &webhook, by(FIRST)).await.unwrap().then.is_empty());
    assert_eq!(rig.count("webhook_events").await, 1);
}

#[tokio::test]
async fn the_kind_that_a_source_names_gets_a_reference_to_the_recorded_event_instead() {
    let (stripe, rig) = rig().await;
    let event = stripe.state.subscribe("cus_1", 2_000);
    let queue = "reports".parse().unwrap();
    let webhook = webhook(&event, &rig);
    assert!(next(&webhook, &queue).is_none());
    let webhook = WebhookReceived { handle_as: Some("billing.book".to_owned()), ..webhook };
    assert!(
        receive(&rig.app, &webhook, by(FIRST)).await.unwrap().then.is_empty(),
        "and not what would be known of Stripe"
    );
    let job = next(&webhook, &queue).unwrap();
    assert_eq!((&*job.kind, job.queue.as_str()), ("billing.book", "reports"));
    let recorded: Recorded = serde_json::from_str(&job.payload).unwrap();
    let body = events::body(&rig.app.db, &recorded.source, &recorded.event_id).await.unwrap();
    assert_eq!((body.unwrap(), recorded.event_type), (event.body.into_bytes(), event.event_type));
}

#[tokio::test]
async fn what_is_told_to_the_outside_does_not_depend_on_the_order_and_a_repeat_tells_the_same() {
    let (stripe, rig) = rig().await;
    let subscribed = stripe.state.subscribe("cus_1", 2_000);
    let failed = stripe.state.bill_in_vain(&subscribed.object_id);
    let paid = stripe.state.pay(&failed.object_id);
    rig.bring(&paid).await;
    let late = rig.bring(&failed).await;
    assert_eq!(late.outcome, Outcome::Superseded);
    let (event_type, payload) = late.told.clone().unwrap();
    assert_eq!(event_type, "billing.invoice.failed");
    assert_eq!((payload["amount_remaining_minor"].as_i64(), payload["currency"].as_str()), (Some(2_000), Some("usd")));
    assert_eq!(payload["occurred_at"], "2026-04-11T12:00:00.000Z");
    assert_eq!(rig.apply(&failed).await, late, "a crash between the database and the queue repeats all of it");
    assert_eq!(rig.apply(&paid).await.told.unwrap().0, "billing.invoice.paid");
    assert_eq!(rig.bring(&subscribed).await.told.unwrap().0, "billing.subscription.changed");
}

#[tokio::test]
async fn a_type_that_nobody_acts_on_is_recorded_and_ignored() {
    let (_stripe, rig) = rig().await;
    let body = r#"{"id":"evt_x","object":"event","created":1775908800,"type":"charge.refunded","data":{"object":{"id":"ch_1"}}}"#;
    let event = SentEvent {
        id: "evt_x".to_owned(),
        event_type: "charge.refunded".to_owned(),
        object_id: "ch_1".to_owned(),
        body: body.to_owned(),
    };
    let handled = rig.bring(&event).await;
    assert_eq!((handled.outcome, handled.told), (Outcome::Ignored, None));
    assert_eq!(events::outcome(&rig.app.db, "stripe", "evt_x").await.unwrap().as_deref(), Some("ignored"));
}

#[tokio::test]
async fn an_event_that_can_not_be_read_is_dead_says_why_and_stays_recorded() {
    let (stripe, rig) = rig().await;
    let good = stripe.state.subscribe("cus_1", 2_000);
    let bad = [
        ("not json", "{"),
        ("no event", r#"{"id":"evt_1"}"#),
        ("another event's body", good.body.as_str()),
        (
            "no subscription",
            r#"{"id":"evt_bad","created":1,"type":"customer.subscription.updated","data":{"object":{"id":7}}}"#,
        ),
    ];
    for (n, (what, body)) in bad.into_iter().enumerate() {
        let id = if what == "no subscription" { "evt_bad".to_owned() } else { format!("evt_bad_{n}") };
        let event = SentEvent { id: id.clone(), body: body.to_owned(), ..good.clone() };
        rig.receive(&event).await;
        let (word, text) = apply(&rig.app, &id, rig.clock.now()).await.map_err(decided).unwrap_err();
        assert!(word == "dead" && text.contains(&id), "{what}: {word}: {text}");
        let outcome = events::outcome(&rig.app.db, "stripe", &id).await.unwrap();
        assert_eq!(outcome.as_deref(), Some("unreadable"), "{what}");
    }
    let (word, text) = apply(&rig.app, "evt_of_nobody", rig.clock.now()).await.map_err(decided).unwrap_err();
    assert!(word == "dead" && text.contains("not recorded"), "{word}: {text}");
    assert_eq!(rig.count("stripe_subscriptions").await, 0);
}
