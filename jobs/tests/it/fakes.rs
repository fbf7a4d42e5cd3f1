//! What the fakes promise beyond their clients: moods by chance, a lively story that adds up, a receiver that checks.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::clock::{Clock, Entropy};
use tidemill::fanout::{Secret, sign};
use tidemill::ingress::{RawBody, WebhookReceived};
use tidemill_jobs::clients::plaid::Plaid;
use tidemill_jobs::fakes::{Trouble, gpu_market, plaid, receiver, stripe};
use tidemill_jobs::handlers::reconcile_stripe::reconcile;
use tidemill_jobs::handlers::stripe_event::apply;
use tidemill_jobs::handlers::webhook_received::receive;

use crate::rig::{NOON, Outside, Rig, decided, noon};

#[tokio::test]
async fn troubles_by_chance_come_at_their_rate_and_the_same_for_the_same_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let fake = gpu_market::start(0, noon()).await.unwrap();
        fake.state.moods.at_rate(0.3, vec![Trouble::Status(500), Trouble::Status(503)], Entropy::seeded(11));
        let http = tidemill::outbound::client(Duration::from_secs(10)).unwrap();
        let mut statuses = Vec::new();
        for _ in 0..200 {
            statuses.push(http.get(format!("{}/gpu-stats", fake.url)).send().await.unwrap().status().as_u16());
        }
        let bad = statuses.iter().filter(|s| **s != 200).count();
        assert!((35..=85).contains(&bad), "{bad} of 200 at a rate of 0.3");
        assert_eq!(fake.state.moods.requests(), 200);
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn a_slow_answer_is_cut_by_the_clients_deadline() {
    let fake = gpu_market::start(0, noon()).await.unwrap();
    fake.state.moods.script([Trouble::Slow(Duration::from_secs(3_600))]);
    let impatient = tidemill::outbound::client(Duration::from_millis(50)).unwrap();
    let error = impatient.get(format!("{}/gpu-stats", fake.url)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn a_lively_account_and_the_mirror_of_its_events_agree() {
    let clock = noon();
    let fake = stripe::start(0, clock.clone()).await.unwrap();
    let rig = Rig::new(clock.clone(), Outside::default().stripe(&fake)).await;
    let entropy = Entropy::seeded(3);
    let mut types = BTreeMap::<String, u32>::new();
    for n in 0..300 {
        let event = fake.state.live(&entropy);
        *types.entry(event.event_type.clone()).or_default() += 1;
        let webhook = WebhookReceived {
            source: "stripe".to_owned(),
            event_id: event.id.clone(),
            event_type: event.event_type.clone(),
            received_at: clock.now(),
            headers: BTreeMap::new(),
            body: RawBody::new(event.body.into()),
        };
        receive(&rig.app, &webhook).await.map_err(decided).unwrap();
        apply(&rig.app, &event.id, clock.now()).await.map_err(decided).unwrap();
        // Stripe counts seconds: two of one object within one have no order.
        clock.advance(Duration::from_secs(if n % 7 == 0 { 61 } else { 1 }));
    }
    assert_eq!(types.len(), 5, "all five types: {types:?}");
    let until = clock.now();
    clock.advance(Duration::from_secs(1));
    let report = reconcile(&rig.app, NOON, until).await.map_err(decided).unwrap();
    assert_eq!(report.tally.checked, report.tally.matched, "{:?}", report.tally);
    assert!(report.tally.checked > 100, "{:?}", report.tally);
}

#[tokio::test]
async fn a_lively_item_can_be_synced_to_its_end() {
    let fake = plaid::start(0, noon()).await.unwrap();
    fake.state.add_item("item-1", "access-1");
    let entropy = Entropy::seeded(4);
    while fake.state.live("access-1", &entropy) {}
    let config = Outside::default().plaid(&fake).config().plaid.unwrap();
    let client = Plaid::new(&config, noon()).unwrap();
    let (mut cursor, mut pages) = (None, 0);
    loop {
        let page = client.sync(&"access-1".into(), cursor.as_deref()).await.unwrap();
        pages += 1;
        cursor = Some(page.next_cursor);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(pages, 10, "5,000 changes in pages of 500");
}

#[tokio::test]
async fn the_receiver_takes_what_is_signed_and_new_and_refuses_the_rest() {
    let clock = Clock::manual(NOON);
    let fake = receiver::start(0, clock.clone()).await.unwrap();
    let (secret, stranger) = (Secret::generate(&Entropy::seeded(1)), Secret::generate(&Entropy::seeded(2)));
    fake.state.trust(secret.reveal());
    let http = tidemill::outbound::client(Duration::from_secs(10)).unwrap();
    let url = format!("{}/hooks", fake.url);
    let body = r#"{"type":"billing.invoice.paid","data":{}}"#;
    let post = async |id: &str, by: &Secret, at_s: i64, sent: &str| {
        let signature = sign(std::slice::from_ref(by), id, at_s, body.as_bytes());
        let headers = [("webhook-id", id.to_owned()), ("webhook-timestamp", at_s.to_string())];
        let mut request = http.post(&url).header("webhook-signature", signature).body(sent.to_owned());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let now_s = NOON.as_ms() / 1000;
    assert_eq!(post("msg_1", &secret, now_s, body).await, 200);
    assert_eq!(post("msg_1", &secret, now_s, body).await, 200, "a repeat is taken and not counted as new");
    assert_eq!(post("msg_2", &stranger, now_s, body).await, 401);
    assert_eq!(post("msg_3", &secret, now_s, &body.replace("paid", "PAID")).await, 401);
    assert_eq!(post("msg_4", &secret, now_s - 301, body).await, 401);
    assert_eq!(http.post(&url).body(body).send().await.unwrap().status(), 401);
    let counts = fake.state.counts();
    assert_eq!((counts.accepted, counts.repeated, counts.refused), (1, 1, 4));
    let deliveries = fake.state.deliveries();
    assert_eq!((deliveries.len(), deliveries[0].event_type.as_str()), (1, "billing.invoice.paid"));
}
