//! The operators' edge, through its router: keys, roles, routes, bad input, audit.

mod access;
mod audit;
mod bad_input;
mod counted;
mod event_types;
mod inbox;
mod jobs;
mod keys;
mod once;
mod portal;
mod probes;
mod queues;
mod schedules;
mod webhooks;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;
use tidemill::admin::{ApiKeys, Desk, DeskParts, Health, Inbox, Operators, Role, router};
use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::config::fanout::FanoutConfig;
use tidemill::config::portal::PortalConfig;
use tidemill::data::Database;
use tidemill::fanout::FanoutState;
use tidemill::job::{Done, JobError, JobKind, JobSpec, QueueName};
use tidemill::portal::Links;
use tidemill::queue::Queue;
use tidemill::schedule::{Plan, Schedule, Scheduler};
use tidemill::sealing::Sealer;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{Counts, QueueSettings, Retention, Store};
use tidemill::worker::{Context, Handler, Registry};
use tower::ServiceExt as _;

/// 2026-01-02T03:04:05Z.
const START: Timestamp = Timestamp::from_ms(1_767_323_045_000);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    text: String,
}

impl JobKind for Echo {
    const KIND: &'static str = "test.echo";
    const QUEUE: &'static str = "reports";
    const MAX_PAYLOAD_BYTES: usize = 1024;
}

impl Handler for Echo {
    type State = ();
    async fn run(self, _ctx: Context, (): &()) -> Result<Done, JobError> {
        Ok(Done::with(self.text))
    }
}

/// Takes what it knows and skips the rest.
#[derive(Debug, Serialize, Deserialize)]
struct Loose {}

impl JobKind for Loose {
    const KIND: &'static str = "test.loose";
    const QUEUE: &'static str = "reports";
}

impl Handler for Loose {
    type State = ();
    async fn run(self, _ctx: Context, (): &()) -> Result<Done, JobError> {
        Ok(Done::default())
    }
}

/// An operators' listener over a store and a database of its own.
struct House {
    clock: Clock,
    store: Arc<dyn Store>,
    db: Database,
    keys: ApiKeys,
    inbox: Arc<inbox::Kept>,
    desk: Arc<Desk>,
    router: Router,
    viewer: String,
    operator: String,
    admin: String,
    _dir: TempDir,
}

/// A reply, read to its end.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    /// The body as JSON; null when it is empty.
    fn json(&self) -> Value {
        if self.text.is_empty() { Value::Null } else { serde_json::from_str(&self.text).expect("a JSON body") }
    }
}

impl House {
    async fn new() -> Self {
        Self::with_recorder(metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle()).await
    }

    async fn with_recorder(recorder: PrometheusHandle) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let options = SqliteOptions::at(dir.path().join("queue.db"));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options, clock.clone()).await.unwrap());
        Self::over(store, clock, recorder, dir).await
    }

    async fn over(store: Arc<dyn Store>, clock: Clock, recorder: PrometheusHandle, dir: TempDir) -> Self {
        let entropy = Entropy::seeded(7);
        let inbox = Arc::new(inbox::Kept::default());
        let names: BTreeSet<QueueName> =
            ["high_priority", "notifications", "reports"].map(|n| n.parse().unwrap()).into();
        let settings =
            |name: &QueueName| QueueSettings { name: name.clone(), rate: None, retention: Retention::default() };
        store.declare_queues(names.iter().map(settings).collect()).await.unwrap();
        let db = Database::open(&dir.path().join("tidemill.db")).await.unwrap();
        db.migrate(None).await.unwrap();

        let mut kinds = Registry::new();
        kinds.register::<Echo>(Arc::new(())).unwrap();
        kinds.register::<Loose>(Arc::new(())).unwrap();
        let queue = Queue::new(Arc::clone(&store), names, clock.clone(), entropy.clone());
        let sealer = Sealer::new(&Sealer::new_key(&Entropy::seeded(9)), &[]).unwrap();
        let (home, config) = ("https://hooks.example.com".parse().unwrap(), PortalConfig::default());
        let links = Links::new(db.clone(), sealer.clone(), home, &config, clock.clone(), entropy.clone());
        let fanout = FanoutState::new(db.clone(), to_loopback(), sealer, clock.clone(), entropy.clone()).unwrap();
        let fanout = Arc::new(fanout);
        tidemill::fanout::register(&mut kinds, Arc::clone(&fanout)).unwrap();
        let daily = Schedule::new("test.daily", Plan::cron("0 6 * * *", "UTC").unwrap(), |due| {
            JobSpec::of(&Echo { text: due.to_string() })
        });
        let scheduler = Scheduler::new(queue.clone(), vec![daily.unwrap()], clock.clone(), entropy.clone()).unwrap();
        scheduler.declare().await.unwrap();
        let desk = Desk::new(DeskParts {
            queue,
            scheduler,
            kinds: Arc::new(kinds),
            fanout,
            inbox: Arc::clone(&inbox) as Arc<dyn Inbox>,
            db: db.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let desk = Arc::new(desk.linking(links));
        let health = Health::new(Arc::clone(&store), db.clone(), clock.clone());
        let router = router(Operators::new(Arc::clone(&desk), health, recorder, clock.clone()));

        let keys = ApiKeys::new(db.clone(), clock.clone(), entropy);
        let [viewer, operator, admin] = [Role::Viewer, Role::Operator, Role::Admin].map(|role| key(&keys, role));
        let (viewer, operator, admin) = (viewer.await, operator.await, admin.await);
        Self { clock, store, db, keys, inbox, desk, router, viewer, operator, admin, _dir: dir }
    }

    /// Asks as the admin.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.ask_as(&self.admin, method, path, body).await
    }

    /// Asks with this key.
    async fn ask_as(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Reply {
        let request = Request::builder().method(method).uri(path).header("x-api-key", key);
        let request = match body {
            Some(json) => request.header("content-type", "application/json").body(Body::from(json.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    /// Sends a request as it is, from 192.0.2.7.
    async fn send(&self, mut request: Request<Body>) -> Reply {
        let peer: SocketAddr = "192.0.2.7:4321".parse().unwrap();
        if request.extensions().get::<ConnectInfo<SocketAddr>>().is_none() {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    /// Enqueues a `test.echo` and answers its id.
    async fn job(&self, extra: Value) -> String {
        let mut order = serde_json::json!({ "kind": "test.echo", "payload": { "text": "hello" } });
        order.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let reply = self.ask("POST", "/api/v1/jobs", Some(order)).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        reply.json()["job"].as_str().unwrap().to_owned()
    }

    async fn counts(&self) -> Counts {
        self.store.counts().await.unwrap()
    }

    async fn audit_rows(&self) -> i64 {
        tidemill::on_pool!(self.db.read(), pool => {
            sqlx::query_scalar("select count(*) from audit_log").fetch_one(pool).await.unwrap()
        })
    }
}

/// Webhooks may go to this machine, so that no test asks a name server.
fn to_loopback() -> FanoutConfig {
    let allow_addresses = vec!["127.0.0.0/8".parse().unwrap()];
    FanoutConfig { allow_http: true, allow_addresses, max_endpoints: 5, ..FanoutConfig::default() }
}

async fn key(keys: &ApiKeys, role: Role) -> String {
    let (_, text) = keys.create(role.as_str(), role, None).await.unwrap();
    text.expose_secret().to_owned()
}
