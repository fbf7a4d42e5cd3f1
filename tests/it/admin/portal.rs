//! Links to the consumers' page, as operators make, list and revoke them.

use axum::http::StatusCode;
use serde_json::json;

use super::House;

const LINKS: &str = "/api/v1/tenants/acme/portal-links";

#[tokio::test]
async fn a_link_is_shown_once_and_stands_in_no_list_and_no_log() {
    let house = House::new().await;
    let reply = house.ask("POST", LINKS, Some(json!({ "hours": 24, "read_only": true }))).await;
    assert_eq!((reply.status, &reply.headers["cache-control"]), (StatusCode::CREATED, &"no-store".parse().unwrap()));
    let made = reply.json();
    let token = made["url"].as_str().unwrap().strip_prefix("https://hooks.example.com/portal/open/").unwrap();
    let id = made["link"]["id"].as_str().unwrap();
    assert_eq!(
        (&made["link"]["read_only"], &made["link"]["expires_at"]),
        (&json!(true), &json!("2026-01-03T03:04:05.000Z"))
    );
    let listed = house.ask_as(&house.operator, "GET", LINKS, None).await;
    let audit = house.ask("GET", "/api/v1/audit", None).await;
    for text in [&listed.text, &audit.text] {
        assert!(text.contains(id) && !text.contains(token), "{text}");
    }
    assert!(audit.text.contains("portal.link") && audit.text.contains("tenant:acme"));
    assert_eq!(house.ask("GET", "/api/v1/tenants/other/portal-links", None).await.json()["items"], json!([]));
}

#[tokio::test]
async fn links_are_paged_and_revoked_one_by_one_or_all_at_once() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        // Without a body, everything is as configured.
        ids.push(house.ask("POST", LINKS, None).await.json()["link"]["id"].as_str().unwrap().to_owned());
        house.clock.advance(std::time::Duration::from_millis(1));
    }
    let first = house.ask("GET", &format!("{LINKS}?limit=2"), None).await.json();
    assert_eq!((&first["items"][0]["id"], &first["items"][1]["id"]), (&json!(ids[2]), &json!(ids[1])));
    let next = format!("{LINKS}?limit=2&cursor={}", first["next"].as_str().unwrap());
    let last = house.ask("GET", &next, None).await.json();
    assert_eq!((&last["items"][0]["id"], &last["next"]), (&json!(ids[0]), &json!(null)));

    let one = format!("/api/v1/portal-links/{}/revoke", ids[0]);
    assert_eq!(house.ask("POST", &one, None).await.status, StatusCode::OK);
    assert_eq!(house.ask("POST", &one, None).await.status, StatusCode::CONFLICT);
    assert_eq!(house.ask("POST", "/api/v1/portal-links/lnk_x/revoke", None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.ask("POST", &format!("{LINKS}/revoke"), None).await.json(), json!({ "revoked": 2 }));
    assert_eq!(house.ask("POST", &format!("{LINKS}/revoke"), None).await.json(), json!({ "revoked": 0 }));
}

#[tokio::test]
async fn a_link_without_bounds_or_for_no_tenant_is_refused() {
    let house = House::new().await;
    for (path, body, field) in [
        (LINKS, json!({ "hours": 0 }), "hours"),
        (LINKS, json!({ "hours": 169 }), "hours"),
        (LINKS, json!({ "days": 1 }), "days"),
        ("/api/v1/tenants/a%20b/portal-links", json!({}), "tenant"),
    ] {
        let reply = house.ask("POST", path, Some(body)).await;
        assert_eq!(
            (reply.status, &reply.json()["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)),
            "{reply:?}"
        );
    }
    let operator = house.ask_as(&house.operator, "POST", LINKS, None).await;
    assert_eq!(operator.status, StatusCode::FORBIDDEN, "a link gives rights that operators have not");
}
