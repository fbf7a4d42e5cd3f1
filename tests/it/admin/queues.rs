//! Queues: counts, pause, resume, purge.

use serde_json::{Value, json};

use super::House;

#[tokio::test]
async fn queues_show_their_counters_and_whether_they_are_paused() {
    let house = House::new().await;
    house.job(json!({})).await;
    house.job(json!({ "delay_ms": 1000 })).await;
    let paused = house.ask("POST", "/api/v1/queues/reports/pause", None).await;
    assert_eq!(paused.json(), json!({ "paused": true, "changed": true }));
    let again = house.ask("POST", "/api/v1/queues/reports/pause", None).await;
    assert_eq!(again.json(), json!({ "paused": true, "changed": false }));
    let queues = house.ask_as(&house.viewer, "GET", "/api/v1/queues", None).await.json();
    assert_eq!(queues["next"], Value::Null);
    let reports = queues["items"].as_array().unwrap().iter().find(|q| q["queue"] == "reports").unwrap();
    assert_eq!((&reports["ready"], &reports["scheduled"], &reports["paused"]), (&json!(1), &json!(1), &json!(true)));
    let resumed = house.ask("POST", "/api/v1/queues/reports/resume", None).await;
    assert_eq!(resumed.json(), json!({ "paused": false, "changed": true }));
}

#[tokio::test]
async fn a_purge_cancels_what_waits() {
    let house = House::new().await;
    for _ in 0..3 {
        house.job(json!({})).await;
    }
    house.job(json!({ "delay_ms": 1000 })).await;
    house.job(json!({ "queue": "high_priority" })).await;
    let purged = house.ask("POST", "/api/v1/queues/reports/purge", None).await;
    assert_eq!(purged.json(), json!({ "cancelled": 4, "more": false }));
    let counts = house.counts().await;
    let of = |name: &str| counts.queues.iter().find(|q| q.queue.as_str() == name).unwrap().clone();
    assert_eq!((of("reports").ready, of("reports").scheduled, of("reports").cancelled), (0, 0, 4));
    assert_eq!(of("high_priority").ready, 1, "another queue is not touched");
}

#[tokio::test]
async fn queues_are_paged_in_the_order_of_their_names() {
    let house = House::new().await;
    let first = house.ask("GET", "/api/v1/queues?limit=2", None).await.json();
    assert_eq!(
        (&first["items"][0]["queue"], &first["items"][1]["queue"]),
        (&json!("high_priority"), &json!("notifications"))
    );
    let path = format!("/api/v1/queues?limit=2&cursor={}", first["next"].as_str().unwrap());
    let second = house.ask("GET", &path, None).await.json();
    assert_eq!((&second["items"][0]["queue"], &second["next"]), (&json!("reports"), &Value::Null));
}
