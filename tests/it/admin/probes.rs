//! `/health`, `/ready`, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tidemill::admin::{Condition, Health};

use super::House;

#[tokio::test]
async fn ready_goes_red_with_the_database_while_health_stays_green() {
    let house = House::new().await;
    assert_eq!(house.ask_as("", "GET", "/ready", None).await.json(), json!({ "ready": true, "failing": [] }));
    house.db.close().await;
    let ready = house.ask_as("", "GET", "/ready", None).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json(), json!({ "ready": false, "failing": ["database"] }));
    assert_eq!(house.ask_as("", "GET", "/health", None).await.status, StatusCode::OK);
    let keyed = house.ask("GET", "/api/v1/queues", None).await;
    assert_eq!(keyed.status, StatusCode::SERVICE_UNAVAILABLE, "no key can be checked, so nobody is let in");
}

#[tokio::test]
async fn a_check_of_the_wiring_decides_readiness() {
    let house = House::new().await;
    let silent = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&silent);
    let health = Health::new(Arc::clone(&house.store), house.db.clone(), house.clock.clone());
    let health = health.with("claims", move || {
        if seen.load(Ordering::SeqCst) {
            Condition::Bad("silent for 31 s".into())
        } else {
            Condition::Good("ok".into())
        }
    });
    assert!(health.report().await.ready);
    silent.store(true, Ordering::SeqCst);
    let report = health.report().await;
    assert!(!report.ready);
    assert_eq!(report.checks.iter().find(|c| !c.ok).unwrap().detail, "silent for 31 s");
}

#[tokio::test]
async fn detailed_health_says_what_the_store_promises() {
    let house = House::new().await;
    let detailed = house.ask_as(&house.viewer, "GET", "/health/detailed", None).await.json();
    assert_eq!(detailed["ready"], true);
    assert_eq!(detailed["checks"][0]["check"], "store");
    assert!(detailed["checks"][0]["detail"].as_str().unwrap().starts_with("sqlite, schema "));
}

#[tokio::test]
async fn a_scrape_shows_the_stores_counters_of_this_moment() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // The test runs on one thread, so the recorder of this thread is the process's.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let house = House::with_recorder(handle).await;
    house.job(json!({})).await;
    house.clock.advance(std::time::Duration::from_secs(90));
    let scrape = house.ask_as(&house.viewer, "GET", "/metrics", None).await;
    assert_eq!(scrape.status, StatusCode::OK);
    assert!(scrape.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        r#"tidemill_jobs{queue="reports",state="ready"} 1"#,
        r#"tidemill_jobs{queue="reports",state="dead"} 0"#,
        r#"tidemill_oldest_ready_seconds{queue="reports"} 90"#,
        "tidemill_lease_refusals_total 0",
        "tidemill_store_up 1",
    ] {
        assert!(scrape.text.lines().any(|l| l == line), "no line {line} in\n{}", scrape.text);
    }
    house.ask("POST", "/api/v1/queues/reports/purge", None).await;
    let scrape = house.ask_as(&house.viewer, "GET", "/metrics", None).await;
    assert!(scrape.text.contains(r#"tidemill_jobs{queue="reports",state="ready"} 0"#));
    assert!(scrape.text.contains(r#"tidemill_oldest_ready_seconds{queue="reports"} 0"#));
    house.ask_as("tm_guess", "GET", "/metrics", None).await;
    let scrape = house.ask_as(&house.viewer, "GET", "/metrics", None).await;
    assert!(scrape.text.contains(r#"tidemill_auth_refused_total{reason="wrong_key"} 1"#), "{}", scrape.text);
}

#[tokio::test]
async fn behind_the_real_listener_the_peers_address_is_known() {
    let house = House::new().await;
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/queues/reports/pause", tcp.local_addr().unwrap());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let limits = tidemill::listener::ListenerLimits { name: "operators", ..Default::default() };
    let serving = tidemill::listener::serve(tcp, house.router.clone(), limits, shutdown.clone());
    let asking = async {
        let client = tidemill::outbound::client(std::time::Duration::from_secs(10)).unwrap();
        let request = client.post(url).bearer_auth(&house.operator);
        assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
        shutdown.cancel();
    };
    tokio::join!(serving, asking);
    let row = house.ask("GET", "/api/v1/audit", None).await.json()["items"][0].clone();
    assert_eq!((&row["source"], &row["action"]), (&json!("127.0.0.1"), &json!("queue.pause")));
}
