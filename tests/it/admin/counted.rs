//! `tidemill_enqueued_total`, as a scrape shows it: alike on both stores, on every road in.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tidemill::clock::Clock;
use tidemill::store::redis::{RedisAddress, RedisOptions, RedisStore};
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{Store, StoreRules};

use super::{House, START};

/// The lines of the metric, sorted.
async fn counted(house: &House) -> Vec<String> {
    let scrape = house.ask_as(&house.viewer, "GET", "/metrics", None).await.text;
    let mut lines: Vec<String> =
        scrape.lines().filter_map(|l| l.strip_prefix("tidemill_enqueued_total")).map(Into::into).collect();
    lines.sort();
    lines
}

async fn every_road_in_is_counted(house: &House) {
    house.job(json!({ "unique_key": "once" })).await;
    let order = json!({ "kind": "test.echo", "payload": { "text": "x" }, "unique_key": "once" });
    assert_eq!(house.ask("POST", "/api/v1/jobs", Some(order)).await.json()["duplicate"], true);
    house.job(json!({})).await;
    let refused = json!({ "kind": "test.echo", "payload": { "text": "x" }, "queue": "nowhere" });
    assert!(house.ask("POST", "/api/v1/jobs", Some(refused)).await.status.is_client_error());
    assert_eq!(
        counted(house).await,
        [r#"{queue="reports",outcome="duplicate"} 1"#, r#"{queue="reports",outcome="inserted"} 2"#]
    );
    // An event's job, and that of an endpoint's test.
    let endpoint = json!({ "url": "http://127.0.0.1:9/", "event_types": ["*"], "tenant": "acme" });
    let made = house.ask("POST", "/api/v1/endpoints", Some(endpoint)).await.json();
    let event = json!({ "id": "evt_1", "event_type": "a.b", "tenant": "acme", "payload": {} });
    house.ask("POST", "/api/v1/events", Some(event)).await;
    let test = format!("/api/v1/endpoints/{}/test", made["endpoint"]["id"].as_str().unwrap());
    assert!(house.ask("POST", &test, None).await.status.is_success());
    // A schedule's job, run by hand.
    assert!(house.ask("POST", "/api/v1/schedules/test.daily/run", None).await.status.is_success());
    assert_eq!(
        counted(house).await,
        [
            r#"{queue="notifications",outcome="inserted"} 2"#,
            r#"{queue="reports",outcome="duplicate"} 1"#,
            r#"{queue="reports",outcome="inserted"} 3"#
        ]
    );
}

#[tokio::test]
async fn jobs_are_counted_on_sqlite() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(START));
    let options = SqliteOptions::at(dir.path().join("queue.db"));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options, clock.clone()).await.unwrap());
    every_road_in_is_counted(&House::over(store, clock, handle, dir).await).await;
}

#[tokio::test]
async fn jobs_are_counted_on_redis() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(START));
    let url = format!("{}?namespace=counted", tidemill_testkit::shared_redis().url());
    let options = RedisOptions { address: RedisAddress::parse(&url).unwrap(), rules: StoreRules::default() };
    let store: Arc<dyn Store> = Arc::new(RedisStore::open(options, clock.clone()).await.unwrap());
    every_road_in_is_counted(&House::over(store, clock, handle, dir).await).await;
}
