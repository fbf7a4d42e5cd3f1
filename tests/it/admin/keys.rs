//! API keys: their life, and what a request may learn from them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tidemill::admin::{KeyError, Role};

use super::House;

#[tokio::test]
async fn a_key_is_shown_once_and_only_its_digest_is_kept() {
    let house = House::new().await;
    let reply = house.ask("POST", "/api/v1/keys", Some(json!({ "name": "grafana", "role": "viewer" }))).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.headers["cache-control"], "no-store");
    let made = reply.json();
    let text = made["key"].as_str().unwrap();
    let id = made["record"]["id"].as_str().unwrap();
    assert!(text.starts_with(&format!("tm_{id}_")), "{text}");
    let secret = text.rsplit('_').next().unwrap();
    assert_eq!(secret.len(), 64, "256 bits as hexadecimal digits");

    assert_eq!(house.ask_as(text, "GET", "/api/v1/queues", None).await.status, StatusCode::OK);
    let listed = house.ask("GET", "/api/v1/keys?limit=200", None).await;
    assert!(listed.text.contains(id) && !listed.text.contains(secret));
    let audit = house.ask("GET", "/api/v1/audit", None).await;
    assert!(audit.text.contains(id) && !audit.text.contains(secret));
    let kept: Vec<u8> = tidemill::on_pool!(house.db.read(), pool => {
        sqlx::query_scalar("select digest from api_keys where id = $1").bind(id).fetch_one(pool).await.unwrap()
    });
    assert_eq!(kept, <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(text.as_bytes())));
}

#[tokio::test]
async fn a_key_opens_as_x_api_key_and_as_bearer_but_not_as_two_that_differ() {
    let house = House::new().await;
    let get = |headers: &[(&str, String)]| {
        let mut request = Request::get("/api/v1/queues");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        house.send(request.body(Body::empty()).unwrap())
    };
    let bearer = |key: &str| ("authorization", format!("Bearer {key}"));
    assert_eq!(get(&[bearer(&house.viewer)]).await.status, StatusCode::OK);
    assert_eq!(get(&[("authorization", format!("bearer {}", house.viewer))]).await.status, StatusCode::OK);
    let same = [bearer(&house.viewer), ("x-api-key", house.viewer.clone())];
    assert_eq!(get(&same).await.status, StatusCode::OK);
    let two = [bearer(&house.viewer), ("x-api-key", house.admin.clone())];
    assert_eq!(get(&two).await.status, StatusCode::UNAUTHORIZED);
    let basic = [("authorization", format!("Basic {}", house.viewer))];
    assert_eq!(get(&basic).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn one_wrong_digit_of_a_secret_opens_nothing() {
    let house = House::new().await;
    for at in [house.admin.len() - 1, house.admin.len() - 64, 5] {
        let mut wrong = house.admin.clone().into_bytes();
        wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert!(matches!(house.keys.verify(&wrong).await, Err(KeyError::Refused)));
    }
    assert!(house.keys.verify(&house.admin).await.is_ok());
    assert!(matches!(house.keys.verify(&house.admin.to_uppercase()).await, Err(KeyError::Refused)));
}

#[tokio::test]
async fn a_key_stops_with_its_expiry_and_at_once_when_revoked() {
    let house = House::new().await;
    let expires = house.clock.now().after(Duration::from_secs(10));
    let (_, short) = house.keys.create("short", Role::Viewer, Some(expires)).await.unwrap();
    let (_, long) = house.keys.create("long", Role::Viewer, None).await.unwrap();
    house.clock.advance(Duration::from_millis(9_999));
    assert!(house.keys.verify(short.expose_secret()).await.is_ok());
    house.clock.advance(Duration::from_millis(1));
    assert!(matches!(house.keys.verify(short.expose_secret()).await, Err(KeyError::Refused)));

    let id = house.keys.verify(long.expose_secret()).await.unwrap().id;
    let revoked = house.ask("POST", &format!("/api/v1/keys/{id}/revoke"), None).await;
    assert_eq!(revoked.status, StatusCode::OK);
    assert_eq!(revoked.json()["revoked_at"], house.clock.now().to_string());
    let refused = house.ask_as(long.expose_secret(), "GET", "/api/v1/queues", None).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let again = house.ask("POST", &format!("/api/v1/keys/{id}/revoke"), None).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let unknown = house.ask("POST", "/api/v1/keys/000000000000/revoke", None).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn last_use_is_written_at_most_once_a_minute() {
    let house = House::new().await;
    let first = house.keys.verify(&house.viewer).await.unwrap();
    assert_eq!(first.last_used_at, None);
    let began = house.clock.now();
    house.clock.advance(Duration::from_secs(59));
    assert_eq!(house.keys.verify(&house.viewer).await.unwrap().last_used_at, Some(began));
    assert_eq!(house.keys.get(&first.id).await.unwrap().last_used_at, Some(began), "not written again yet");
    house.clock.advance(Duration::from_secs(1));
    house.keys.verify(&house.viewer).await.unwrap();
    assert_eq!(house.keys.get(&first.id).await.unwrap().last_used_at, Some(house.clock.now()));
}

#[tokio::test]
async fn an_address_that_keeps_guessing_is_told_to_wait() {
    let house = House::new().await;
    for _ in 0..30 {
        let reply = house.ask_as("tm_guess", "GET", "/api/v1/queues", None).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }
    let reply = house.ask_as("tm_guess", "GET", "/api/v1/queues", None).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.headers["retry-after"], "60");
    let elsewhere = Request::get("/api/v1/queues")
        .header("x-api-key", &house.viewer)
        .extension(axum::extract::ConnectInfo::<std::net::SocketAddr>("198.51.100.1:9".parse().unwrap()))
        .body(Body::empty());
    assert_eq!(house.send(elsewhere.unwrap()).await.status, StatusCode::OK, "another address works on");
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(house.ask_as(&house.viewer, "GET", "/api/v1/queues", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn keys_are_paged_without_gaps_or_repetition() {
    let house = House::new().await;
    for n in 0..7 {
        house.keys.create(&format!("key {n}"), Role::Viewer, None).await.unwrap();
    }
    let (mut seen, mut path) = (Vec::new(), "/api/v1/keys?limit=3".to_owned());
    loop {
        let page = house.ask("GET", &path, None).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|k| k["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/keys?limit=3&cursor={next}");
    }
    assert_eq!(seen.len(), 10, "seven, and the house's own three");
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
}
