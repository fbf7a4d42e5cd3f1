//! The audit log: a row for each change, and no change without one.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::House;

#[tokio::test]
async fn a_change_says_who_what_from_where_before_and_after() {
    let house = House::new().await;
    let operator = house.keys.verify(&house.operator).await.unwrap().id;
    house.ask_as(&house.operator, "POST", "/api/v1/queues/reports/pause", None).await;
    let rows = house.ask("GET", "/api/v1/audit", None).await.json();
    let row = &rows["items"][0];
    assert_eq!(row["actor"], format!("key:{operator}"));
    assert_eq!(row["source"], "192.0.2.7");
    assert_eq!(row["action"], "queue.pause");
    assert_eq!(row["subject"], "queue:reports");
    assert_eq!(row["before"], json!({ "paused": false }));
    assert_eq!(row["after"], json!({ "paused": true }));
    assert_eq!(row["at"], house.clock.now().to_string());
}

#[tokio::test]
async fn every_changing_route_leaves_a_row_and_no_reading_one_does() {
    let house = House::new().await;
    let dead = house.job(json!({ "delay_ms": 60_000 })).await;
    let key = house.ask("POST", "/api/v1/keys", Some(json!({ "name": "k", "role": "viewer" }))).await.json();
    let key = key["record"]["id"].as_str().unwrap().to_owned();
    let changes = [
        format!("/api/v1/jobs/{dead}/retry"),
        format!("/api/v1/jobs/{dead}/cancel"),
        "/api/v1/queues/reports/pause".into(),
        "/api/v1/queues/reports/resume".into(),
        "/api/v1/queues/reports/purge".into(),
        format!("/api/v1/keys/{key}/revoke"),
    ];
    let before = house.audit_rows().await;
    assert_eq!(before, 2, "the enqueued job and the key");
    for (n, path) in (1..).zip(&changes) {
        let reply = house.ask("POST", path, None).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
        assert_eq!(house.audit_rows().await, before + n, "{path}");
    }
    house.ask("DELETE", &format!("/api/v1/jobs/{dead}"), None).await;
    let rows = house.audit_rows().await;
    assert_eq!(rows, before + 7);
    for path in ["/api/v1/queues", "/api/v1/jobs", "/api/v1/keys", "/api/v1/audit", "/api/v1/workers"] {
        assert_eq!(house.ask("GET", path, None).await.status, StatusCode::OK);
    }
    assert_eq!(house.audit_rows().await, rows);
}

#[tokio::test]
async fn a_refused_change_is_in_the_log_as_refused() {
    let house = House::new().await;
    let id = house.job(json!({})).await;
    let reply = house.ask("DELETE", &format!("/api/v1/jobs/{id}"), None).await;
    assert_eq!(reply.status, StatusCode::CONFLICT, "a ready job is not finished");
    let row = &house.ask("GET", "/api/v1/audit", None).await.json()["items"][0];
    assert_eq!(row["action"], "job.delete");
    assert!(row["after"]["refused"].as_str().unwrap().contains(&id), "{row}");
}

#[tokio::test]
async fn nothing_is_changed_when_the_log_cannot_be_written() {
    let house = House::new().await;
    tidemill::on_pool!(house.db.write(), pool => {
        sqlx::query("drop table audit_log").execute(pool).await.unwrap();
    });
    let order = json!({ "kind": "test.echo", "payload": { "text": "hello" } });
    for (path, body) in [("/api/v1/queues/reports/pause", None), ("/api/v1/jobs", Some(order))] {
        let reply = house.ask("POST", path, body).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        assert!(reply.headers.contains_key("retry-after"));
        assert!(!reply.text.contains("audit_log"), "internal text stays inside: {}", reply.text);
    }
    let counts = house.counts().await;
    assert!(counts.queues.iter().all(|q| !q.paused && q.ready == 0), "{counts:?}");
}

#[tokio::test]
async fn the_log_is_paged_newest_first() {
    let house = House::new().await;
    for _ in 0..5 {
        house.ask("POST", "/api/v1/queues/reports/pause", None).await;
    }
    let first = house.ask("GET", "/api/v1/audit?limit=3", None).await.json();
    let next = first["next"].as_str().unwrap();
    // A change in between moves nothing.
    house.ask("POST", "/api/v1/queues/reports/resume", None).await;
    let second = house.ask("GET", &format!("/api/v1/audit?limit=3&cursor={next}"), None).await.json();
    assert_eq!(second["next"], Value::Null);
    let ids = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|r| r["id"].as_i64().unwrap()).collect()
    };
    assert_eq!([ids(&first), ids(&second)].concat(), [5, 4, 3, 2, 1]);
}
