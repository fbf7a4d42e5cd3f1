//! What the fakes promise beyond their clients: moods by chance, a lively story that adds up, a receiver that checks.

use std::collections::BTreeSet;
use std::time::Duration;

use tidemill::clock::{Clock, Entropy};
use tidemill::fanout::{Scheme, Secret, sign};
use tidemill_jobs::fakes::{Trouble, gpu_market, receiver, stripe};
use tidemill_jobs::handlers::reconcile_stripe::reconcile;
use tidemill_jobs::handlers::stripe_event::apply;
use tidemill_jobs::handlers::webhook_received::receive;

use crate::rig::{NOON, Outside, Rig, decided, noon};
use crate::stripe_event::webhook;

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

/// A customer base to which something happens each time it is asked.
#[derive(Default)]
struct Customers {
    active: Vec<String>,
    unpaid: Vec<String>,
}

impl Customers {
    fn next(&mut self, account: &stripe::Account, entropy: &Entropy) -> stripe::SentEvent {
        let cents = 500 + i64::try_from(entropy.below(9_000)).unwrap();
        let nth = |n: usize| usize::try_from(entropy.below(n as u64)).unwrap();
        let draw = entropy.below(10);
        if self.active.is_empty() || draw < 3 {
            let subscribed = account.subscribe("cus_1", cents);
            self.active.push(subscribed.object_id.clone());
            return subscribed;
        }
        let subscriber = nth(self.active.len());
        match draw {
            3..=4 => account.bill_and_pay(&self.active[subscriber]),
            5..=6 => {
                let failed = account.bill_in_vain(&self.active[subscriber]);
                self.unpaid.push(failed.object_id.clone());
                failed
            }
            7 if !self.unpaid.is_empty() => account.pay(&self.unpaid.swap_remove(nth(self.unpaid.len()))),
            8 => account.cancel(&self.active.swap_remove(subscriber)),
            _ => account.change_price(&self.active[subscriber], cents),
        }
    }
}

#[tokio::test]
async fn the_mirror_of_a_long_story_agrees_with_the_account_though_its_events_come_shuffled() {
    let clock = noon();
    let fake = stripe::start(0, clock.clone()).await.unwrap();
    let rig = Rig::new(clock.clone(), Outside::default().stripe(&fake)).await;
    let (entropy, mut customers) = (Entropy::seeded(3), Customers::default());
    let mut story: Vec<stripe::SentEvent> = Vec::new();
    for _ in 0..300 {
        story.push(customers.next(&fake.state, &entropy));
        // Several in one second now and then.
        clock.advance(Duration::from_millis(entropy.below(2_000)));
    }
    let types: BTreeSet<&str> = story.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types.len(), 5, "{types:?}");
    for n in (1..story.len()).rev() {
        story.swap(n, usize::try_from(entropy.below(n as u64 + 1)).unwrap());
    }
    for event in &story {
        receive(&rig.app, &webhook(event, &rig), crate::stripe_event::by(crate::stripe_event::FIRST))
            .await
            .map_err(decided)
            .unwrap();
        apply(&rig.app, &event.id, clock.now()).await.map_err(decided).unwrap();
    }
    clock.advance(Duration::from_secs(1));
    let report = reconcile(&rig.app, NOON, clock.now()).await.map_err(decided).unwrap();
    assert_eq!(report.tally.checked, report.tally.matched, "{:?}", report.tally);
    assert!(report.tally.checked > 100, "{:?}", report.tally);
}

#[tokio::test]
async fn the_receiver_takes_what_is_signed_and_new_and_refuses_the_rest() {
    let clock = Clock::manual(NOON);
    let fake = receiver::start(0, clock.clone()).await.unwrap();
    let (secret, stranger) =
        (Secret::generate(Scheme::V1, &Entropy::seeded(1)), Secret::generate(Scheme::V1, &Entropy::seeded(2)));
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
