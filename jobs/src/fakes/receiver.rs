//! Somebody who listens to our webhooks: checks the Standard Webhooks signature of every POST and keeps what it was.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tidemill::clock::{Clock, Timestamp};

use super::server::{Fake, FakeError};
use super::trouble::{Moods, meet};

/// So many of the last deliveries are kept, if [`Receiver::keep`] says nothing else; all are counted.
const KEEP: usize = 10_000;
const TOLERANCE: Duration = Duration::from_secs(300);

/// The receiver. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Receiver {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
    /// How it feels.
    pub moods: Moods,
}

#[derive(Debug, Default)]
struct Inner {
    secrets: Vec<String>,
    keep: usize,
    ids: HashSet<String>,
    deliveries: VecDeque<Delivery>,
    repeats: VecDeque<Delivery>,
    counts: Counts,
}

/// A delivery whose signature was right.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// `webhook-id`
    pub id: String,
    /// The body's `type`.
    pub event_type: String,
    /// The whole body.
    pub body: Value,
    /// `traceparent`
    pub trace: Option<String>,
    /// When it came.
    pub at: Timestamp,
}

/// How many deliveries ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Signature right, id not seen before.
    pub accepted: u64,
    /// Signature right, id seen before; answered well all the same.
    pub repeated: u64,
    /// Signature wrong, missing or old; answered 401.
    pub refused: u64,
}

/// Starts the receiver on `port` (0: a free one). It takes POSTs at `/hooks` and trusts nobody yet.
///
/// # Errors
/// When the port can't be had.
pub async fn start(port: u16, clock: Clock) -> Result<Fake<Receiver>, FakeError> {
    let inner = Inner { keep: KEEP, ..Inner::default() };
    let receiver = Receiver { inner: Arc::new(Mutex::new(inner)), clock, moods: Moods::default() };
    let router = Router::new()
        .route("/hooks", post(receive))
        .with_state(receiver.clone())
        .layer(from_fn_with_state(receiver.moods.clone(), meet));
    Fake::start("receiver", port, receiver, router).await
}

impl Receiver {
    /// Accepts what is signed with this secret, `whsec_…`, besides those it trusts already.
    pub fn trust(&self, secret: &str) {
        self.with(|r| r.secrets.push(secret.to_owned()));
    }

    /// Keeps so many of the last deliveries, and of the last repeats.
    pub fn keep(&self, n: usize) {
        self.with(|r| r.keep = n);
    }

    /// How many deliveries ended how.
    pub fn counts(&self) -> Counts {
        self.with(|r| r.counts)
    }

    /// The last accepted deliveries, oldest first, each id once.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.with(|r| r.deliveries.iter().cloned().collect())
    }

    /// The last deliveries whose id had been accepted before, oldest first.
    pub fn repeats(&self) -> Vec<Delivery> {
        self.with(|r| r.repeats.iter().cloned().collect())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let now = receiver.clock.now();
    receiver.with(|r| {
        let Some(id) = verified(&r.secrets, &headers, &body, now) else {
            r.counts.refused += 1;
            return StatusCode::UNAUTHORIZED;
        };
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let trace = headers.get("traceparent").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let event_type = body["type"].as_str().unwrap_or_default().to_owned();
        let delivery = Delivery { id, event_type, body, trace, at: now };
        if r.ids.contains(&delivery.id) {
            r.counts.repeated += 1;
            r.repeats.push_back(delivery);
            if r.repeats.len() > r.keep {
                r.repeats.pop_front();
            }
            return StatusCode::OK;
        }
        r.counts.accepted += 1;
        r.ids.insert(delivery.id.clone());
        r.deliveries.push_back(delivery);
        if r.deliveries.len() > r.keep
            && let Some(oldest) = r.deliveries.pop_front()
        {
            r.ids.remove(&oldest.id);
        }
        StatusCode::OK
    })
}

/// The message's id, if one of the signatures is of one of the secrets, and not old.
fn verified(secrets: &[String], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let (id, time) = (text("webhook-id")?, text("webhook-timestamp")?);
    let sent_at = Timestamp::from_ms(time.parse::<i64>().ok()?.checked_mul(1000)?);
    if now.since(sent_at) > TOLERANCE || sent_at.since(now) > TOLERANCE {
        return None;
    }
    let given: Vec<Vec<u8>> =
        text("webhook-signature")?.split(' ').filter_map(|s| STANDARD.decode(s.strip_prefix("v1,")?).ok()).collect();
    let right = secrets.iter().filter_map(|secret| signature(secret, id, time, body));
    let found = right.into_iter().any(|right| given.iter().any(|g| bool::from(g.as_slice().ct_eq(right.as_slice()))));
    found.then(|| id.to_owned())
}

fn signature(secret: &str, id: &str, time: &str, body: &[u8]) -> Option<Vec<u8>> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(body);
    Some(mac.finalize().into_bytes().to_vec())
}
