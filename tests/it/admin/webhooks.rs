//! Webhooks out over HTTP: events, endpoints, secrets. What a delivery does is tested with fan-out.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::House;

async fn endpoint(house: &House) -> (String, String) {
    let order = json!({ "url": "http://127.0.0.1:9/hook", "event_types": ["invoice.*"], "tenant": "acme" });
    let made = house.ask("POST", "/api/v1/endpoints", Some(order)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let made = made.json();
    (made["endpoint"]["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_published_event_becomes_one_job_however_often_it_is_published() {
    let house = House::new().await;
    let event = json!({ "id": "evt_1", "event_type": "invoice.paid", "tenant": "acme", "payload": { "n": 1 } });
    let first = house.ask_as(&house.operator, "POST", "/api/v1/events", Some(event.clone())).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{first:?}");
    let again = house.ask_as(&house.operator, "POST", "/api/v1/events", Some(event)).await.json();
    assert_eq!(again, json!({ "job": first.json()["job"], "duplicate": true }));
    let job = house.ask("GET", &format!("/api/v1/jobs/{}", again["job"].as_str().unwrap()), None).await.json();
    assert_eq!((&job["job"]["kind"], &job["job"]["tenant"]), (&json!("webhook.fanout"), &json!("acme")));
}

#[tokio::test]
async fn an_endpoints_secret_is_shown_where_it_is_made_and_nowhere_else() {
    let house = House::new().await;
    let (id, first) = endpoint(&house).await;
    let rotated = house.ask("POST", &format!("/api/v1/endpoints/{id}/rotate"), None).await;
    assert_eq!(rotated.headers["cache-control"], "no-store");
    let second = rotated.json()["secret"].as_str().unwrap().to_owned();
    assert!(first.starts_with("whsec_") && second.starts_with("whsec_") && first != second);
    for path in ["/api/v1/endpoints".to_owned(), format!("/api/v1/endpoints/{id}"), "/api/v1/audit".into()] {
        let shown = house.ask("GET", &path, None).await;
        assert!(shown.text.contains(&id), "{path}: {}", shown.text);
        assert!(!shown.text.contains("whsec_"), "{path}: {}", shown.text);
    }
}

#[tokio::test]
async fn endpoints_that_are_added_at_once_are_no_more_than_there_may_be() {
    let house = House::new().await;
    let add = (0..12).map(|n| {
        let order = json!({ "url": format!("http://127.0.0.1:9/{n}"), "event_types": ["*"], "tenant": "acme" });
        house.ask("POST", "/api/v1/endpoints", Some(order))
    });
    let replies = futures_util::future::join_all(add).await;
    let (made, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == StatusCode::CREATED);
    assert_eq!((made.len(), refused.len()), (5, 7));
    for reply in refused {
        assert_eq!(reply.status, StatusCode::CONFLICT, "{reply:?}");
        assert!(reply.text.contains("tenant `acme` has 5 endpoints, as many as it may"), "{}", reply.text);
    }
    let other = json!({ "url": "http://127.0.0.1:9/", "event_types": ["*"], "tenant": "other" });
    assert_eq!(house.ask("POST", "/api/v1/endpoints", Some(other)).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_lost_secret_is_revealed_to_an_admin_and_the_audit_log_says_to_whom() {
    let house = House::new().await;
    let (id, secret) = endpoint(&house).await;
    let path = format!("/api/v1/endpoints/{id}/reveal");
    let shown = house.ask("POST", &path, None).await;
    assert_eq!(
        (shown.json()["secret"].as_str(), &shown.headers["cache-control"]),
        (Some(&*secret), &"no-store".parse().unwrap())
    );
    assert_eq!(house.ask_as(&house.operator, "POST", &path, None).await.status, StatusCode::FORBIDDEN);
    let row = house.ask("GET", "/api/v1/audit", None).await.json()["items"][0].clone();
    assert_eq!((&row["action"], &row["after"]), (&json!("endpoint.reveal"), &json!("revealed")));
    let listed = house.ask_as(&house.operator, "GET", &format!("/api/v1/endpoints/{id}/secrets"), None).await.json();
    assert_eq!((&listed[0]["signature"], &listed[0]["public_key"]), (&json!("v1"), &Value::Null));
}

#[tokio::test]
async fn an_ed25519_endpoint_hands_out_its_public_key_only() {
    let house = House::new().await;
    let order = json!({ "url": "http://127.0.0.1:9/hook", "event_types": ["*"], "signature": "v1a" });
    let made = house.ask("POST", "/api/v1/endpoints", Some(order)).await.json();
    assert!(made["secret"].as_str().unwrap().starts_with("whpk_"), "{made}");
    let id = made["endpoint"]["id"].as_str().unwrap();
    let rotated = house.ask("POST", &format!("/api/v1/endpoints/{id}/rotate"), None).await.text;
    assert!(rotated.contains("whpk_") && !rotated.contains("whsk_"), "{rotated}");
}

#[tokio::test]
async fn a_viewer_does_not_see_what_an_endpoints_url_holds_behind_its_host() {
    let house = House::new().await;
    let order = json!({ "url": "http://127.0.0.1:9/hook/t0ken?key=t0ken", "event_types": ["*"], "tenant": "acme" });
    let made = house.ask("POST", "/api/v1/endpoints", Some(order)).await.json();
    let id = made["endpoint"]["id"].as_str().unwrap();
    for path in ["/api/v1/endpoints".to_owned(), format!("/api/v1/endpoints/{id}")] {
        let viewed = house.ask_as(&house.viewer, "GET", &path, None).await.text;
        assert!(viewed.contains(r#""http://127.0.0.1:9""#) && !viewed.contains("t0ken"), "{path}: {viewed}");
        let operated = house.ask_as(&house.operator, "GET", &path, None).await.text;
        assert!(operated.contains("/hook/t0ken?key=t0ken"), "{path}: {operated}");
    }
}

#[tokio::test]
async fn an_endpoint_is_changed_disabled_enabled_and_deleted_with_a_row_for_each() {
    let house = House::new().await;
    let (id, _) = endpoint(&house).await;
    let path = format!("/api/v1/endpoints/{id}");
    let changed = house.ask("PATCH", &path, Some(json!({ "event_types": ["*"] }))).await.json();
    assert_eq!((&changed["event_types"], &changed["url"]), (&json!(["*"]), &json!("http://127.0.0.1:9/hook")));
    let disabled = house.ask("PATCH", &path, Some(json!({ "state": "disabled", "reason": "gone" }))).await.json();
    assert_eq!((&disabled["state"], &disabled["reason"]), (&json!("disabled"), &json!("gone")));
    let both = house.ask("PATCH", &path, Some(json!({ "state": "enabled", "url": "http://127.0.0.1:9/x" }))).await;
    assert_eq!(both.status, StatusCode::UNPROCESSABLE_ENTITY);
    let enabled = house.ask("PATCH", &path, Some(json!({ "state": "enabled" }))).await.json();
    assert_eq!((&enabled["state"], &enabled["reason"]), (&json!("enabled"), &Value::Null));
    assert_eq!(house.ask("DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(house.ask("GET", &path, None).await.status, StatusCode::NOT_FOUND);
    let rows = house.ask("GET", "/api/v1/audit", None).await.json();
    let actions: Vec<_> = rows["items"].as_array().unwrap().iter().map(|r| r["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        ["endpoint.delete", "endpoint.change", "endpoint.change", "endpoint.change", "endpoint.create"]
    );
    assert_eq!(rows["items"][2]["after"]["state"], "disabled");
}

#[tokio::test]
async fn how_an_endpoint_is_sent_to_is_set_read_and_changed_field_by_field() {
    let house = House::new().await;
    let sending = json!({ "ordering": "strict", "max_concurrency": 4, "rate": { "limit": 100, "window_ms": 60_000 } });
    let order = json!({ "url": "http://127.0.0.1:9/hook", "event_types": ["*"], "sending": sending });
    let made = house.ask("POST", "/api/v1/endpoints", Some(order)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let made = made.json()["endpoint"].clone();
    let mut expected = sending.clone();
    expected["retry_delays_ms"] = Value::Null;
    assert_eq!(made["sending"], expected);
    let path = format!("/api/v1/endpoints/{}", made["id"].as_str().unwrap());
    assert_eq!(house.ask_as(&house.viewer, "GET", &path, None).await.json()["sending"], expected);

    let waits = json!({ "sending": { "retry_delays_ms": [5_000, 60_000] } });
    let changed = house.ask("PATCH", &path, Some(waits)).await.json();
    expected["retry_delays_ms"] = json!([5_000, 60_000]);
    assert_eq!(changed["sending"], expected, "what was not named has stayed");
    let change = json!({ "sending": { "rate": null } });
    assert_eq!(house.ask_as(&house.operator, "PATCH", &path, Some(change.clone())).await.status, StatusCode::FORBIDDEN);
    let changed = house.ask("PATCH", &path, Some(change)).await.json();
    expected["rate"] = Value::Null;
    assert_eq!(changed["sending"], expected);
    let row = house.ask("GET", "/api/v1/audit", None).await.json()["items"][0].clone();
    assert_eq!(row["before"]["sending"]["rate"], sending["rate"]);
    assert_eq!(row["after"]["sending"], expected);

    let back = json!({ "sending": { "ordering": null, "max_concurrency": null, "retry_delays_ms": null } });
    let back = house.ask("PATCH", &path, Some(back)).await.json();
    let none = json!({ "ordering": "none", "max_concurrency": null, "rate": null, "retry_delays_ms": null });
    assert_eq!((&back["sending"], house.ask("GET", &path, None).await.json()), (&none, back.clone()));
}

#[tokio::test]
async fn sending_settings_out_of_range_are_refused_by_name_and_change_nothing() {
    let house = House::new().await;
    let (id, _) = endpoint(&house).await;
    let path = format!("/api/v1/endpoints/{id}");
    let before = house.ask("GET", &path, None).await.json();
    for (wrong, field) in [
        (json!({ "max_concurrency": 0 }), "sending.max_concurrency"),
        (json!({ "rate": { "limit": 0, "window_ms": 1_000 } }), "sending.rate.limit"),
        (json!({ "rate": { "limit": 1, "window_ms": 10 } }), "sending.rate.window_ms"),
        (json!({ "retry_delays_ms": [86_400_001] }), "sending.retry_delays_ms"),
        (json!({ "ordering": "fifo" }), "sending.ordering"),
        (json!({ "speed": 1 }), "sending.speed"),
    ] {
        let patch = json!({ "description": "x", "sending": wrong });
        let order = json!({ "url": "http://127.0.0.1:9/", "event_types": ["*"], "sending": wrong });
        for reply in
            [house.ask("PATCH", &path, Some(patch)).await, house.ask("POST", "/api/v1/endpoints", Some(order)).await]
        {
            assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{reply:?}");
            assert!(reply.text.contains(field), "{field}: {}", reply.text);
        }
    }
    assert_eq!(house.ask("GET", &path, None).await.json(), before);
    assert_eq!(house.ask("GET", "/api/v1/endpoints", None).await.json()["items"].as_array().unwrap().len(), 1);
    let both = json!({ "state": "enabled", "sending": { "ordering": "strict" } });
    assert_eq!(house.ask("PATCH", &path, Some(both)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_static_headers_value_is_shown_to_nobody() {
    let house = House::new().await;
    let headers = json!({ "Authorization": "Bearer t0ken" });
    let order = json!({ "url": "http://127.0.0.1:9/hook", "event_types": ["*"], "headers": headers });
    let made = house.ask("POST", "/api/v1/endpoints", Some(order)).await;
    let path = format!("/api/v1/endpoints/{}", made.json()["endpoint"]["id"].as_str().unwrap());
    for reply in [made, house.ask("GET", &path, None).await, house.ask("GET", "/api/v1/audit", None).await] {
        assert!(reply.text.contains("Authorization") && !reply.text.contains("t0ken"), "{}", reply.text);
    }
}

#[tokio::test]
async fn messages_deliveries_and_attempts_have_pages() {
    let house = House::new().await;
    for path in ["/api/v1/messages", "/api/v1/deliveries?state=exhausted", "/api/v1/deliveries/dlv_1/attempts"] {
        let page = house.ask_as(&house.viewer, "GET", path, None).await;
        assert_eq!(page.json(), json!({ "items": [], "next": null }), "{path}");
    }
}

#[tokio::test]
async fn a_message_and_a_delivery_are_found_by_their_ids_and_the_body_is_for_operators() {
    let house = House::new().await;
    let (id, _) = endpoint(&house).await;
    let sent = house.ask_as(&house.operator, "POST", &format!("/api/v1/endpoints/{id}/test"), None).await.json();
    let path = format!("/api/v1/messages/{}", sent["message"].as_str().unwrap());
    let operated = house.ask_as(&house.operator, "GET", &path, None).await.json();
    assert_eq!(
        (&operated["message"]["event_type"], &operated["body"]["type"]),
        (&json!("webhook.test"), &json!("webhook.test"))
    );
    let viewed = house.ask_as(&house.viewer, "GET", &path, None).await.json();
    assert_eq!(
        (&viewed["message"], &viewed["body_shown"], &viewed["body"]),
        (&operated["message"], &json!(false), &Value::Null)
    );
    let listed = house.ask("GET", "/api/v1/deliveries", None).await.json()["items"][0].clone();
    let path = format!("/api/v1/deliveries/{}", listed["id"].as_str().unwrap());
    assert_eq!(house.ask_as(&house.viewer, "GET", &path, None).await.json(), listed);
    for path in ["/api/v1/messages/msg_1", "/api/v1/deliveries/dlv_1"] {
        let missing = house.ask("GET", path, None).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND, "{missing:?}");
    }
}
