//! `webhook_events` for operators: pages, filters, repeats, and being processed again.

use std::time::Duration;

use tidemill::admin::{InboxFilter, InboxPlace};
use tidemill::clock::Timestamp;
use tidemill::ingress::{Repeat, Repeats};
use tidemill::job::JobId;
use tidemill_jobs::fakes::stripe::start;
use tidemill_jobs::handlers::stripe_event::apply;
use tidemill_jobs::handlers::webhook_received::receive;
use tidemill_jobs::inbox::write_counts;
use tidemill_jobs::store::events::{self, Received};
use tidemill_jobs::store::inbox;

use crate::rig::{NOON, Outside, Rig, decided, noon};
use crate::stripe_event::{FIRST, by, webhook};

async fn keep(rig: &Rig, source: &str, id: &str, event_type: &str, seconds: u64) {
    let event = Received {
        source,
        event_id: id,
        event_type,
        received_at: NOON.after(Duration::from_secs(seconds)),
        verified_with: Some("SECRET"),
        headers: "{}",
        body: b"\x00\xff",
        queue: "reports",
        handle_as: Some("some.kind"),
        job: FIRST,
    };
    let mut tx = rig.app.db.begin().await.unwrap();
    assert!(events::record(&mut tx, event).await.unwrap());
    tx.commit().await.unwrap();
}

async fn all(rig: &Rig, filter: &InboxFilter, limit: u32) -> Vec<String> {
    let (mut ids, mut place) = (Vec::new(), None::<InboxPlace>);
    for _ in 0..100 {
        let page = inbox::list(&rig.app.db, filter, place.as_ref(), limit).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        ids.extend(page.items.into_iter().map(|webhook| webhook.event_id));
        place = page.next;
        if place.is_none() {
            return ids;
        }
    }
    panic!("the pages have no end: {ids:?}");
}

#[tokio::test]
async fn pages_miss_and_repeat_nothing_also_when_many_came_at_once() {
    let rig = Rig::new(noon(), Outside::default()).await;
    for n in 0..7 {
        keep(&rig, if n % 2 == 0 { "a" } else { "b" }, &format!("e{n}"), "x", n / 4).await;
    }
    // Newest first; of those at the same time, by source and id.
    let newest = ["e5", "e6", "e4", "e3", "e1", "e2", "e0"];
    for limit in [1, 2, 3, 7, 50] {
        assert_eq!(all(&rig, &InboxFilter::default(), limit).await, newest, "{limit}");
    }
    let filter = InboxFilter { source: Some("a".into()), ..InboxFilter::default() };
    for limit in [1, 3, 4] {
        assert_eq!(all(&rig, &filter, limit).await, ["e6", "e4", "e2", "e0"], "{limit}");
    }
}

#[tokio::test]
async fn filters_work_together_and_a_page_may_be_short() {
    let rig = Rig::new(noon(), Outside::default()).await;
    for n in 0..1_100 {
        keep(&rig, "a", &format!("e{n:04}"), if n == 3 { "rare" } else { "x" }, n).await;
    }
    let filter = InboxFilter { event_type: Some("rare".into()), ..InboxFilter::default() };
    let first = inbox::list(&rig.app.db, &filter, None, 50).await.unwrap();
    assert!(first.items.is_empty() && first.next.is_some(), "it looks at a bounded number of rows: {first:?}");
    assert_eq!(all(&rig, &filter, 50).await, ["e0003"]);
    let at = |s: u64| Some(NOON.after(Duration::from_secs(s)));
    let filter = InboxFilter { since: at(2), until: at(5), ..InboxFilter::default() };
    assert_eq!(all(&rig, &filter, 2).await, ["e0004", "e0003", "e0002"]);
    let filter = InboxFilter { event_type: Some("rare".into()), source: Some("a".into()), ..filter };
    assert_eq!(all(&rig, &filter, 2).await, ["e0003"]);
    let filter = InboxFilter { state: Some("applied".into()), ..filter };
    assert!(all(&rig, &filter, 2).await.is_empty());
}

fn repeat(id: &str, same: u64, differing: u64, at: u64) -> Repeat {
    let last_at = NOON.after(Duration::from_secs(at));
    Repeat { source: "stripe".into(), event_id: id.into(), same, differing, last_at }
}

#[tokio::test]
async fn repeats_add_up_also_before_the_event_is_recorded() {
    let rig = Rig::new(noon(), Outside::default()).await;
    let repeats = Repeats::default();
    repeats.add(repeat("e", 2, 0, 9));
    write_counts(&rig.app.db, &repeats).await;
    keep(&rig, "stripe", "e", "x", 0).await;
    repeats.add(repeat("e", 1, 3, 4));
    repeats.add(repeat("e", 1, 0, 5));
    write_counts(&rig.app.db, &repeats).await;
    write_counts(&rig.app.db, &repeats).await;
    let webhook = inbox::find(&rig.app.db, "stripe", "e").await.unwrap().unwrap();
    assert_eq!((webhook.duplicates, webhook.differing), (4, 3));
    assert_eq!(webhook.last_duplicate_at, Some(NOON.after(Duration::from_secs(9))));
    assert_eq!((webhook.verified_with.as_deref(), webhook.job, webhook.body_bytes), (Some("SECRET"), Some(FIRST), 2));
}

#[tokio::test]
async fn counts_that_the_database_does_not_take_are_counted_the_next_time() {
    let rig = Rig::new(noon(), Outside::default()).await;
    let repeats = Repeats::default();
    repeats.add(repeat("e", 2, 1, 0));
    rig.app.db.clone().close().await;
    write_counts(&rig.app.db, &repeats).await;
    assert_eq!(repeats.take().0, [repeat("e", 2, 1, 0)]);
}

#[tokio::test]
async fn a_redelivered_event_is_processed_again_and_its_outcome_is_the_new_one() {
    let fake = start(0, noon()).await.unwrap();
    let rig = Rig::new(noon(), Outside::default().stripe(&fake)).await;
    let event = fake.state.subscribe("cus_1", 2_000);
    let came = webhook(&event, &rig);
    receive(&rig.app, &came, by(FIRST)).await.map_err(decided).unwrap();
    apply(&rig.app, &event.id, rig.clock.now()).await.map_err(decided).unwrap();
    let look = async || inbox::find(&rig.app.db, "stripe", &event.id).await.unwrap().unwrap();
    assert_eq!((look().await.state.as_str(), look().await.redeliveries), ("applied", 0));
    assert_eq!(look().await.verified_with.as_deref(), Some("env:STRIPE_WEBHOOK_SECRET"));

    let second = JobId::from_bytes([2; 16]);
    for attempt in 1..=2 {
        let done = receive(&rig.app, &came, by(second)).await.map_err(decided).unwrap();
        assert_eq!(done.then.len(), 1, "{attempt}");
        let webhook = look().await;
        assert_eq!((webhook.state.as_str(), webhook.redeliveries, webhook.job), ("received", 1, Some(second)));
        assert_eq!(webhook.finished_at, None);
    }
    // The first job, if it is still being tried, takes nothing back.
    receive(&rig.app, &came, by(FIRST)).await.map_err(decided).unwrap();
    assert_eq!((look().await.job, look().await.redeliveries), (Some(second), 1));
    apply(&rig.app, &event.id, rig.clock.now()).await.map_err(decided).unwrap();
    assert_eq!(look().await.state, "applied", "the mirror has it from before, and that is what counts");
    assert_eq!(rig.count("stripe_subscriptions").await, 1);
}

#[tokio::test]
async fn a_source_is_known_by_when_it_spoke_before_the_start() {
    let rig = Rig::new(noon(), Outside::default()).await;
    for n in 0..8 {
        keep(&rig, if n == 7 { "other" } else { "stripe" }, &format!("e{n}"), "x", n * 60).await;
    }
    let times = inbox::last_times(&rig.app.db, "stripe", 3).await.unwrap();
    assert_eq!(times, [4, 5, 6].map(|n| NOON.after(Duration::from_secs(n * 60))), "the last ones, oldest first");
}

#[tokio::test]
async fn old_counts_are_pruned() {
    let rig = Rig::new(noon(), Outside::default()).await;
    inbox::count_repeats(&rig.app.db, &[repeat("old", 1, 0, 0), repeat("new", 1, 0, 10)]).await.unwrap();
    let before: Timestamp = NOON.after(Duration::from_secs(5));
    assert_eq!(inbox::prune_repeats(&rig.app.db, before, 10).await.unwrap(), 1);
    assert_eq!(rig.count("webhook_repeats").await, 1);
}
