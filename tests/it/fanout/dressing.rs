//! What an endpoint may ask for beside its events: filter, headers, prefix, metadata, a pause.

use std::time::Duration;

use serde_json::json;
use tidemill::fanout::endpoints::{self, EndpointChange, EndpointState, NewEndpoint, Texts};
use tidemill::fanout::history::DeliveryState;
use tidemill::fanout::{Deliver, Event};

use super::receiver::{Receiver, status};
use super::stage::{Stage, event, is_cancelled, turn};

const URL: &str = "http://127.0.0.1:9/hook";

fn new(url: &str) -> NewEndpoint {
    NewEndpoint { tenant: "acme".into(), url: url.into(), event_types: vec!["*".into()], ..NewEndpoint::default() }
}

fn texts(pairs: &[(&str, &str)]) -> Texts {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn an_event_goes_only_to_endpoints_whose_filter_it_fits() {
    let stage = Stage::new().await;
    let filter = r#"amount_minor >= 10000 and currency == "EUR""#;
    let picky = NewEndpoint { filter: filter.into(), ..new(URL) };
    let picky = endpoints::create(&stage.state, picky).await.unwrap().endpoint;
    let all = endpoints::create(&stage.state, new(URL)).await.unwrap().endpoint;
    let paid = |id: &str, amount: i64| Event {
        payload: json!({ "amount_minor": amount, "currency": "EUR" }),
        ..event(id, "invoice.paid")
    };
    stage.fan_out(&paid("evt_1", 9_999)).await.unwrap();
    stage.fan_out(&paid("evt_2", 10_000)).await.unwrap();
    let count = async |id: &str| stage.deliveries(|d| d.endpoint_id == id).await.len();
    assert_eq!((count(&picky.id).await, count(&all.id).await), (1, 2));

    let change = EndpointChange { filter: Some(String::new()), ..EndpointChange::default() };
    assert_eq!(endpoints::update(&stage.state, &picky.id, change).await.unwrap().filter, None);
    stage.fan_out(&paid("evt_3", 1)).await.unwrap();
    assert_eq!(count(&picky.id).await, 2);
}

#[tokio::test]
async fn static_headers_and_a_prefixed_signature_are_sent_beside_the_standard_ones() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let headers = texts(&[("Authorization", "Bearer t0ken"), ("X-Env", "test")]);
    let wish = NewEndpoint { headers, header_prefix: Some("X-GPUScout".into()), ..new(&receiver.url()) };
    let made = endpoints::create(&stage.state, wish).await.unwrap();
    stage.fan_out(&event("evt_1", "invoice.paid")).await.unwrap();
    let found = stage.deliveries(|_| true).await.remove(0);
    let job = Deliver { message: found.message_id, endpoint: found.endpoint_id };
    stage.deliver(&job, turn(1)).await.unwrap();
    let post = receiver.seen().remove(0);
    assert_eq!(post.header("authorization"), "Bearer t0ken");
    assert_eq!(post.header("x-env"), "test");
    assert_eq!(post.header("x-gpuscout-event"), "invoice.paid");
    assert_eq!(post.header("x-gpuscout-id"), post.header("webhook-id"));
    assert_eq!(post.header("x-gpuscout-timestamp"), post.header("webhook-timestamp"));
    assert_eq!(post.header("x-gpuscout-signature"), post.header("webhook-signature"));
    assert_eq!(post.verified_by(made.secret.reveal()), [0]);
    assert!(!format!("{:?}", stage.attempts(&job).await).contains("t0ken"));
}

#[tokio::test]
async fn a_header_that_frames_routes_or_signs_is_refused_by_name_and_its_value_not_repeated() {
    let stage = Stage::new().await;
    let bad = [
        ("Host", "x"),
        ("content-length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("webhook-signature", "v1,x"),
        ("Webhook-Id", "x"),
        ("Content-Type", "text/plain"),
        ("Proxy-Authorization", "x"),
        ("", "x"),
        ("a b", "x"),
        ("X:", "x"),
        ("X-A", "se\r\nX-Evil: 1"),
        ("X-A", "se\0cret"),
        ("X-A", "sé"),
    ];
    for (name, value) in bad {
        let wish = NewEndpoint { headers: texts(&[(name, value)]), ..new(URL) };
        let error = endpoints::create(&stage.state, wish).await.unwrap_err().to_string();
        assert!(error.starts_with("headers") && !error.contains("Evil"), "{name}: {error}");
    }
    let many = (0..21).map(|n| (format!("X-{n}"), String::new())).collect();
    let cases = [
        NewEndpoint { headers: many, ..new(URL) },
        NewEndpoint { headers: texts(&[("X-A", "1"), ("x-a", "2")]), ..new(URL) },
        NewEndpoint {
            headers: texts(&[("x-acme-signature", "v1,x")]),
            header_prefix: Some("X-Acme".into()),
            ..new(URL)
        },
    ];
    for wish in cases {
        let error = endpoints::create(&stage.state, wish).await.unwrap_err().to_string();
        assert!(error.starts_with("headers"), "{error}");
    }
    for prefix in ["webhook", "Webhook", "-x", "x-", "a b", "é", "x\r\n", &"p".repeat(41)] {
        let wish = NewEndpoint { header_prefix: Some(prefix.into()), ..new(URL) };
        let error = endpoints::create(&stage.state, wish).await.unwrap_err().to_string();
        assert!(error.starts_with("header_prefix"), "{prefix}: {error}");
    }
    let wish = NewEndpoint { metadata: texts(&[("k", &"v".repeat(501))]), ..new(URL) };
    assert!(endpoints::create(&stage.state, wish).await.unwrap_err().to_string().starts_with("metadata"));
    let wish = NewEndpoint { filter: "amount >".into(), ..new(URL) };
    assert!(endpoints::create(&stage.state, wish).await.unwrap_err().to_string().starts_with("filter: at byte 8"));
}

#[tokio::test]
async fn a_prefix_that_comes_later_must_not_meet_a_header_that_was_there() {
    let stage = Stage::new().await;
    let wish = NewEndpoint { headers: texts(&[("X-Acme-Signature", "mine")]), ..new(URL) };
    let id = endpoints::create(&stage.state, wish).await.unwrap().endpoint.id;
    let change = EndpointChange { header_prefix: Some("x-acme".into()), ..EndpointChange::default() };
    assert!(endpoints::update(&stage.state, &id, change).await.is_err());
    assert_eq!(endpoints::get(stage.state.db(), &id).await.unwrap().header_prefix, None, "nothing was changed");
}

#[tokio::test]
async fn a_paused_endpoints_deliveries_wait_and_change_nothing() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500), status(200)]).await);
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    let paused = endpoints::pause(&stage.state, &created.endpoint.id, "moving house").await.unwrap();
    assert_eq!((paused.state, paused.reason.as_deref()), (EndpointState::Paused, Some("moving house")));
    stage.clock.advance(Duration::from_secs(60));
    assert!(is_cancelled(&stage.deliver(&job, turn(2)).await));
    assert_eq!(stage.delivery(&job).await.state, DeliveryState::Failed);

    let jobs = stage.jobs().await.len();
    stage.fan_out(&event("evt_2", "invoice.paid")).await.unwrap();
    assert_eq!(stage.deliveries(|d| d.state == DeliveryState::Pending).await.len(), 1, "it is opened");
    assert_eq!(stage.jobs().await.len(), jobs, "and nobody brings it");
    let enabled = endpoints::enable(&stage.state, &created.endpoint.id).await.unwrap();
    assert_eq!((enabled.state, enabled.reason), (EndpointState::Enabled, None));
    stage.deliver(&job, turn(3)).await.unwrap();
}
