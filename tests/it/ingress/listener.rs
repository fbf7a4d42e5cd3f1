//! The listener's bounds, over raw sockets and a small router.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use serde::Deserialize;
use tidemill::listener::ListenerLimits;
use tidemill::problem::{Json, Problem, Query, read_body, with_fallbacks};

use super::wire::Served;

const KIB: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    name: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    count: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    limit: u8,
}

fn router() -> Router {
    let length = |body: Body| async move { read_body(body, None, 64 * KIB).await.map(|b| b.len().to_string()) };
    let order = |Json(order): Json<Order>| async move {
        format!("{} {}", order.name, order.lines.iter().map(|l| u32::from(l.count)).sum::<u32>())
    };
    with_fallbacks(
        Router::new()
            .route("/length", post(length))
            .route("/order", post(order))
            .route("/page", get(|Query(page): Query<Page>| async move { page.limit.to_string() }))
            .route("/peer", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }))
            .route(
                "/panic",
                get(|| async {
                    if true {
                        panic!("the secret is 42")
                    }
                }),
            )
            .route("/fail", get(|| async { Problem::from(anyhow::anyhow!("password hunter2 was refused")) }))
            .route("/hang", get(|| async { std::future::pending::<()>().await })),
    )
}

fn limits() -> ListenerLimits {
    ListenerLimits { name: "test", body_bytes: 16 * KIB, ..ListenerLimits::default() }
}

fn post_json(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_one_after_the_other() {
    let served = Served::start(router(), limits()).await;
    let mut peer = served.connect().await;
    for n in 0..3 {
        peer.send(
            format!("POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: {n}\r\n\r\n{}", "x".repeat(n)).as_bytes(),
        )
        .await;
        assert_eq!(peer.reply().await.body, n.to_string().as_bytes());
    }
    peer.send(b"GET /peer HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!(peer.reply().await.body, b"127.0.0.1");
}

#[tokio::test]
async fn a_declared_length_over_the_cap_is_413_and_a_sender_that_sends_on_gets_to_read_it() {
    let served = Served::start(router(), limits()).await;
    let mut peer = served.connect().await;
    let body = "x".repeat(2 * 1024 * KIB);
    peer.send(format!("POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes()).await;
    peer.0.readable().await.unwrap();
    // Closing at once would reset the connection under it.
    tokio::io::AsyncWriteExt::write_all(&mut peer.0, body.as_bytes()).await.expect("it was reset while it was sending");
    let reply = peer.rest().await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert!(reply.contains("application/problem+json") && reply.contains("at most 16384 bytes"), "{reply}");
}

#[tokio::test]
async fn chunks_without_a_length_are_413_once_they_pass_the_cap() {
    let served = Served::start(router(), limits()).await;
    let mut peer = served.connect().await;
    peer.send(b"POST /length HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..17 {
        peer.send(format!("400\r\n{}\r\n", "x".repeat(KIB)).as_bytes()).await;
    }
    let reply = peer.rest().await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
}

#[tokio::test]
async fn chunks_within_the_cap_are_a_body() {
    let served = Served::start(router(), limits()).await;
    let reply = served
        .exchange(b"POST /length HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\n3"), "{reply}");
}

#[tokio::test]
async fn a_request_that_states_its_length_twice_is_refused_also_behind_others() {
    let served = Served::start(router(), limits()).await;
    for lengths in
        ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let twice = format!("POST /length HTTP/1.1\r\nhost: t\r\n{lengths}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let reply = served.exchange(twice.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 400 ") && reply.contains("states its length twice"), "{reply}");

        let mut peer = served.connect().await;
        peer.send(format!("POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\nab{twice}").as_bytes()).await;
        let replies = peer.rest().await;
        assert!(replies.starts_with("HTTP/1.1 200 ") && replies.contains("HTTP/1.1 400 "), "{replies}");
    }
}

#[tokio::test]
async fn nothing_smuggled_behind_chunks_is_answered() {
    let served = Served::start(router(), limits()).await;
    let behind = "POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let all = format!("POST /length HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{behind}");
    let replies = served.exchange(all.as_bytes()).await;
    assert_eq!(replies.matches("HTTP/1.1 ").count(), 1, "{replies}");
}

#[tokio::test]
async fn a_bad_length_is_refused() {
    let served = Served::start(router(), limits()).await;
    for length in ["-1", "+3", "3.0", "three", "3, 4", "99999999999999999999999", "0x10", ""] {
        let reply = served
            .exchange(format!("POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\nabc").as_bytes())
            .await;
        assert!(reply.starts_with("HTTP/1.1 400 ") || reply.starts_with("HTTP/1.1 413 "), "{length}: {reply}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_no_body() {
    let served = Served::start(router(), limits()).await;
    let mut peer = served.connect().await;
    peer.send(b"POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\nabc").await;
    tokio::io::AsyncWriteExt::shutdown(&mut peer.0).await.unwrap();
    let reply = peer.rest().await;
    assert!(!reply.starts_with("HTTP/1.1 2"), "{reply}");
}

#[tokio::test]
async fn too_many_and_too_long_headers_are_431() {
    let served = Served::start(router(), limits()).await;
    let many = "x-a: b\r\n".repeat(101);
    let reply = served.exchange(format!("GET /peer HTTP/1.1\r\nhost: t\r\n{many}\r\n").as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    let long = "y".repeat(17 * KIB);
    let reply = served.exchange(format!("GET /peer HTTP/1.1\r\nhost: t\r\nx-a: {long}\r\n\r\n").as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
}

#[tokio::test]
async fn silent_and_dribbling_peers_are_cut_at_the_head_timeout() {
    let served = Served::start(router(), ListenerLimits { head: Duration::from_millis(200), ..limits() }).await;
    let (mut silent, mut dribbling) = (served.connect().await, served.connect().await);
    let begun = std::time::Instant::now();
    dribbling.send(b"GET /peer HTTP/1.1\r\nho").await;
    assert_eq!(silent.rest().await, "");
    assert_eq!(dribbling.rest().await, "");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_dribbled_second_request_and_an_idle_connection_are_cut_too() {
    let brief = ListenerLimits { head: Duration::from_millis(150), idle: Duration::from_millis(300), ..limits() };
    let served = Served::start(router(), brief).await;
    let (mut idle, mut dribbling) = (served.connect().await, served.connect().await);
    for peer in [&mut idle, &mut dribbling] {
        peer.send(b"GET /peer HTTP/1.1\r\nhost: t\r\n\r\n").await;
        assert_eq!(peer.reply().await.status, 200);
    }
    dribbling.send(b"GET /pe").await;
    assert_eq!((idle.rest().await, dribbling.rest().await), (String::new(), String::new()));
}

#[tokio::test]
async fn a_dribbled_body_and_a_hanging_handler_are_408_at_the_request_deadline() {
    let served = Served::start(router(), ListenerLimits { request: Duration::from_millis(200), ..limits() }).await;
    for request in
        ["POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\nabc", "GET /hang HTTP/1.1\r\nhost: t\r\n\r\n"]
    {
        let reply = served.exchange(request.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 408 ") && reply.contains("problem:timeout"), "{reply}");
    }
}

#[tokio::test]
async fn at_the_cap_a_new_connection_takes_the_place_of_the_longest_waiting() {
    let served = Served::start(router(), ListenerLimits { connections: 2, ..limits() }).await;
    let mut first = served.connect().await;
    first.send(b"GET /peer").await;
    let mut second = served.connect().await;
    second.send(b"GET /peer HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!(second.reply().await.status, 200);
    let mut third = served.connect().await;
    third.send(b"GET /peer HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!(third.reply().await.status, 200);
    assert_eq!(first.rest().await, "", "it had waited longest without a request");
    second.send(b"GET /peer HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!(second.reply().await.status, 200, "it was left alone");
}

#[tokio::test]
async fn stopping_waits_for_a_request_but_not_for_silence() {
    let served = Served::start(router(), ListenerLimits { grace: Duration::from_secs(10), ..limits() }).await;
    let (mut silent, mut half) = (served.connect().await, served.connect().await);
    half.send(b"POST /length HTTP/1.1\r\nhost").await;
    let mut idle = served.connect().await;
    idle.send(b"GET /peer HTTP/1.1\r\nhost: t\r\n\r\n").await;
    idle.reply().await;
    let mut working = served.connect().await;
    working.send(b"POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 6\r\nexpect: 100-continue\r\n\r\n").await;
    assert!(working.reply().await.head.starts_with("HTTP/1.1 100 "), "the handler waits for the body now");
    let begun = std::time::Instant::now();
    served.stop.cancel();
    assert_eq!((silent.rest().await, half.rest().await, idle.rest().await), Default::default());
    working.send(b"abcdef").await;
    assert!(working.rest().await.ends_with("\r\n\r\n6"));
    served.tasks.wait().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn stopping_cuts_what_outlives_the_grace() {
    let served = Served::start(router(), ListenerLimits { grace: Duration::from_millis(100), ..limits() }).await;
    let mut half = served.connect().await;
    half.send(b"POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 6\r\nexpect: 100-continue\r\n\r\n").await;
    half.reply().await;
    served.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), served.tasks.wait()).await.expect("it hangs");
}

#[tokio::test]
async fn errors_are_problems_and_internal_text_stays_inside() {
    let served = Served::start(router(), limits()).await;
    let mut peer = served.connect().await;
    for (request, status, kind) in [
        ("GET /nowhere", 404, "not-found"),
        ("PUT /length", 405, "method-not-allowed"),
        ("GET /fail", 500, "unexpected"),
        ("GET /panic", 500, "unexpected"),
    ] {
        peer.send(format!("{request} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes()).await;
        let reply = peer.reply().await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, Some("application/problem+json")),
            "{request}"
        );
        let body = reply.json();
        assert_eq!((&body["type"], &body["status"]), (&format!("urn:tidemill:problem:{kind}").into(), &status.into()));
        assert!(!body.to_string().contains("hunter2") && !body.to_string().contains("42"), "{body}");
        assert_eq!(body["instance"].is_string(), status == 500, "{body}");
        if status == 405 {
            assert_eq!(reply.header("allow"), Some("POST"));
        }
    }
}

#[tokio::test]
async fn a_bad_body_or_query_names_the_field_the_value_and_what_is_allowed() {
    let served = Served::start(router(), limits()).await;
    let cases = [
        (r#"{"name": "a", "lines": [{"count": 1}, {"count": 300}]}"#, 422, "lines[1].count", Some("300"), Some("u8")),
        (r#"{"name": 7, "lines": []}"#, 422, "name", Some("7"), Some("a string")),
        (r#"{"name": "a", "lines": [{"cuont": 1}]}"#, 422, "lines[0].cuont", None, Some("`count`")),
        (r#"{"lines": []}"#, 422, "name", None, None),
        (r#"{"name": "a", "#, 400, "", None, None),
        (r#"{"name": "a", "lines": []} x"#, 400, "", None, None),
        ("", 400, "", None, None),
    ];
    for (body, status, field, value, allowed) in cases {
        let mut peer = served.connect().await;
        peer.send(&post_json("/order", body)).await;
        let reply = peer.reply().await;
        let problem = reply.json();
        assert_eq!(reply.status, status, "{body}: {problem}");
        assert_eq!(problem["field"].as_str().unwrap_or_default(), field, "{body}: {problem}");
        assert_eq!(
            problem.get("value").map(ToString::to_string).map(|v| v.trim_matches('"').to_owned()).as_deref(),
            value,
            "{body}"
        );
        assert!(
            problem["allowed"].as_str().unwrap_or_default().contains(allowed.unwrap_or_default()),
            "{body}: {problem}"
        );
    }
    let mut peer = served.connect().await;
    for (query, field, value) in [("limit=many", "limit", Some("many")), ("limt=3", "limt", None)] {
        peer.send(format!("GET /page?{query} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes()).await;
        let reply = peer.reply().await;
        let problem = reply.json();
        assert_eq!(
            (reply.status, problem["field"].as_str(), problem["value"].as_str()),
            (422, Some(field), value),
            "{problem}"
        );
    }
    peer.send(b"POST /order HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\n{}").await;
    let reply = peer.reply().await;
    assert_eq!((reply.status, reply.json()["field"].as_str()), (415, Some("content-type")));
}
