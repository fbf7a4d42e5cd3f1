//! `/health`, `/ready`, `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tidemill::admin::{Condition, Health, Vitals};
use tidemill::clock::{Clock, Timestamp};
use tidemill::job::{Incarnation, Progress};
use tidemill::store::{Beat, Settlement, Verdict};

use super::{House, START};

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
    house.clock.advance(Duration::from_secs(90));
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
        let client = tidemill::outbound::client(Duration::from_secs(10)).unwrap();
        let request = client.post(url).bearer_auth(&house.operator);
        assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
        shutdown.cancel();
    };
    tokio::join!(serving, asking);
    let row = house.ask("GET", "/api/v1/audit", None).await.json()["items"][0].clone();
    assert_eq!((&row["source"], &row["action"]), (&json!("127.0.0.1"), &json!("queue.pause")));
}

#[tokio::test]
async fn a_clock_that_is_far_off_the_stores_makes_the_process_unready() {
    let house = House::new().await;
    for (off, ready) in [(0, true), (-299_000, true), (301_000, false), (-86_400_000, false)] {
        let mine = Clock::manual(Timestamp::from_ms(START.as_ms() + off));
        let vitals = Arc::new(Vitals::new(Arc::clone(&house.store), mine, BTreeMap::new()));
        let health = vitals.checked(Health::new(Arc::clone(&house.store), house.db.clone(), house.clock.clone()));
        assert!(health.report().await.ready, "nothing is known yet");
        vitals.look().await.unwrap();
        let report = health.report().await;
        assert_eq!(report.ready, ready, "{off} ms off: {report:?}");
        let clock = report.checks.iter().find(|c| c.check == "clock").unwrap();
        let shown = if ready { off } else { off / 1_000 };
        assert!(clock.ok == ready && clock.detail.contains(&shown.to_string()), "{clock:?}");
    }
}

#[tokio::test]
async fn stale_writes_that_the_store_refused_are_shown() {
    let house = House::new().await;
    let vitals = Arc::new(Vitals::new(Arc::clone(&house.store), house.clock.clone(), BTreeMap::new()));
    let health = vitals.checked(Health::new(Arc::clone(&house.store), house.db.clone(), house.clock.clone()));
    let worker = Incarnation::from_bytes([7; 16]);
    let beat = Beat {
        incarnation: worker,
        label: "test".into(),
        queues: Vec::new(),
        running: 0,
        lease: Duration::from_secs(60),
        worker_now: house.clock.now(),
    };
    house.store.heartbeat(beat).await.unwrap();
    house.job(json!({})).await;
    let claimed = house.store.claim(&"reports".parse().unwrap(), worker, 1, Duration::ZERO).await.unwrap();
    let lease = claimed.into_iter().next().unwrap().lease;
    let stale = lease.token();
    let done = Settlement { lease, verdict: Verdict::Complete { result: None, children: Vec::new() } };
    house.store.settle([done].into()).await.unwrap();
    for refused in 0..3 {
        vitals.look().await.unwrap();
        let report = health.report().await;
        let leases = report.checks.iter().find(|c| c.check == "leases").unwrap();
        assert_eq!(leases.detail, format!("the store has refused {refused} stale writes since it was made"));
        assert!(!house.store.progress(stale, Progress { percent: 1, note: String::new() }).await.unwrap());
    }
}
