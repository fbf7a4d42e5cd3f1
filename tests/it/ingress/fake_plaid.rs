//! A fake of Plaid's key endpoint that checks who asks and counts how often, and a Plaid that signs tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tidemill::config::ingress::{PlaidConfig, SchemeName, SourceConfig};
use tidemill::ingress::Source;
use tokio::sync::Semaphore;

pub(super) const NOW: i64 = 1_780_000_000;
pub(super) const HOUR: i64 = 3600;
pub(super) const BODY: &str =
    "{\n  \"webhook_type\": \"TRANSACTIONS\",\n  \"webhook_code\": \"SYNC_UPDATES_AVAILABLE\"\n}";

/// What the fake knows, and how it feels.
#[derive(Clone)]
pub(super) struct Fake {
    pub(super) inner: Arc<Mutex<Inner>>,
    /// A call takes one; without any, it hangs.
    pub(super) gate: Arc<Semaphore>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) keys: BTreeMap<String, Value>,
    asked: Vec<String>,
    reply_instead: Option<(u16, String)>,
}

impl Fake {
    /// With the keys `key-1` and `key-2`, ready to be asked a thousand times; and a source that asks it.
    pub(super) async fn start() -> (Self, Source) {
        let fake = Self { inner: Arc::default(), gate: Arc::new(Semaphore::new(1_000)) };
        fake.offer("key-1", &key(1), json!(null));
        fake.offer("key-2", &key(2), json!(null));
        let source = source(&fake.serve().await, "the-secret");
        (fake, source)
    }

    /// On a port of its own.
    pub(super) async fn serve(&self) -> String {
        let router = Router::new().route("/webhook_verification_key/get", post(answer)).with_state(self.clone());
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", tcp.local_addr().unwrap());
        tokio::task::spawn_local(async move { axum::serve(tcp, router).await.unwrap() });
        url
    }

    pub(super) fn offer(&self, kid: &str, key: &SigningKey, expired_at: Value) {
        let point = key.verifying_key().to_sec1_point(false);
        let [x, y] = [&point.as_bytes()[1..33], &point.as_bytes()[33..]].map(|c| URL_SAFE_NO_PAD.encode(c));
        let jwk = json!({ "alg": "ES256", "crv": "P-256", "kid": kid, "kty": "EC", "use": "sig", "x": x, "y": y,
            "created_at": 1_560_466_150, "expired_at": expired_at });
        self.inner.lock().unwrap().keys.insert(kid.to_owned(), jwk);
    }

    pub(super) fn reply_instead(&self, reply: Option<(u16, &str)>) {
        self.inner.lock().unwrap().reply_instead = reply.map(|(status, body)| (status, body.to_owned()));
    }

    pub(super) fn asked(&self) -> usize {
        self.inner.lock().unwrap().asked.len()
    }
}

async fn answer(State(fake): State<Fake>, headers: HeaderMap, Json(body): Json<Value>) -> (StatusCode, String) {
    let refuse = |code: &str| {
        let text = json!({ "error_type": "INVALID_INPUT", "error_code": code, "error_message": "no" }).to_string();
        (StatusCode::BAD_REQUEST, text)
    };
    let kid = body["key_id"].as_str().unwrap_or_default().to_owned();
    fake.inner.lock().unwrap().asked.push(kid.clone());
    fake.gate.acquire().await.unwrap().forget();
    let given = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    if (given("plaid-client-id").as_deref(), given("plaid-secret").as_deref())
        != (Some("the-client"), Some("the-secret"))
    {
        return refuse("INVALID_API_KEYS");
    }
    let inner = fake.inner.lock().unwrap();
    if let Some((status, body)) = &inner.reply_instead {
        return (StatusCode::from_u16(*status).unwrap(), body.clone());
    }
    match inner.keys.get(&kid) {
        Some(key) => (StatusCode::OK, json!({ "key": key, "request_id": "r" }).to_string()),
        None => refuse("INVALID_WEBHOOK_VERIFICATION_KEY_ID"),
    }
}

pub(super) fn source(url: &str, secret: &str) -> Source {
    let plaid = PlaidConfig { api_url: Some(url.to_owned()), ..PlaidConfig::default() };
    let config = SourceConfig { plaid: Some(plaid), ..SourceConfig::new(SchemeName::Plaid, "PLAID_SECRET") };
    let env = |name: &str| match name {
        "PLAID_CLIENT_ID" => Some("the-client".to_owned()),
        "PLAID_SECRET" => Some(secret.to_owned()),
        _ => None,
    };
    Source::new("plaid", &config, &env).unwrap()
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

pub(super) fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

pub(super) fn sign(header: &Value, claims: &Value, key: &SigningKey) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let signature: Signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

pub(super) fn header(kid: &str) -> Value {
    json!({ "alg": "ES256", "kid": kid, "typ": "JWT" })
}

pub(super) fn claims(body: &str, iat: i64) -> Value {
    json!({ "iat": iat, "request_body_sha256": hex::encode(Sha256::digest(body)) })
}

pub(super) fn token(kid: &str, seed: u8) -> String {
    sign(&header(kid), &claims(BODY, NOW), &key(seed))
}
