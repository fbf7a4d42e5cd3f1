//! `Idempotency-Key`: a request that is repeated is done once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tidemill::admin::{EventDraft, May, Published, Refusal};
use tidemill::clock::Clock;
use tidemill::job::JobState;
use tidemill::store::{Durability, ListQuery, StoreRules};
use tidemill_testkit::RedisServer;

use super::{House, Reply, START};

const JOBS: &str = "/api/v1/jobs";
const EVENTS: &str = "/api/v1/events";

fn echo(text: &str) -> Value {
    json!({ "kind": "test.echo", "payload": { "text": text } })
}

async fn post(house: &House, path: &str, keys: &[&str], body: &str, by: &str) -> Reply {
    let mut request =
        Request::builder().method("POST").uri(path).header("x-api-key", by).header("content-type", "application/json");
    for key in keys {
        request = request.header("idempotency-key", *key);
    }
    house.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn order(house: &House, key: &str, text: &str) -> Reply {
    post(house, JOBS, &[key], &echo(text).to_string(), &house.operator).await
}

async fn jobs(house: &House) -> usize {
    house.store.list(ListQuery { limit: 200, ..ListQuery::default() }).await.unwrap().jobs.len()
}

#[tokio::test]
async fn a_repeated_order_gets_the_first_ones_reply_and_makes_no_second_job() {
    let house = House::new().await;
    let first = order(&house, "\"k1\"", "a").await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    house.clock.advance(Duration::from_secs(23 * 3600));
    let audited = house.audit_rows().await;
    for key in ["\"k1\"", "k1"] {
        let again = order(&house, key, "a").await;
        assert_eq!((again.status, &again.text), (first.status, &first.text), "{key}");
        assert_eq!(again.headers["location"], first.headers["location"]);
        assert_eq!(again.headers["content-type"], "application/json");
        assert_eq!(again.headers["idempotency-replayed"], "true");
    }
    assert_eq!((jobs(&house).await, house.audit_rows().await), (1, audited), "a replay changes nothing");
    house.clock.advance(Duration::from_secs(3_601));
    let later = order(&house, "k1", "a").await;
    assert_eq!((later.status, jobs(&house).await), (StatusCode::CREATED, 2), "a day is over");
    assert_ne!(later.text, first.text);
}

#[tokio::test]
async fn an_event_is_published_once_under_a_key() {
    let house = House::new().await;
    let event = json!({ "id": "e1", "event_type": "invoice.paid", "payload": {} }).to_string();
    let first = post(&house, EVENTS, &["k"], &event, &house.operator).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{first:?}");
    let again = post(&house, EVENTS, &["k"], &event, &house.operator).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(first.json()["duplicate"], false, "the replay shows what the first request was told");
    assert_eq!(jobs(&house).await, 1);
}

#[tokio::test]
async fn a_key_that_can_not_be_read_is_a_bad_request() {
    let house = House::new().await;
    let body = echo("a").to_string();
    for keys in [vec![""], vec!["\"open"], vec!["a b"], vec!["a", "a"], vec!["\"a\"; x"]] {
        let reply = post(&house, JOBS, &keys, &body, &house.operator).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{keys:?}: {reply:?}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("Idempotency-Key"), "{reply:?}");
    }
    assert_eq!((jobs(&house).await, house.audit_rows().await), (0, 0));
}

#[tokio::test]
async fn a_key_used_for_another_request_is_refused() {
    let house = House::new().await;
    order(&house, "k", "a").await;
    let other = order(&house, "k", "b").await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    assert_eq!(other.json()["type"], "urn:tidemill:problem:idempotency-key-reused");
    let elsewhere = post(&house, EVENTS, &["k"], &echo("a").to_string(), &house.operator).await;
    assert_eq!(elsewhere.status, StatusCode::UNPROCESSABLE_ENTITY, "another path is another request: {elsewhere:?}");
    assert_eq!(jobs(&house).await, 1);
}

#[tokio::test]
async fn each_api_key_has_keys_of_its_own() {
    let house = House::new().await;
    order(&house, "k", "a").await;
    let other = post(&house, JOBS, &["k"], &echo("b").to_string(), &house.admin).await;
    assert_eq!((other.status, jobs(&house).await), (StatusCode::CREATED, 2), "{other:?}");
}

#[tokio::test]
async fn an_error_is_replayed_too() {
    let house = House::new().await;
    let wrong = json!({ "kind": "no.such" }).to_string();
    let first = post(&house, JOBS, &["k"], &wrong, &house.operator).await;
    assert_eq!(first.status, StatusCode::UNPROCESSABLE_ENTITY);
    let again = post(&house, JOBS, &["k"], &wrong, &house.operator).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_refused_api_key_reserves_nothing() {
    let house = House::new().await;
    let reply = post(&house, JOBS, &["k"], &echo("a").to_string(), &house.viewer).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert_eq!(order(&house, "k", "a").await.status, StatusCode::CREATED);
}

/// As a process leaves it that died after it had enqueued the job and before it kept the reply.
async fn crash_before_the_reply_was_kept(house: &House) -> Value {
    let first = order(house, "k", "a").await;
    assert_eq!(first.status, StatusCode::CREATED);
    let file = house._dir.path().join("queue.db");
    let outside = rusqlite::Connection::open(file).unwrap();
    let wiped = outside.execute("update replies set status = null, content_type = null, body = null", []).unwrap();
    assert_eq!(wiped, 1);
    first.json()
}

#[tokio::test]
async fn after_a_crash_the_same_request_waits_for_the_lease_and_then_finds_the_first_ones_job() {
    let house = House::new().await;
    let first = crash_before_the_reply_was_kept(&house).await;
    let busy = order(&house, "k", "a").await;
    assert_eq!(busy.status, StatusCode::CONFLICT, "{busy:?}");
    assert_eq!(busy.headers["retry-after"], "1");
    assert_eq!(order(&house, "k", "b").await.status, StatusCode::UNPROCESSABLE_ENTITY);

    // By then the job may have been worked off.
    let id = first["job"].as_str().unwrap().to_owned();
    house.ask("POST", &format!("{JOBS}/{id}/cancel"), None).await;
    house.clock.advance(Duration::from_secs(31));
    let again = order(&house, "k", "a").await;
    assert_eq!((again.status, again.json()), (StatusCode::CREATED, first), "told as if nothing had happened");
    assert!(!again.headers.contains_key("idempotency-replayed"), "this one did the work of keeping the reply");
    assert_eq!(jobs(&house).await, 1);
    let job = house.store.get(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Cancelled, "the finished job is not run again");
    assert_eq!(order(&house, "k", "a").await.headers["idempotency-replayed"], "true");
}

async fn fifty_at_once(house: &House) {
    let requests = (0..50).map(|_| order(house, "k", "a"));
    let replies = futures_util::future::join_all(requests).await;
    let done: Vec<_> = replies.iter().filter(|r| r.status == StatusCode::CREATED).collect();
    assert!(!done.is_empty());
    for reply in &replies {
        match reply.status {
            StatusCode::CREATED => assert_eq!(reply.text, done[0].text),
            StatusCode::CONFLICT => assert!(reply.headers.contains_key("retry-after")),
            other => panic!("{other}: {reply:?}"),
        }
    }
    assert_eq!(done.iter().filter(|r| !r.headers.contains_key("idempotency-replayed")).count(), 1);
    assert_eq!(jobs(house).await, 1);
    assert_eq!(order(house, "k", "a").await.text, done[0].text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_equal_requests_at_once_make_one_job() {
    fifty_at_once(&House::new().await).await;
}

/// A house whose store is a server of its own.
async fn on_redis() -> (House, RedisServer) {
    let server = RedisServer::start();
    let clock = Clock::manual(START);
    let rules = StoreRules { durability: Durability::Everysec, ..StoreRules::default() };
    let store = tidemill::store::open(&server.url().parse().unwrap(), rules, clock.clone()).await.unwrap();
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
    (House::over(Arc::clone(&store), clock, recorder, tempfile::tempdir().unwrap()).await, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_equal_requests_at_once_make_one_job_on_redis() {
    let (house, _server) = on_redis().await;
    fifty_at_once(&house).await;
}

async fn publish(house: &House, key: &str, payload: Value) -> Result<Published, Refusal> {
    let (event_type, tenant) = ("invoice.paid".to_owned(), "acme".to_owned());
    let draft = EventDraft { id: None, event_type, tenant, payload };
    house.desk.publish_draft(&May::local("ann"), draft, Some(key)).await
}

#[tokio::test]
async fn a_published_draft_is_replayed_whatever_its_schema_says_by_now_and_a_refused_one_leaves_its_key_free() {
    let (redis, _server) = on_redis().await;
    for house in [House::new().await, redis] {
        replays_and_leaves_free(&house).await;
    }
}

async fn replays_and_leaves_free(house: &House) {
    let first = publish(house, "k", json!({ "invoice": "in_1" })).await.unwrap();
    let schema = json!({ "type": "object", "required": ["amount_minor"] });
    let declaration = json!({ "description": "An invoice was paid.", "schema": schema });
    let declared = house.ask("PUT", "/api/v1/event-types/invoice.paid", Some(declaration)).await;
    assert_eq!(declared.status, StatusCode::OK, "{declared:?}");

    let again = publish(house, "k", json!({ "invoice": "in_1" })).await.unwrap();
    assert_eq!(again, Published { replayed: true, ..first });
    let other = publish(house, "k", json!({ "invoice": "in_2" })).await;
    assert!(matches!(other, Err(Refusal::KeyReused)), "{other:?}");

    let refused = publish(house, "k2", json!({ "invoice": "in_1" })).await;
    assert!(refused.as_ref().is_err_and(|refusal| refusal.to_string().contains("amount_minor")), "{refused:?}");
    let corrected = publish(house, "k2", json!({ "amount_minor": 1 })).await.unwrap();
    assert!(!corrected.replayed && !corrected.duplicate);
    assert_eq!(jobs(house).await, 2);
}
