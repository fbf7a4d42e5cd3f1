//! The request's road: read, verify, enqueue, answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use metrics::counter;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

use super::encoding::Coding;
use super::intake::{Intake, NotKept, TIMEOUT};
use super::key::lower_hex;
use super::meter::ACCEPTED;
use super::received::WebhookReceived;
use super::repeats::Repeats;
use super::reply::Reply;
use super::senders::{Answered, Senders};
use super::source::{Source, Sources};
use super::throttle::Throttle;
use super::verify::{Admitted, Incoming, Verified};
use crate::clock::Clock;
use crate::config::ingress::IngressConfig;
use crate::job::JobSpec;
use crate::metrics::WEBHOOKS;
use crate::problem::{Path, Problem, read_body, with_fallbacks};
use crate::queue::{EnqueueError, Queue};
use crate::store::{Enqueued, StoreError};

/// Asked of a sender whose event the store did not take in time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What the public listener serves.
#[derive(Clone, Debug)]
pub struct Ingress {
    sources: Arc<Sources>,
    queue: Queue,
    intake: Arc<Intake>,
    clock: Clock,
    throttle: Arc<Throttle>,
    repeats: Arc<Repeats>,
    senders: Arc<Senders>,
    addresses: Arc<HashMap<String, Arc<str>>>,
}

/// Where a request ended, for the metric.
enum Outcome {
    Accepted,
    Duplicate,
    /// The sender's id came before with another body: the first stays.
    Differs,
    /// A handshake, answered; nothing to keep.
    Greeted(Reply),
    Refused(&'static str, Problem),
}

impl Ingress {
    /// Receives for `sources` into `queue`, at the rates that `config` has.
    pub fn new(config: &IngressConfig, sources: Sources, queue: Queue, clock: Clock) -> Self {
        let throttle = Arc::new(Throttle::new(config, &sources, Instant::now().into_std()));
        let senders = Arc::new(Senders::new(&sources, config.silence));
        let intake = Intake::new(queue.clone());
        let addresses = Arc::new(addresses(&sources));
        Self { sources: Arc::new(sources), queue, intake, clock, throttle, repeats: Arc::default(), senders, addresses }
    }

    /// How each source does.
    pub fn senders(&self) -> &Arc<Senders> {
        &self.senders
    }

    /// How often events came again; whoever keeps them takes the counts now and then.
    pub fn repeats(&self) -> &Arc<Repeats> {
        &self.repeats
    }
}

/// Where each source is posted to.
fn addresses(sources: &Sources) -> HashMap<String, Arc<str>> {
    let name = |source: &Source| -> Arc<str> { source.name.as_str().into() };
    let by_name = sources.by_name.values().map(|source| (format!("/webhooks/{}", source.name), name(source)));
    // Behind the names: a path that is also somebody's name is its own source's, as with the router.
    let own = sources.by_name.values().filter_map(|source| Some((source.path.clone()?, name(source))));
    by_name.chain(own).collect()
}

/// `POST /webhooks/{source}`, the sources' own paths, `GET /health` and `GET /webhooks/health`.
pub(super) fn router(ingress: Ingress) -> Router {
    let mut router = Router::new()
        .route("/health", get(health))
        .route("/webhooks/health", get(senders_health))
        .route("/webhooks/{source}", post(by_name));
    for source in ingress.sources.by_name.values() {
        if let Some(path) = &source.path {
            let name = source.name.clone();
            let own = move |State(ingress): State<Ingress>, request: Request| async move {
                ingress.serve(&name, request).await
            };
            router = router.route(path, post(own));
        }
    }
    with_fallbacks(router).with_state(ingress)
}

/// Says that the process answers; whether it can work is `/ready` on the operators' listener.
async fn health() -> axum::Json<serde_json::Value> {
    axum::Json(json!({"status": "ok"}))
}

/// Says whether every source speaks that used to, and nothing else: this is for anybody. Always 200, because a sender's silence
/// is no reason to send the others elsewhere.
async fn senders_health(State(ingress): State<Ingress>) -> axum::Json<serde_json::Value> {
    let degraded = ingress.senders.degraded(ingress.clock.now());
    axum::Json(json!({"status": if degraded { "degraded" } else { "ok" }}))
}

async fn by_name(State(ingress): State<Ingress>, Path(name): Path<String>, request: Request) -> Response {
    ingress.serve(&name, request).await
}

impl Ingress {
    /// The name of the source whose own address this is.
    pub(super) fn source_at(&self, path: &str) -> Option<Arc<str>> {
        self.addresses.get(path).cloned()
    }

    pub(super) async fn serve(&self, name: &str, request: Request) -> Response {
        let begun = Instant::now();
        let source = self.sources.get(name);
        if let Err(limited) = self.throttle.admit(name, begun.into_std()) {
            let name = source.map_or("unknown", |source| source.name());
            counter!(WEBHOOKS, "source" => name.to_owned(), "outcome" => "rate_limited").increment(1);
            self.answered(name, "rate_limited", false, begun);
            return limited.into_problem().into_response();
        }
        let Some(source) = source else {
            counter!(WEBHOOKS, "source" => "unknown", "outcome" => "unknown_source").increment(1);
            return Problem::not_found("no webhook source has this name").into_response();
        };
        let (parts, body) = request.into_parts();
        // What the sender wants to hear instead of our own words.
        let mut own = None;
        let outcome = self.receive(source, parts, body, &mut own).await;
        let spoke = !matches!(outcome, Outcome::Refused(..));
        let mut taken = |own_words| own.take().map_or_else(|| taken(own_words), Reply::into_response);
        let (word, response) = match outcome {
            Outcome::Accepted => (ACCEPTED, taken(br#"{"status":"accepted"}"#)),
            Outcome::Duplicate => ("duplicate", taken(br#"{"status":"duplicate"}"#)),
            Outcome::Differs => ("duplicate_differs", taken(br#"{"status":"duplicate"}"#)),
            Outcome::Greeted(reply) => ("greeting", reply.into_response()),
            Outcome::Refused(reason, problem) => (reason, problem.into_response()),
        };
        source.meter.count(&source.name, word, begun.elapsed());
        self.answered(&source.name, word, spoke, begun);
        response
    }

    fn answered(&self, source: &str, outcome: &'static str, spoke: bool, begun: Instant) {
        let (took, at) = (begun.elapsed(), self.clock.now());
        self.senders.answered(source, Answered { outcome, spoke, took, at });
    }

    async fn receive(&self, source: &Source, parts: Parts, body: Body, own: &mut Option<Reply>) -> Outcome {
        let Parts { headers, uri, .. } = parts;
        let coding = match Coding::of(&headers, source) {
            Ok(coding) => coding,
            Err(problem) => return Outcome::Refused("encoding", problem),
        };
        let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let body = read_body(body, declared, source.body_bytes).await;
        let body = match body.and_then(|body| coding.open(body, source.body_bytes)) {
            Ok(body) => body,
            Err(problem) => return Outcome::Refused("body", problem),
        };
        let incoming = Incoming { headers: &headers, uri: &uri, body: &body };
        match source.verify(incoming, self.clock.now()).await {
            Ok(Admitted::Greeting(reply)) => Outcome::Greeted(reply),
            Ok(Admitted::Event(event)) => {
                *own = event.reply().cloned();
                self.keep(source, &headers, event).await
            }
            Err(reason) => {
                tracing::info!(source = source.name, %reason, "a webhook was refused");
                Outcome::Refused(
                    reason.as_str(),
                    if reason.is_temporary() {
                        Problem::unavailable("try the same request again later", RETRY_AFTER)
                    } else {
                        Problem::unauthorized("the request's signature was not accepted", "Signature")
                    },
                )
            }
        }
    }

    /// Makes the job durable. From here on the sender may forget the event.
    async fn keep(&self, source: &Source, headers: &HeaderMap, event: Verified<WebhookReceived>) -> Outcome {
        let deadline = Instant::now() + TIMEOUT;
        let event = event.into_inner();
        let mark = format!("body:{}", lower_hex(&Sha256::digest(event.body.as_bytes())[..16]));
        let spec = match spec(source, headers, &event, mark.clone()) {
            Ok(spec) => spec,
            Err(error) => return Outcome::Refused("unexpected", error.into()),
        };
        let job = match self.queue.admit(spec) {
            Ok(job) => job,
            Err(error) => return refuse(source, error),
        };
        match self.intake.keep(job).await {
            Ok(Enqueued::Inserted(_)) => Outcome::Accepted,
            Ok(Enqueued::Duplicate(first)) => {
                // A look, not a decision: when it fails, the event is a duplicate all the same.
                let first = timeout_at(deadline, self.queue.store().get(first)).await;
                let differs = matches!(&first, Ok(Ok(Some(job))) if !job.tags.contains(&mark));
                self.repeats.note(&event.source, &event.event_id, differs, event.received_at);
                if differs {
                    tracing::warn!(
                        source = source.name,
                        event.id = event.event_id,
                        "an event came again with another body"
                    );
                    return Outcome::Differs;
                }
                Outcome::Duplicate
            }
            Err(NotKept::Refused(error)) => refuse(source, error.into()),
            Err(NotKept::Late) => {
                tracing::warn!(source = source.name, "a webhook was put off: the store did not answer in time");
                Outcome::Refused("store_timeout", Problem::unavailable("try the same request again later", RETRY_AFTER))
            }
        }
    }
}

fn taken(own_words: &'static [u8]) -> Response {
    let mut response = Response::new(Body::from(Bytes::from_static(own_words)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn spec(source: &Source, headers: &HeaderMap, event: &WebhookReceived, mark: String) -> Result<JobSpec, EnqueueError> {
    let key = format!("webhook:{}:{}", event.source, event.event_id);
    let mut spec = JobSpec::of_on(event, source.queue.clone(), Arc::clone(&source.kind))?
        .unique_for(&key, source.remember)
        .correlation(&event.event_id);
    spec.enqueued_by = Arc::clone(&source.by);
    spec.tags.push(mark);
    if let Some(trace) = headers.get("traceparent").and_then(|v| v.to_str().ok()).filter(|t| is_traceparent(t)) {
        spec = spec.trace(trace);
    }
    Ok(spec)
}

/// Nothing the sender did is wrong by now, so every refusal asks it to come back.
fn refuse(source: &Source, error: EnqueueError) -> Outcome {
    let reason = match &error {
        EnqueueError::Store(StoreError::Full { .. }) => "store_full",
        EnqueueError::Store(_) => "store_unavailable",
        _ => "unexpected",
    };
    tracing::error!(source = source.name, %error, "a webhook was put off");
    let wait = match &error {
        EnqueueError::Store(error) => error.retry_after(),
        _ => RETRY_AFTER,
    };
    Outcome::Refused(reason, Problem::unavailable("try the same request again later", wait))
}

/// W3C trace context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`, lower case, ids not zero.
fn is_traceparent(text: &str) -> bool {
    let hex =
        |t: &str, len: usize| t.len() == len && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let nonzero = |t: &str| t.bytes().any(|b| b != b'0');
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    matches!(parts[..], ["00", trace, span, flags]
        if hex(trace, 32) && nonzero(trace) && hex(span, 16) && nonzero(span) && hex(flags, 2))
}
