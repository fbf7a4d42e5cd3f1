//! An ingress on a real store, and a sender who knows its secret.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::config::ingress::IngressConfig;
use tidemill::ingress::{Ingress, Receiver, Repeats, Senders, Sources, WebhookReceived, limits};
use tidemill::job::{JobKind as _, JobRecord};
use tidemill::listener::ListenerLimits;
use tidemill::queue::Queue;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{ListQuery, QueueSettings, Retention, Store};

use super::wire::{Reply, Served};

pub(super) const SECRET: &str = "whsec_of_the_tests";

/// Everything is dropped together; the clock stands still unless a test turns it.
pub(super) struct Rig {
    pub(super) served: Served,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) repeats: Arc<Repeats>,
    pub(super) senders: Arc<Senders>,
    pub(super) dir: tempfile::TempDir,
}

impl Rig {
    pub(super) async fn start() -> Self {
        Self::with(|options| options, |router| router).await
    }

    pub(super) async fn with_connections(connections: usize) -> Self {
        Self::built(|options| options, |router| router, Some(connections), (json!({}), &[])).await
    }

    /// With more sources, and the variables for them beside `SECRET`.
    pub(super) async fn with_sources(sources: Value, variables: &[(&str, &str)]) -> Self {
        Self::built(|options| options, |router| router, None, (sources, variables)).await
    }

    /// With another store or something around the router.
    pub(super) async fn with(
        store: impl FnOnce(SqliteOptions) -> SqliteOptions,
        around: impl FnOnce(Router) -> Router,
    ) -> Self {
        Self::built(store, around, None, (json!({}), &[])).await
    }

    async fn built(
        store: impl FnOnce(SqliteOptions) -> SqliteOptions,
        around: impl FnOnce(Router) -> Router,
        connections: Option<usize>,
        (more, variables): (Value, &[(&str, &str)]),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_ms(1_780_000_000_000));
        let options = store(SqliteOptions::at(dir.path().join("queue.db")));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options, clock.clone()).await.unwrap());
        let name: tidemill::job::QueueName = WebhookReceived::QUEUE.parse().unwrap();
        let names = [name, "reports".parse().unwrap()];
        let settings = |name| QueueSettings { name, rate: None, retention: Retention::default() };
        store.declare_queues(names.clone().map(settings).into()).await.unwrap();

        let mut sources = json!({
            "small": { "scheme": "stripe", "secret_env": "SECRET", "body_bytes": 100, "path": "/api/v1/webhooks/small" },
            "plain": { "scheme": "hmac", "secret_env": "SECRET", "hmac": { "signature_header": "x-mac", "encoding": "hex" } },
            "slow": { "scheme": "stripe", "secret_env": "SECRET", "rate": { "per_second": 1, "burst": 3 } },
        });
        sources.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config: IngressConfig = serde_json::from_value(json!({ "sources": sources })).unwrap();
        let env = |name: &str| match name {
            "SECRET" | "STRIPE_WEBHOOK_SECRET" => Some(SECRET.to_owned()),
            _ => variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()),
        };
        let sources = Sources::resolve(&config, &env).unwrap();
        let queue = Queue::new(Arc::clone(&store), names.into(), clock.clone(), Entropy::seeded(7));
        let ingress = Ingress::new(&config, sources, queue, clock.clone());
        let (repeats, senders) = (Arc::clone(ingress.repeats()), Arc::clone(ingress.senders()));
        let receiver = around(Router::new().fallback_service(Receiver::new(ingress)));
        let limits = limits(&config);
        let connections = connections.unwrap_or(limits.connections);
        let limits = ListenerLimits { name: "test", connections, ..limits };
        Self { served: Served::start(receiver, limits).await, store, clock, repeats, senders, dir }
    }

    /// A request that Stripe would send now.
    pub(super) fn signed(&self, source: &str, body: &[u8]) -> Vec<u8> {
        let seconds = self.clock.now().as_ms() / 1000;
        let mac = mac(&[seconds.to_string().as_bytes(), b".", body].concat());
        post(&format!("/webhooks/{source}"), &format!("stripe-signature: t={seconds},v1={mac}\r\n"), body)
    }

    pub(super) async fn send(&self, request: &[u8]) -> Reply {
        let mut peer = self.served.connect().await;
        peer.send(request).await;
        peer.reply().await
    }

    /// All jobs, newest first.
    pub(super) async fn jobs(&self) -> Vec<JobRecord> {
        self.store.list(ListQuery { limit: 200, ..ListQuery::default() }).await.unwrap().jobs
    }
}

pub(super) fn event(id: &str) -> Vec<u8> {
    format!(r#"{{"id": "{id}", "type": "invoice.paid", "amount": 1.10}}"#).into_bytes()
}

pub(super) fn mac(signed: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(signed);
    hex::encode(mac.finalize().into_bytes())
}

pub(super) fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Asks until it is so.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !so().await {
        assert!(tokio::time::Instant::now() < deadline, "never came: {what}");
        tokio::task::yield_now().await;
    }
}
