//! Whatever is sent: a 4xx that names the field, the value and what is allowed, and nothing half done.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::House;

struct Case {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: Option<String>,
    status: u16,
    /// What the problem must name: field, a part of the value, a part of what is allowed. Empty: it has none.
    names: [&'static str; 3],
}

fn get(name: &'static str, path: &'static str, status: u16, names: [&'static str; 3]) -> Case {
    Case { name, method: "GET", path, body: None, status, names }
}

fn order(name: &'static str, body: impl ToString, status: u16, names: [&'static str; 3]) -> Case {
    Case { name, method: "POST", path: "/api/v1/jobs", body: Some(body.to_string()), status, names }
}

fn post(name: &'static str, path: &'static str, body: Option<Value>, status: u16, names: [&'static str; 3]) -> Case {
    Case { name, method: "POST", path, body: body.map(|b| b.to_string()), status, names }
}

fn plan(name: &'static str, body: Value, names: [&'static str; 3]) -> Case {
    Case { method: "PUT", ..post(name, "/api/v1/schedules/test.daily", Some(body), 422, names) }
}

fn event(name: &'static str, body: Value, names: [&'static str; 3]) -> Case {
    post(name, "/api/v1/events", Some(body), 422, names)
}

fn endpoint(name: &'static str, body: Value, names: [&'static str; 3]) -> Case {
    post(name, "/api/v1/endpoints", Some(body), 422, names)
}

/// An order of a good job with these fields put in.
fn with(extra: Value) -> Value {
    let mut order = json!({ "kind": "test.echo", "payload": { "text": "hello" } });
    order.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    order
}

fn cases() -> Vec<Case> {
    let deep = format!(r#"{{"kind":"test.loose","payload":{{"skipped":{}1{}}}}}"#, "[".repeat(400), "]".repeat(400));
    vec![
        order("malformed JSON", r#"{"kind": "test.echo""#, 400, ["", "", ""]),
        order("no JSON at all", "hello", 400, ["", "", ""]),
        order("an array", "[]", 422, ["", "", ""]),
        order("two documents", r#"{"kind":"test.echo","payload":{"text":"a"}} {}"#, 400, ["", "", ""]),
        order("no kind", "{}", 422, ["kind", "", ""]),
        order("unknown kind", with(json!({ "kind": "test.ehco" })), 422, ["kind", "test.ehco", "test.echo"]),
        order("payload of another shape", with(json!({ "payload": { "txet": 1 } })), 422, ["payload", "", "test.echo"]),
        order("no payload where one is needed", json!({ "kind": "test.echo" }), 422, ["payload", "", "test.echo"]),
        order(
            "payload too large",
            with(json!({ "payload": { "text": "x".repeat(2_000) } })),
            413,
            ["payload", "20", "1024"],
        ),
        order("payload nested too deep", deep, 422, ["payload", "", "test.loose"]),
        order("unknown field", with(json!({ "epoch": 7 })), 422, ["epoch", "", "kind"]),
        order("unknown queue", with(json!({ "queue": "repots" })), 422, ["queue", "repots", "reports"]),
        order("a queue's name that is none", with(json!({ "queue": "No!" })), 422, ["queue", "No!", "a-z"]),
        order("negative delay", with(json!({ "delay_ms": -5 })), 422, ["delay_ms", "-5", "0 to"]),
        order("endless delay", with(json!({ "delay_ms": i64::MAX })), 422, ["delay_ms", "9223", "0 to"]),
        order("delay that is text", with(json!({ "delay_ms": "soon" })), 422, ["delay_ms", "soon", "i64"]),
        order("a time that is none", with(json!({ "run_at": "tomorrow" })), 422, ["run_at", "tomorrow", "RFC 3339"]),
        order(
            "a time too far away",
            with(json!({ "run_at": "9999-01-01T00:00:00Z" })),
            422,
            ["run_at", "", "366 days"],
        ),
        order(
            "delay and time",
            with(json!({ "delay_ms": 1, "run_at": "2026-01-02T03:04:05Z" })),
            422,
            ["delay_ms", "1", "either"],
        ),
        order("priority out of range", with(json!({ "priority": 10 })), 422, ["priority", "10", "0 (first)"]),
        order(
            "unique_for_ms without a key",
            with(json!({ "unique_for_ms": 5 })),
            422,
            ["unique_for_ms", "5", "unique_key"],
        ),
        order("empty unique key", with(json!({ "unique_key": "" })), 422, ["unique_key", "", "1 to 255"]),
        order("control characters", with(json!({ "tenant": "a\nb" })), 422, ["tenant", "", "control"]),
        order("too many tags", with(json!({ "tags": vec!["t"; 17] })), 422, ["tags", "", "at most 16"]),
        get("unknown state in a filter", "/api/v1/jobs?state=deaf", 422, ["state", "deaf", "dead"]),
        get("unknown parameter", "/api/v1/jobs?colour=red", 422, ["colour", "", "queue"]),
        get("bad cursor", "/api/v1/jobs?cursor=abc", 422, ["cursor", "", "next"]),
        get("bad cursor of another list", "/api/v1/audit?cursor=abc", 422, ["cursor", "abc", "next"]),
        get("cursor of a list with other keys", "/api/v1/audit?cursor=cDA6eHl6", 422, ["cursor", "cDA6eHl6", "next"]),
        get("limit zero", "/api/v1/jobs?limit=0", 422, ["limit", "0", "1 to 200"]),
        get("limit too high", "/api/v1/keys?limit=201", 422, ["limit", "201", "1 to 200"]),
        get("negative limit", "/api/v1/queues?limit=-1", 422, ["limit", "-1", "1 to 200"]),
        get("a parameter twice", "/api/v1/jobs?state=dead&state=ready", 422, ["", "", ""]),
        get("an unknown queue in a filter", "/api/v1/jobs?queue=repots", 422, ["queue", "repots", "reports"]),
        get("a queue's name in a filter that is none", "/api/v1/jobs?queue=No", 422, ["queue", "No", "a-z"]),
        get("an id that is none", "/api/v1/jobs/4711", 422, ["job id", "4711", "UUID"]),
        get("an id of no job", "/api/v1/jobs/0198c5b2-7f00-7000-8000-000000000000", 404, ["", "", ""]),
        get("a path that is no text", "/api/v1/jobs/%ff", 422, ["path", "", ""]),
        post("an unknown queue", "/api/v1/queues/repots/pause", None, 404, ["", "", ""]),
        post("a queue's name that is none", "/api/v1/queues/No!/pause", None, 422, ["queue name", "No!", "a-z"]),
        post("an unknown queue to purge", "/api/v1/queues/repots/purge", None, 404, ["", "", ""]),
        post("retry of an id that is none", "/api/v1/jobs/x/retry", None, 422, ["job id", "x", "UUID"]),
        post("a worker's id that is none", "/api/v1/workers/x/drain", None, 422, ["worker id", "x", "UUID"]),
        post("an unknown schedule", "/api/v1/schedules/none/pause", None, 404, ["", "", ""]),
        post("an unknown schedule to run", "/api/v1/schedules/none/run", None, 404, ["", "", ""]),
        plan("bad cron text", json!({ "cron": "61 * * * *" }), ["cron", "61", ""]),
        plan("bad time zone", json!({ "time_zone": "Europe/Berln" }), ["time_zone", "Berln", "IANA"]),
        plan("unknown field of a plan", json!({ "crom": "0 6 * * *" }), ["crom", "", "cron"]),
        plan("a plan that is no object", json!("daily"), ["", "daily", "cron"]),
        plan("a plan of another type", json!({ "cron": 7 }), ["cron", "7", ""]),
        event(
            "an event of no type",
            json!({ "id": "e", "event_type": "no type", "payload": {} }),
            ["event_type", "no type", "words"],
        ),
        event("an event without a payload", json!({ "id": "e", "event_type": "a.b" }), ["payload", "", ""]),
        event(
            "an event with another field",
            json!({ "id": "e", "event_type": "a.b", "payload": 1, "to": "x" }),
            ["to", "", "event_type"],
        ),
        endpoint(
            "an endpoint without https",
            json!({ "url": "ftp://127.0.0.1/", "event_types": ["*"] }),
            ["url", "", "https"],
        ),
        endpoint(
            "an endpoint in a private network",
            json!({ "url": "https://10.0.0.1/", "event_types": ["*"] }),
            ["url", "", "public"],
        ),
        endpoint(
            "an endpoint for no events",
            json!({ "url": "http://127.0.0.1:9/", "event_types": [] }),
            ["event_types", "list of 0", "1 to 100"],
        ),
        endpoint(
            "an endpoint with a weak secret",
            json!({ "url": "http://127.0.0.1:9/", "event_types": ["*"], "secret": "hunter2" }),
            ["secret", "", "whsec_"],
        ),
        post("an unknown endpoint", "/api/v1/endpoints/ep_none/rotate", None, 404, ["", "", ""]),
        get("a delivery state that is none", "/api/v1/deliveries?state=lost", 422, ["state", "lost", "pending"]),
        get("a cursor of another list of webhooks", "/api/v1/messages?cursor=dlv_1", 422, ["cursor", "", "next"]),
        post("a key's id that is none", "/api/v1/keys/x/revoke", None, 422, ["key id", "x", "twelve"]),
        post(
            "a key of no role",
            "/api/v1/keys",
            Some(json!({ "name": "k", "role": "root" })),
            422,
            ["role", "root", "viewer"],
        ),
        post(
            "a key without a name",
            "/api/v1/keys",
            Some(json!({ "name": " ", "role": "admin" })),
            422,
            ["name", " ", "1 to 100"],
        ),
        post(
            "a key that is expired from the beginning",
            "/api/v1/keys",
            Some(json!({ "name": "k", "role": "admin", "expires_at": "2020-01-01T00:00:00Z" })),
            422,
            ["expires_at", "2020", "ahead"],
        ),
    ]
}

#[tokio::test]
async fn bad_input_is_named_and_changes_nothing() {
    let house = House::new().await;
    house.job(json!({})).await;
    let before = (house.counts().await.queues, row_count(&house).await);
    for case in cases() {
        let request = Request::builder().method(case.method).uri(case.path).header("x-api-key", &house.admin);
        let request = match case.body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body)),
            None => request.body(Body::empty()),
        };
        let reply = house.send(request.unwrap()).await;
        let place = format!("{}: {reply:?}", case.name);
        assert_eq!(reply.status.as_u16(), case.status, "{place}");
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{place}");
        let problem = reply.json();
        assert!(problem["detail"].as_str().is_some_and(|d| !d.is_empty()), "{place}");
        for (member, part) in ["field", "value", "allowed"].into_iter().zip(case.names) {
            let text = problem[member].as_str().map_or_else(|| problem[member].to_string(), str::to_owned);
            assert!(text.contains(part), "{member} does not name `{part}`, {place}");
        }
        let after = (house.counts().await.queues, row_count(&house).await);
        assert_eq!(after, before, "something was done, {place}");
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_not_read() {
    let house = House::new().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let mut request = Request::post("/api/v1/jobs").header("x-api-key", &house.admin);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let reply = house.send(request.body(Body::from(with(json!({})).to_string())).unwrap()).await;
        assert_eq!(reply.status.as_u16(), 415, "{content_type}: {reply:?}");
    }
    assert_eq!(house.counts().await.queues.iter().map(|q| q.ready).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_body_above_the_cap_is_cut_off() {
    let house = House::new().await;
    let body = with(json!({ "payload": { "text": "x".repeat(2 * 1024 * 1024) } }));
    let reply = house.ask("POST", "/api/v1/jobs", Some(body)).await;
    assert_eq!(reply.status.as_u16(), 413, "{reply:?}");
}

async fn row_count(house: &House) -> i64 {
    tidemill::on_pool!(house.db.read(), pool => {
        sqlx::query_scalar("select (select count(*) from api_keys) + (select count(*) from endpoints)").fetch_one(pool).await.unwrap()
    })
}
