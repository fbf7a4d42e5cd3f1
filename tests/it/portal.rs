//! The consumers' page, through its router: links, sessions, forms, pages, and that nobody sees or changes what is another's.

mod changing;
mod dressing;
mod forms;
mod isolation;
mod links;
mod pages;
mod settings;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::config::fanout::FanoutConfig;
use tidemill::config::portal::PortalConfig;
use tidemill::data::Database;
use tidemill::fanout::endpoints::{self, Created, NewEndpoint};
use tidemill::fanout::history::{self, Delivery, DeliveryFilter};
use tidemill::fanout::{Deliver, Event, FanoutState, PageRequest, Turn, deliver, fan_out};
use tidemill::job::QueueName;
use tidemill::portal::{self, Links, NewLink, Portal, PortalParts};
use tidemill::queue::Queue;
use tidemill::sealing::Sealer;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{QueueSettings, Retention, Store};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// 2026-01-02T03:04:05Z.
const START: Timestamp = Timestamp::from_ms(1_767_323_045_000);
const HOME: &str = "https://hooks.example.com";

/// The page over stores of its own, as two tenants find it.
struct Stand {
    clock: Clock,
    entropy: Entropy,
    store: Arc<dyn Store>,
    queue: Queue,
    db: Database,
    fanout: Arc<FanoutState>,
    links: Links,
    router: Router,
    dir: TempDir,
}

/// A reply, read to its end.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// Somebody's browser after a link was opened.
struct Visitor<'a> {
    stand: &'a Stand,
    cookie: String,
}

fn key(seed: u64) -> SecretString {
    Sealer::new_key(&Entropy::seeded(seed))
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The value of the first field of this name in a form of the page.
    fn field(&self, name: &str) -> String {
        let from = format!("name=\"{name}\" value=\"");
        let rest = self.text.split_once(&from).unwrap_or_else(|| panic!("no field {name}: {}", self.text)).1;
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Stand {
    async fn new() -> Self {
        Self::with(HOME, PortalConfig::default()).await
    }

    async fn with(home: &str, config: PortalConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, entropy) = (Clock::manual(START), Entropy::seeded(7));
        let options = SqliteOptions::at(dir.path().join("queue.db"));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options, clock.clone()).await.unwrap());
        let names: BTreeSet<QueueName> = ["notifications".parse().unwrap()].into();
        let settings =
            |name: &QueueName| QueueSettings { name: name.clone(), rate: None, retention: Retention::default() };
        store.declare_queues(names.iter().map(settings).collect()).await.unwrap();
        let db = Database::open(&dir.path().join("tidemill.db")).await.unwrap();
        db.migrate(None).await.unwrap();
        let queue = Queue::new(Arc::clone(&store), names, clock.clone(), entropy.clone());
        let to_loopback = FanoutConfig {
            allow_http: true,
            allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
            retry_delays_ms: vec![60_000, 60_000],
            jitter_percent: 0,
            ..FanoutConfig::default()
        };
        let sealer = Sealer::new(&key(9), &[]).unwrap();
        let fanout = FanoutState::new(db.clone(), to_loopback, sealer.clone(), clock.clone(), entropy.clone()).unwrap();
        let base = home.parse().unwrap();
        let links = Links::new(db.clone(), sealer, base, &config, clock.clone(), entropy.clone());
        let mut stand =
            Self { fanout: Arc::new(fanout), router: Router::new(), clock, entropy, store, queue, db, links, dir };
        stand.router = stand.router_over(stand.links.clone(), &config);
        stand
    }

    fn router_over(&self, links: Links, config: &PortalConfig) -> Router {
        let parts = PortalParts {
            links,
            fanout: Arc::clone(&self.fanout),
            queue: self.queue.clone(),
            db: self.db.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        };
        Router::new().fallback(async || "another's").merge(portal::router(Portal::new(parts, config)))
    }

    async fn link(&self, tenant: &str, hours: u64, read_only: bool) -> (String, String) {
        let new = NewLink { tenant: tenant.into(), hours: Some(hours), read_only };
        let made = self.links.make(&new, "cli:test").await.unwrap();
        let path = made.url.expose_secret().strip_prefix(HOME).unwrap_or(made.url.expose_secret()).to_owned();
        (made.link.id, path)
    }

    /// Opens a new link of `tenant`.
    async fn visitor(&self, tenant: &str) -> Visitor<'_> {
        let (_, path) = self.link(tenant, 24, false).await;
        self.enter(&path).await
    }

    /// Opens this link.
    async fn enter(&self, path: &str) -> Visitor<'_> {
        let reply = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{reply:?}");
        let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        Visitor { stand: self, cookie }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    async fn endpoint(&self, tenant: &str, url: &str) -> Created {
        let (tenant, url, event_types) = (tenant.into(), url.into(), vec!["*".into()]);
        let new = NewEndpoint { tenant, url, event_types, ..NewEndpoint::default() };
        endpoints::create(&self.fanout, new).await.unwrap()
    }

    /// Publishes an event of `tenant` to all its endpoints.
    async fn publish(&self, tenant: &str, id: &str, payload: Value) {
        let event = Event { id: id.into(), event_type: "invoice.paid".into(), tenant: tenant.into(), payload };
        fan_out(&self.fanout, &self.queue, &event, self.clock.now(), |spec| spec).await.unwrap();
        // Ids tell milliseconds apart.
        self.clock.advance(std::time::Duration::from_millis(1));
    }

    /// Newest first.
    async fn deliveries(&self, tenant: &str) -> Vec<Delivery> {
        let filter = DeliveryFilter { tenant: Some(tenant.into()), ..DeliveryFilter::default() };
        let page = PageRequest { cursor: None, limit: 200 };
        history::deliveries(&self.db, &filter, &page).await.unwrap().items
    }

    /// Makes one POST of a delivery.
    async fn attempt(&self, delivery: &Delivery, number: u32) {
        let job = Deliver { message: delivery.message_id.clone(), endpoint: delivery.endpoint_id.clone() };
        let node = "0190c2a4-0000-7000-8000-000000000001".parse().unwrap();
        let turn = Turn { number, is_last: false, epoch: i64::from(number), node };
        // What becomes of the job is another test's; here only the log counts.
        drop(deliver(&self.fanout, &self.queue, &job, turn, None, &CancellationToken::new()).await);
    }

    /// An endpoint of `tenant` with one delivery, and the ids of endpoint, message, delivery and attempt.
    async fn furnish(&self, tenant: &str) -> [String; 4] {
        let endpoint = self.endpoint(tenant, "http://127.0.0.1:9/hooks").await.endpoint.id;
        self.publish(tenant, &format!("evt-of-{tenant}"), json!({ "secret-of": tenant })).await;
        let delivery = self.deliveries(tenant).await.remove(0);
        self.attempt(&delivery, 1).await;
        let attempts = history::attempts(&self.db, &delivery.id, &PageRequest::default()).await.unwrap();
        [endpoint, delivery.message_id, delivery.id, attempts.items[0].id.clone()]
    }

    async fn count(&self, what: &'static str) -> i64 {
        tidemill::on_pool!(self.db.read(), pool => sqlx::query_scalar(what).fetch_one(pool).await.unwrap())
    }

    /// Actors, actions and subjects, oldest first, with what was written of the outcomes.
    async fn audit(&self) -> Vec<[String; 4]> {
        let rows: Vec<(String, String, String, Option<String>)> = tidemill::on_pool!(self.db.read(), pool => {
            sqlx::query_as("select actor, action, subject, after from audit_log order by id").fetch_all(pool).await.unwrap()
        });
        rows.into_iter()
            .map(|(actor, action, subject, after)| [actor, action, subject, after.unwrap_or_default()])
            .collect()
    }
}

impl Visitor<'_> {
    async fn get(&self, path: &str) -> Reply {
        self.stand.send(Request::get(path).header("cookie", &self.cookie).body(Body::empty()).unwrap()).await
    }

    /// Fills in the form that stands on `page` and sends it to `path`, as a browser does.
    async fn submit(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let shown = self.get(page).await;
        assert_eq!(shown.status, StatusCode::OK, "{shown:?}");
        let (code, once) = (shown.field("code"), self.stand.entropy.uuid().simple().to_string());
        let mut all = vec![("code", code.as_str()), ("once", once.as_str())];
        all.extend_from_slice(fields);
        self.post(path, &all).await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.stand.send(self.form(path, fields).body(body(fields)).unwrap()).await
    }

    fn form(&self, path: &str, _fields: &[(&str, &str)]) -> axum::http::request::Builder {
        Request::post(path)
            .header("cookie", &self.cookie)
            .header("origin", "null")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
    }
}

fn body(fields: &[(&str, &str)]) -> Body {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    fields.iter().for_each(|(name, value)| {
        text.append_pair(name, value);
    });
    Body::from(text.finish())
}

/// What an endpoint's form is filled in with.
fn wanted(url: &str) -> [(&'static str, &str); 4] {
    [("url", url), ("description", "ours"), ("event_types", "invoice.*\r\npayment.done"), ("filter", "")]
}
