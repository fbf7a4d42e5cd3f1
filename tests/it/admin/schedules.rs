//! Schedules over HTTP. What a plan means is tested with the scheduler.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::House;

async fn shown(house: &House) -> Value {
    house.ask_as(&house.viewer, "GET", "/api/v1/schedules", None).await.json()["items"][0].clone()
}

#[tokio::test]
async fn a_schedule_is_paused_and_resumed_with_its_history() {
    let house = House::new().await;
    let before = shown(&house).await;
    assert_eq!((&before["name"], &before["paused"]), (&json!("test.daily"), &json!(false)));
    assert_eq!(before["next_due"], "2026-01-02T06:00:00.000Z");
    let paused = house.ask_as(&house.operator, "POST", "/api/v1/schedules/test.daily/pause", None).await;
    assert_eq!(paused.status, StatusCode::OK, "{paused:?}");
    assert_eq!((&paused.json()["paused"], &paused.json()["next_due"]), (&json!(true), &Value::Null));
    house.ask_as(&house.operator, "POST", "/api/v1/schedules/test.daily/resume", None).await;
    assert_eq!(shown(&house).await["paused"], false);
    let history = house.ask_as(&house.viewer, "GET", "/api/v1/schedules/test.daily/history", None).await.json();
    let operator = house.keys.verify(&house.operator).await.unwrap().id;
    assert_eq!(history["items"].as_array().unwrap().len(), 2, "{history}");
    for entry in history["items"].as_array().unwrap() {
        assert_eq!(entry["what"], "changed");
        assert!(entry["note"].as_str().unwrap().contains(operator.as_str()), "{entry}");
    }
    let unknown = house.ask("GET", "/api/v1/schedules/none/history", None).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_schedule_follows_another_plan_until_it_is_taken_back() {
    let house = House::new().await;
    let plan = json!({ "cron": "30 7 * * *" });
    let changed = house.ask_as(&house.operator, "PUT", "/api/v1/schedules/test.daily", Some(plan.clone())).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    assert_eq!(changed.json()["overridden"], plan);
    assert_eq!(shown(&house).await["next_due"], "2026-01-02T07:30:00.000Z");
    let row = house.ask("GET", "/api/v1/audit", None).await.json()["items"][0].clone();
    assert_eq!((&row["action"], &row["before"]["overridden"]), (&json!("schedule.plan"), &Value::Null));
    assert_eq!(row["after"]["overridden"], plan);
    let back = house.ask_as(&house.operator, "PUT", "/api/v1/schedules/test.daily", Some(json!({}))).await;
    assert_eq!(back.json()["overridden"], Value::Null, "{back:?}");
    assert_eq!(shown(&house).await["next_due"], "2026-01-02T06:00:00.000Z");
}

#[tokio::test]
async fn a_schedule_that_is_run_by_hand_enqueues_its_job_and_keeps_its_plan() {
    let house = House::new().await;
    let run = house.ask_as(&house.operator, "POST", "/api/v1/schedules/test.daily/run", None).await;
    assert_eq!(run.status, StatusCode::ACCEPTED, "{run:?}");
    let job = house.ask("GET", &format!("/api/v1/jobs/{}", run.json()["job"].as_str().unwrap()), None).await.json();
    assert_eq!(job["job"]["payload"], json!({ "text": house.clock.now().to_string() }));
    let operator = house.keys.verify(&house.operator).await.unwrap().id;
    assert_eq!(job["job"]["enqueued_by"], format!("api:{operator}"));
    assert_eq!(shown(&house).await["next_due"], "2026-01-02T06:00:00.000Z");
}
