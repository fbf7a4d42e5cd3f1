//! `reconcile.stripe`: Stripe's lists against the mirror, page by page.

use std::time::Duration;

use serde_json::json;
use tidemill::clock::Timestamp;
use tidemill_jobs::fakes::stripe::{Account, SentEvent, start};
use tidemill_jobs::fakes::{Fake, Trouble};
use tidemill_jobs::handlers::reconcile_stripe::{Report, reconcile};
use tidemill_jobs::handlers::stripe_event::apply;
use tidemill_jobs::handlers::webhook_received::receive;
use tidemill_jobs::store::reconciliation::{DifferenceRow, Tally, differences};

use crate::rig::{Outside, Rig, decided, noon};
use crate::stripe_event::webhook;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Story {
    stripe: Fake<Account>,
    rig: Rig,
}

impl Story {
    async fn begin() -> Self {
        let clock = noon();
        let stripe = start(0, clock.clone()).await.unwrap();
        let rig = Rig::new(clock, Outside::default().stripe(&stripe)).await;
        Self { stripe, rig }
    }

    async fn mirror(&self, event: &SentEvent) {
        receive(&self.rig.app, &webhook(event, &self.rig), crate::stripe_event::by(crate::stripe_event::FIRST))
            .await
            .unwrap();
        apply(&self.rig.app, &event.id, self.rig.clock.now()).await.map_err(decided).unwrap();
    }

    /// The next day at three, with the day before as window.
    async fn next_day(&self) -> Result<Report, (&'static str, String)> {
        self.rig.clock.advance(DAY / 2);
        self.run(self.rig.clock.now()).await
    }

    async fn run(&self, until: Timestamp) -> Result<Report, (&'static str, String)> {
        reconcile(&self.rig.app, until.before(DAY), until).await.map_err(decided)
    }

    async fn found(&self, report: &Report) -> Vec<DifferenceRow> {
        differences(&self.rig.app.db, &report.run, 1_000).await.unwrap()
    }
}

#[tokio::test]
async fn equal_books_match_over_many_pages() {
    let story = Story::begin().await;
    for n in 0..130 {
        let subscribed = story.stripe.state.subscribe(&format!("cus_{n}"), 2_000 + n);
        story.mirror(&subscribed).await;
        story.mirror(&story.stripe.state.bill_and_pay(&subscribed.object_id)).await;
    }
    let report = story.next_day().await.unwrap();
    assert_eq!(report.tally, Tally { checked: 260, matched: 260, ..Tally::default() });
    assert_eq!((report.differences, story.found(&report).await.len()), (0, 0));
}

#[tokio::test]
async fn missing_extra_and_differing_rows_are_recorded_with_field_and_amounts() {
    let story = Story::begin().await;
    let state = &story.stripe.state;
    let good = state.subscribe("cus_1", 2_000);
    let lost = state.subscribe("cus_2", 4_200);
    let ended = state.subscribe("cus_3", 1_000);
    for event in [&good, &ended] {
        story.mirror(event).await;
    }
    let cancelled = state.cancel(&ended.object_id);
    let paid = state.bill_and_pay(&good.object_id);
    let invented = state.bill_in_vain(&good.object_id);
    for event in [&paid, &invented] {
        story.mirror(event).await;
    }
    state.tamper(&paid.object_id, "amount_paid", json!(1_999));
    state.forget(&invented.object_id);
    let report = story.next_day().await.unwrap();
    let expected = Tally { checked: 5, matched: 1, missing: 1, extra: 1, differing: 2, in_flight: 0 };
    assert_eq!(report.tally, expected);

    let found = story.found(&report).await;
    let short: Vec<_> = found
        .iter()
        .map(|d| (d.object_id.as_str(), d.kind.as_str(), d.field.as_str(), d.ours.as_deref(), d.theirs.as_deref()))
        .collect();
    assert_eq!(
        short,
        [
            (paid.object_id.as_str(), "differs", "amount_paid", Some("2000"), Some("1999")),
            (invented.object_id.as_str(), "extra", "amount_due", Some("2000"), None),
            (lost.object_id.as_str(), "missing", "amount", None, Some("4200")),
            (cancelled.object_id.as_str(), "differs", "status", Some("active"), Some("canceled")),
        ]
    );
    assert_eq!((found[0].ours_minor, found[0].theirs_minor), (Some(2_000), Some(1_999)));
    assert_eq!(found[0].currency.as_deref(), Some("usd"));
}

#[tokio::test]
async fn a_repeated_run_replaces_its_findings() {
    let story = Story::begin().await;
    let lost = story.stripe.state.subscribe("cus_1", 2_000);
    let first = story.next_day().await.unwrap();
    assert_eq!((first.tally.missing, story.found(&first).await.len()), (1, 1));
    story.mirror(&lost).await;
    let until = story.rig.clock.now();
    story.rig.clock.advance(Duration::from_secs(1));
    let second = story.run(until).await.unwrap();
    assert_eq!(second.run, first.run);
    assert_eq!((second.tally.matched, story.found(&first).await.len()), (1, 0));
    assert_eq!(story.rig.count("reconciliation_runs").await, 1);
}

#[tokio::test]
async fn a_failure_in_the_middle_is_tried_again_and_leaves_no_half_findings() {
    let story = Story::begin().await;
    for n in 0..150 {
        story.stripe.state.subscribe(&format!("cus_{n}"), 2_000);
    }
    story.stripe.state.moods.script([Trouble::None, Trouble::Status(500)]);
    let (word, _) = story.next_day().await.unwrap_err();
    assert_eq!((word, story.rig.count("reconciliation_differences").await), ("retry", 0));
    let report = story.run(story.rig.clock.now()).await.unwrap();
    assert_eq!((report.tally.missing, report.differences), (150, 150));
}

#[tokio::test]
async fn what_changes_here_during_the_run_is_left_to_the_next_one() {
    let story = Story::begin().await;
    let subscribed = story.stripe.state.subscribe("cus_1", 2_000);
    story.rig.clock.advance(DAY / 2);
    // Written at the very instant at which the run begins: it may be newer than the list.
    story.mirror(&subscribed).await;
    story.stripe.state.change_price(&subscribed.object_id, 9_999);
    let report = story.run(story.rig.clock.now()).await.unwrap();
    assert_eq!(report.tally, Tally { checked: 1, in_flight: 1, ..Tally::default() });
}

#[tokio::test]
async fn what_was_made_after_the_window_is_not_looked_at() {
    let story = Story::begin().await;
    story.rig.clock.advance(DAY);
    let until = story.rig.clock.now();
    let subscribed = story.stripe.state.subscribe("cus_1", 2_000);
    story.stripe.state.bill_and_pay(&subscribed.object_id);
    let report = story.run(until).await.unwrap();
    assert_eq!(report.tally, Tally::default());
}

#[tokio::test]
async fn an_invoice_that_no_event_has_told_of_is_not_missed() {
    let story = Story::begin().await;
    let subscribed = story.stripe.state.subscribe("cus_1", 2_000);
    story.mirror(&subscribed).await;
    let draft = story.stripe.state.bill_in_vain(&subscribed.object_id).object_id;
    story.stripe.state.tamper(&draft, "status", json!("draft"));
    story.stripe.state.tamper(&draft, "attempt_count", json!(0));
    let report = story.next_day().await.unwrap();
    assert_eq!(report.tally, Tally { checked: 1, matched: 1, ..Tally::default() });
}

#[tokio::test]
async fn without_a_key_it_is_dead_and_says_what_to_set() {
    let rig = Rig::new(noon(), Outside::default()).await;
    let decision = reconcile(&rig.app, Timestamp::from_ms(0), Timestamp::from_ms(1)).await.map_err(decided);
    let (word, text) = decision.unwrap_err();
    assert!(word == "dead" && text.contains("STRIPE_SECRET_KEY"), "{word}: {text}");
}
