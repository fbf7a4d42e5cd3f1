//! Jobs over HTTP: order, list, show, retry, cancel, delete.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tidemill::clock::Entropy;
use tidemill::job::{DeadReason, Incarnation, JobState};
use tidemill::store::{Beat, Settled, Settlement, Verdict};

use super::House;

#[tokio::test]
async fn an_ordered_job_is_kept_with_all_that_was_said() {
    let house = House::new().await;
    let order = json!({
        "kind": "test.echo", "payload": { "text": "1.10" }, "queue": "high_priority", "priority": 2, "delay_ms": 30_000,
        "tenant": "t1", "unique_key": "echo:1", "correlation_id": "c1", "tags": ["by hand"],
    });
    let reply = house.ask_as(&house.operator, "POST", "/api/v1/jobs", Some(order.clone())).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    let id = reply.json()["job"].as_str().unwrap().to_owned();
    assert_eq!(reply.headers["location"], format!("/api/v1/jobs/{id}"));
    let shown = house.ask("GET", &format!("/api/v1/jobs/{id}"), None).await.json();
    let job = &shown["job"];
    let operator = house.keys.verify(&house.operator).await.unwrap().id;
    for (field, value) in [
        ("queue", json!("high_priority")),
        ("priority", json!(2)),
        ("state", json!("scheduled")),
        ("payload", json!({ "text": "1.10" })),
        ("tenant", json!("t1")),
        ("unique_key", json!("echo:1")),
        ("correlation_id", json!("c1")),
        ("tags", json!(["by hand"])),
        ("run_at", json!(house.clock.now().after(Duration::from_secs(30)).to_string())),
        ("enqueued_by", json!(format!("api:{operator}"))),
        ("max_attempts", json!(12)),
    ] {
        assert_eq!(job[field], value, "{field}");
    }
    assert_eq!(shown["why"]["why"], "not_due");

    let again = house.ask_as(&house.operator, "POST", "/api/v1/jobs", Some(order)).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.json(), json!({ "job": id, "duplicate": true }));
}

#[tokio::test]
async fn a_viewer_sees_a_job_but_neither_payload_nor_result() {
    let house = House::new().await;
    let id = house.job(json!({ "payload": { "text": "account 4711" } })).await;
    complete(&house, "balance 12.50").await;
    let path = format!("/api/v1/jobs/{id}");
    let seen = house.ask_as(&house.viewer, "GET", &path, None).await;
    assert_eq!(seen.status, StatusCode::OK);
    assert_eq!(seen.json()["payload_shown"], false);
    assert_eq!(seen.json()["job"]["state"], "completed");
    assert!(!seen.text.contains("4711") && !seen.text.contains("12.50"), "{}", seen.text);
    for key in [&house.operator, &house.admin] {
        let seen = house.ask_as(key, "GET", &path, None).await;
        assert_eq!(seen.json()["payload_shown"], true);
        assert!(seen.text.contains("4711") && seen.text.contains("12.50"), "{}", seen.text);
        let listed = house.ask_as(key, "GET", "/api/v1/jobs", None).await;
        assert!(listed.text.contains(&id) && !listed.text.contains("4711"), "lists carry no payloads: {}", listed.text);
    }
}

#[tokio::test]
async fn a_list_is_filtered_and_paged_without_gaps() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        house.clock.advance(Duration::from_millis(1));
        ids.push(house.job(json!({ "tenant": format!("t{}", n % 2) })).await);
    }
    let elsewhere = house.job(json!({ "queue": "high_priority" })).await;
    let later = house.job(json!({ "delay_ms": 5 })).await;
    assert_eq!(pages(&house, "queue=reports&state=ready").await, ids, "in the order in which they will be claimed");
    let mut newest_first = [ids.clone(), vec![elsewhere.clone(), later.clone()]].concat();
    newest_first.reverse();
    assert_eq!(pages(&house, "").await, newest_first);
    assert_eq!(pages(&house, "tenant=t1&kind=test.echo").await, [ids[3].clone(), ids[1].clone()]);
    assert_eq!(pages(&house, "state=scheduled").await, [later]);
    assert_eq!(pages(&house, "queue=high_priority").await, [elsewhere]);
    assert!(pages(&house, "kind=never.heard").await.is_empty());
}

/// The ids on all pages of two.
async fn pages(house: &House, filter: &str) -> Vec<String> {
    let (mut seen, mut path) = (Vec::new(), format!("/api/v1/jobs?limit=2&{filter}"));
    loop {
        let page = house.ask_as(&house.viewer, "GET", &path, None).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {page:?}");
        let page = page.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|j| j["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { return seen };
        path = format!("/api/v1/jobs?limit=2&{filter}&cursor={next}");
    }
}

#[tokio::test]
async fn a_dead_job_is_retried_and_a_running_one_is_not() {
    let house = House::new().await;
    let id = house.job(json!({})).await;
    let path = format!("/api/v1/jobs/{id}/retry");
    settle(&house, Verdict::Dead { reason: DeadReason::Permanent, error: "no such account".into() }).await;
    let shown = house.ask("GET", &format!("/api/v1/jobs/{id}"), None).await.json();
    assert_eq!((&shown["job"]["state"], &shown["job"]["dead_reason"]), (&json!("dead"), &json!("permanent")));
    let retried = house.ask_as(&house.operator, "POST", &path, None).await;
    assert_eq!(retried.json(), json!({ "outcome": "revived" }));
    let again = house.ask_as(&house.operator, "POST", &path, None).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(again.json()["detail"].as_str().unwrap().contains("is ready"), "{}", again.text);
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_with_a_reason_and_then_deleted() {
    let house = House::new().await;
    let id = house.job(json!({})).await;
    let cancel = format!("/api/v1/jobs/{id}/cancel");
    let reply = house.ask_as(&house.operator, "POST", &cancel, Some(json!({ "reason": "asked twice" }))).await;
    assert_eq!(reply.json(), json!({ "outcome": "cancelled" }), "{reply:?}");
    let shown = house.ask("GET", &format!("/api/v1/jobs/{id}"), None).await;
    assert!(shown.text.contains("asked twice"), "{}", shown.text);
    assert_eq!(house.ask("DELETE", &format!("/api/v1/jobs/{id}"), None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(house.ask("GET", &format!("/api/v1/jobs/{id}"), None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.counts().await.queues.iter().map(|q| q.cancelled).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_worker_is_listed_and_drained() {
    let house = House::new().await;
    let worker = beat(&house).await;
    let listed = house.ask_as(&house.viewer, "GET", "/api/v1/workers", None).await.json();
    assert_eq!(listed["items"][0]["id"], worker.to_string());
    assert_eq!(listed["items"][0]["draining"], false);
    let drained = house.ask_as(&house.operator, "POST", &format!("/api/v1/workers/{worker}/drain"), None).await;
    assert_eq!(drained.status, StatusCode::ACCEPTED);
    let listed = house.ask("GET", "/api/v1/workers", None).await.json();
    assert_eq!(listed["items"][0]["draining"], true);
    let nobody = Incarnation::new(&Entropy::seeded(99));
    let refused = house.ask("POST", &format!("/api/v1/workers/{nobody}/drain"), None).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
}

async fn complete(house: &House, result: &str) {
    let result = serde_json::value::to_raw_value(&Value::from(result)).unwrap();
    settle(house, Verdict::Complete { result: Some(result), children: Vec::new() }).await;
}

/// Claims the one ready job of `reports` and ends it so.
async fn settle(house: &House, verdict: Verdict) {
    let worker = beat(house).await;
    let queue = "reports".parse().unwrap();
    let claimed = house.store.claim(&queue, worker, 1, Duration::ZERO).await.unwrap().remove(0);
    let batch = [Settlement { lease: claimed.lease, verdict }];
    let settled = house.store.settle(batch.into()).await.unwrap();
    assert!(matches!(settled[..], [Settled::Accepted(JobState::Completed | JobState::Dead)]), "{settled:?}");
}

async fn beat(house: &House) -> Incarnation {
    let incarnation = Incarnation::new(&Entropy::seeded(5));
    let beat = Beat {
        incarnation,
        label: "host-1".into(),
        queues: vec!["reports".parse().unwrap()],
        running: 0,
        lease: Duration::from_secs(30),
        worker_now: house.clock.now(),
    };
    house.store.heartbeat(beat).await.unwrap();
    incarnation
}
