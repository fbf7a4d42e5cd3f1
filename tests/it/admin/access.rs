//! Every route against every sort of key, and the page that documents them.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tidemill::admin::{ApiKeys, Role, RouteEntry, inventory};
use tidemill::clock::Entropy;

use super::{House, key};

/// A request that each route answers without a server error, and the same for every role.
fn samples() -> BTreeMap<(&'static str, &'static str), (&'static str, Option<Value>)> {
    const JOB: &str = "/api/v1/jobs/0198c5b2-7f00-7000-8000-000000000000";
    BTreeMap::from([
        (("GET", "/health"), ("/health", None)),
        (("GET", "/ready"), ("/ready", None)),
        (("GET", "/health/detailed"), ("/health/detailed", None)),
        (("GET", "/metrics"), ("/metrics", None)),
        (("GET", "/api/v1/queues"), ("/api/v1/queues", None)),
        (("POST", "/api/v1/queues/{queue}/pause"), ("/api/v1/queues/reports/pause", None)),
        (("POST", "/api/v1/queues/{queue}/resume"), ("/api/v1/queues/reports/resume", None)),
        (("POST", "/api/v1/queues/{queue}/purge"), ("/api/v1/queues/reports/purge", None)),
        (("GET", "/api/v1/jobs"), ("/api/v1/jobs", None)),
        (
            ("POST", "/api/v1/jobs"),
            ("/api/v1/jobs", Some(json!({ "kind": "test.echo", "payload": { "text": "hello" } }))),
        ),
        (("GET", "/api/v1/jobs/{id}"), (JOB, None)),
        (("POST", "/api/v1/jobs/{id}/retry"), ("/api/v1/jobs/0198c5b2-7f00-7000-8000-000000000000/retry", None)),
        (("POST", "/api/v1/jobs/{id}/cancel"), ("/api/v1/jobs/0198c5b2-7f00-7000-8000-000000000000/cancel", None)),
        (("DELETE", "/api/v1/jobs/{id}"), (JOB, None)),
        (("GET", "/api/v1/schedules"), ("/api/v1/schedules", None)),
        (("PUT", "/api/v1/schedules/{name}"), ("/api/v1/schedules/test.daily", Some(json!({ "cron": "0 7 * * *" })))),
        (("POST", "/api/v1/schedules/{name}/run"), ("/api/v1/schedules/none/run", None)),
        (("GET", "/api/v1/schedules/{name}/history"), ("/api/v1/schedules/none/history", None)),
        (("POST", "/api/v1/schedules/{name}/pause"), ("/api/v1/schedules/none/pause", None)),
        (("POST", "/api/v1/schedules/{name}/resume"), ("/api/v1/schedules/none/resume", None)),
        (("GET", "/api/v1/workers"), ("/api/v1/workers", None)),
        (("POST", "/api/v1/workers/{id}/drain"), ("/api/v1/workers/0198c5b2-7f00-7000-8000-000000000000/drain", None)),
        (
            ("POST", "/api/v1/events"),
            ("/api/v1/events", Some(json!({ "id": "e1", "event_type": "a.b", "payload": {} }))),
        ),
        (("GET", "/api/v1/endpoints"), ("/api/v1/endpoints", None)),
        (
            ("POST", "/api/v1/endpoints"),
            ("/api/v1/endpoints", Some(json!({ "url": "http://127.0.0.1:9/", "event_types": ["*"] }))),
        ),
        (("GET", "/api/v1/endpoints/{id}"), ("/api/v1/endpoints/ep_none", None)),
        (("PATCH", "/api/v1/endpoints/{id}"), ("/api/v1/endpoints/ep_none", Some(json!({ "state": "enabled" })))),
        (("DELETE", "/api/v1/endpoints/{id}"), ("/api/v1/endpoints/ep_none", None)),
        (("POST", "/api/v1/endpoints/{id}/rotate"), ("/api/v1/endpoints/ep_none/rotate", None)),
        (("GET", "/api/v1/endpoints/{id}/secrets"), ("/api/v1/endpoints/ep_none/secrets", None)),
        (("POST", "/api/v1/endpoints/{id}/reveal"), ("/api/v1/endpoints/ep_none/reveal", None)),
        (("GET", "/api/v1/event-types"), ("/api/v1/event-types", None)),
        (("GET", "/api/v1/event-types/{name}"), ("/api/v1/event-types/a.b", None)),
        (
            ("PUT", "/api/v1/event-types/{name}"),
            ("/api/v1/event-types/a.c", Some(json!({ "description": "Something." }))),
        ),
        (("DELETE", "/api/v1/event-types/{name}"), ("/api/v1/event-types/a.b", None)),
        (("GET", "/api/v1/messages"), ("/api/v1/messages", None)),
        (("GET", "/api/v1/messages/{id}"), ("/api/v1/messages/msg_none", None)),
        (("GET", "/api/v1/deliveries"), ("/api/v1/deliveries", None)),
        (("GET", "/api/v1/deliveries/{id}"), ("/api/v1/deliveries/dlv_none", None)),
        (("GET", "/api/v1/deliveries/{id}/attempts"), ("/api/v1/deliveries/dlv_none/attempts", None)),
        (("POST", "/api/v1/deliveries/{id}/resend"), ("/api/v1/deliveries/dlv_none/resend", None)),
        (("POST", "/api/v1/endpoints/{id}/test"), ("/api/v1/endpoints/ep_none/test", None)),
        (
            ("POST", "/api/v1/endpoints/{id}/recover"),
            ("/api/v1/endpoints/ep_none/recover", Some(json!({ "what": "failed", "since": "2026-01-01T00:00:00Z" }))),
        ),
        (
            ("POST", "/api/v1/endpoints/{id}/replay"),
            ("/api/v1/endpoints/ep_none/replay", Some(json!({ "since": "2026-01-01T00:00:00Z" }))),
        ),
        (("GET", "/api/v1/recoveries"), ("/api/v1/recoveries", None)),
        (("GET", "/api/v1/recoveries/{id}"), ("/api/v1/recoveries/rcv_none", None)),
        (("POST", "/api/v1/recoveries/{id}/cancel"), ("/api/v1/recoveries/rcv_none/cancel", None)),
        (("GET", "/api/v1/webhooks/events"), ("/api/v1/webhooks/events", None)),
        (("GET", "/api/v1/webhooks/events/{source}/{id}"), ("/api/v1/webhooks/events/stripe/evt_1", None)),
        (
            ("POST", "/api/v1/webhooks/events/{source}/{id}/redeliver"),
            ("/api/v1/webhooks/events/stripe/evt_1/redeliver", None),
        ),
        (("GET", "/api/v1/webhooks/sources"), ("/api/v1/webhooks/sources", None)),
        (("GET", "/api/v1/keys"), ("/api/v1/keys", None)),
        (("POST", "/api/v1/keys"), ("/api/v1/keys", Some(json!({ "name": "one", "role": "viewer" })))),
        (("POST", "/api/v1/keys/{id}/revoke"), ("/api/v1/keys/000000000000/revoke", None)),
        (("GET", "/api/v1/audit"), ("/api/v1/audit", None)),
    ])
}

fn sample(route: &RouteEntry) -> (&'static str, Option<Value>) {
    let found = samples().remove(&(route.method, route.path));
    found.unwrap_or_else(|| panic!("{} {} has no entry in the access matrix", route.method, route.path))
}

#[tokio::test]
async fn every_route_lets_in_exactly_the_roles_it_names() {
    let house = House::new().await;
    let roles = [(Role::Viewer, &house.viewer), (Role::Operator, &house.operator), (Role::Admin, &house.admin)];
    for route in inventory() {
        let (path, body) = sample(&route);
        for (role, key) in roles {
            let reply = house.ask_as(key, route.method, path, body.clone()).await;
            let place = format!("{} {path} as {role}: {reply:?}", route.method);
            if route.role.is_some_and(|needed| role < needed) {
                assert_eq!(reply.status, StatusCode::FORBIDDEN, "{place}");
                assert_eq!(reply.headers["content-type"], "application/problem+json", "{place}");
            } else {
                assert!(!matches!(reply.status.as_u16(), 401 | 403 | 405 | 500..), "{place}");
            }
        }
    }
}

#[tokio::test]
async fn no_route_but_the_probes_opens_without_a_valid_key() {
    let house = House::new().await;
    let soon = house.clock.now().after(std::time::Duration::from_secs(60));
    let (_, expired) = house.keys.create("expired", Role::Admin, Some(soon)).await.unwrap();
    let expired = expired.expose_secret().to_owned();
    let (record, revoked) = house.keys.create("revoked", Role::Admin, None).await.unwrap();
    let revoked = revoked.expose_secret().to_owned();
    house.keys.revoke(&record.id).await.unwrap();
    house.clock.advance(std::time::Duration::from_secs(60));
    // Well-formed, but made by another installation.
    let elsewhere = House::new().await;
    let elsewhere = ApiKeys::new(elsewhere.db.clone(), elsewhere.clock.clone(), Entropy::seeded(8));
    let stranger = key(&elsewhere, Role::Admin).await;

    let mut bodies = std::collections::BTreeSet::new();
    for route in inventory() {
        let (path, body) = sample(&route);
        for key in ["", "tm_", "Bearer", &stranger, &expired, &revoked] {
            // A minute for each, so that the limit on wrong keys stays out of it.
            house.clock.advance(std::time::Duration::from_secs(61));
            let reply = house.ask_as(key, route.method, path, body.clone()).await;
            let place = format!("{} {path}: {reply:?}", route.method);
            if route.role.is_none() {
                assert_eq!(reply.status, StatusCode::OK, "{place}");
                continue;
            }
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{place}");
            assert_eq!(reply.headers["www-authenticate"], "Bearer", "{place}");
            bodies.insert(reply.text);
        }
    }
    assert_eq!(bodies.len(), 1, "nobody learns from the text what was wrong: {bodies:?}");
    assert_eq!(house.audit_rows().await, 0);
}

#[test]
fn every_route_is_documented_with_its_role_and_nothing_else_is() {
    let page = include_str!("../../../docs/api.md");
    let documented: Vec<_> = page.lines().filter_map(row).collect();
    let served: Vec<_> = inventory()
        .into_iter()
        .map(|r| [r.method, r.path, r.role.map_or("none", Role::as_str), r.summary].map(str::to_owned))
        .collect();
    for route in &served {
        assert!(documented.contains(route), "docs/api.md has no row for {route:?}");
        let heading = format!("### `{} {}`", route[0], route[1]);
        let section = page.split_once(&heading).unwrap_or_else(|| panic!("docs/api.md has no section {heading}")).1;
        let section = section.split("\n### ").next().unwrap_or_default();
        for part in ["Reply", "Errors"] {
            assert!(section.contains(&format!("**{part}**")), "{heading} in docs/api.md does not say its {part}");
        }
    }
    for route in &documented {
        assert!(served.contains(route), "docs/api.md documents {route:?}, which is not served so");
    }
    assert_eq!(documented.len(), served.len(), "a route is documented twice");
}

/// `| GET | /health | none | … |`
fn row(line: &str) -> Option<[String; 4]> {
    let cells: Vec<_> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(|c| c.trim().to_owned()).collect();
    let [method, path, role, summary] = cells.try_into().ok()?;
    let path = path.trim_matches('`').to_owned();
    path.starts_with('/').then_some([method, path, role, summary])
}

#[tokio::test]
async fn an_unknown_path_and_method_are_problems() {
    let house = House::new().await;
    let reply = house.ask("GET", "/api/v1/nothing", None).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    let reply = house.ask("PUT", "/api/v1/queues", None).await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert!(reply.headers["allow"].to_str().unwrap().contains("GET"));
}
