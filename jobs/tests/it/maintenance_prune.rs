//! `maintenance.prune`: what is old goes, in bounded batches, and what is not stays.

use std::collections::BTreeSet;
use std::time::Duration;

use tidemill::job::QueueName;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{QueueSettings, Retention, Store};
use tidemill_jobs::handlers::maintenance_prune::{Report, prune};
use tidemill_jobs::store::events::{self, Received};
use tidemill_jobs::store::market::{self, Reading};

use crate::rig::{NOON, Outside, Rig, noon};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn reading(n: usize, observed_at: tidemill::clock::Timestamp) -> Reading {
    Reading {
        platform: "vast.ai".to_owned(),
        region: "global".to_owned(),
        gpu_model: format!("GPU {n}"),
        observed_at,
        rented: 0,
        available: 0,
        total: 0,
        utilization: None,
        price: None,
        price_p10: None,
        price_p90: None,
    }
}

async fn event(rig: &Rig, id: &str, received_at: tidemill::clock::Timestamp) {
    let event = Received {
        source: "stripe",
        event_id: id,
        event_type: "x",
        received_at,
        verified_with: None,
        headers: "{}",
        body: b"{}",
        queue: "reports",
        handle_as: Some("some.kind"),
        job: crate::stripe_event::FIRST,
    };
    let mut tx = rig.app.db.begin().await.unwrap();
    assert!(events::record(&mut tx, event).await.unwrap());
    tx.commit().await.unwrap();
}

async fn store(rig: &Rig) -> SqliteStore {
    let path = rig.dir.path().join("queue.db");
    let store = SqliteStore::open(SqliteOptions::at(path), rig.clock.clone()).await.unwrap();
    let names: BTreeSet<QueueName> = BTreeSet::from(["maintenance".parse().unwrap()]);
    let settings = |name| QueueSettings { name, rate: None, retention: Retention::default() };
    store.declare_queues(names.into_iter().map(settings).collect()).await.unwrap();
    store
}

#[tokio::test]
async fn market_data_goes_after_48_hours_and_webhooks_after_30_days() {
    let rig = Rig::new(noon(), Outside::default()).await;
    let store = store(&rig).await;
    // More than one batch of them.
    let old: Vec<Reading> = (0..2_500).map(|n| reading(n, NOON)).collect();
    market::save(&rig.app.db, "vast.ai", None, NOON, &old, NOON).await.unwrap();
    event(&rig, "evt_old", NOON).await;

    rig.clock.advance(DAY * 2);
    let nothing = prune(&rig.app, &store, rig.clock.now()).await.unwrap();
    assert_eq!(nothing, Report::default(), "exactly 48 h old is still kept");
    let young = reading(0, rig.clock.now());
    market::save(&rig.app.db, "vast.ai", None, rig.clock.now(), &[young], rig.clock.now()).await.unwrap();
    rig.clock.advance(Duration::from_millis(1));
    let report = prune(&rig.app, &store, rig.clock.now()).await.unwrap();
    assert_eq!((report.market_data, report.webhook_events, report.more), (2_500, 0, false));
    assert_eq!(rig.count("market_data").await, 1);

    rig.clock.advance(DAY * 28);
    event(&rig, "evt_new", rig.clock.now()).await;
    let report = prune(&rig.app, &store, rig.clock.now()).await.unwrap();
    assert_eq!((report.market_data, report.webhook_events), (1, 1));
    assert_eq!(events::body(&rig.app.db, "stripe", "evt_old").await.unwrap(), None);
    assert!(events::body(&rig.app.db, "stripe", "evt_new").await.unwrap().is_some());
}

#[tokio::test]
async fn a_run_is_bounded_and_says_that_more_is_left() {
    let rig = Rig::new(noon(), Outside::default()).await;
    let store = store(&rig).await;
    let old: Vec<Reading> = (0..50_001).map(|n| reading(n, NOON)).collect();
    market::save(&rig.app.db, "vast.ai", None, NOON, &old, NOON).await.unwrap();
    rig.clock.advance(DAY * 3);
    let report = prune(&rig.app, &store, rig.clock.now()).await.unwrap();
    assert_eq!((report.market_data, report.more), (50_000, true));
    let report = prune(&rig.app, &store, rig.clock.now()).await.unwrap();
    assert_eq!((report.market_data, report.more), (1, false));
}
