//! What a fan-out test stands on: both databases in a temporary folder, a queue, a manual clock.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;
use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::config::fanout::FanoutConfig;
use tidemill::data::Database;
use tidemill::fanout::endpoints::{self, Created, NewEndpoint};
use tidemill::fanout::history::{self, Delivery, DeliveryAttempt, DeliveryFilter};
use tidemill::fanout::{
    Deliver, Event, FanoutState, Guard, PageRequest, Resolver, Sending, SystemResolver, Turn, deliver, fan_out,
    set_sending,
};
use tidemill::job::{Done, Incarnation, JobError, JobRecord};
use tidemill::queue::Queue;
use tidemill::sealing::Sealer;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{ListQuery, QueueSettings, Retention, Store};
use tokio_util::sync::CancellationToken;

pub(super) const START: Timestamp = Timestamp::from_ms(1_767_225_600_000);

pub(super) struct Stage {
    pub(super) state: FanoutState,
    pub(super) queue: Queue,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    dir: TempDir,
}

/// Loopback is open, waits are short; the deadline is long enough for a busy machine.
pub(super) fn config() -> FanoutConfig {
    FanoutConfig {
        timeout_ms: 10_000,
        retry_delays_ms: vec![1_000, 2_000, 4_000],
        jitter_percent: 0,
        allow_http: true,
        allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
        ..FanoutConfig::default()
    }
}

pub(super) fn event(id: &str, event_type: &str) -> Event {
    let payload = json!({ "amount_minor": 1200, "currency": "EUR" });
    Event { id: id.into(), event_type: event_type.into(), tenant: "acme".into(), payload }
}

/// Seals with the key of this number.
pub(super) fn sealer(key: u64) -> Sealer {
    Sealer::new(&self::key(key), &[]).unwrap()
}

pub(super) fn key(number: u64) -> SecretString {
    Sealer::new_key(&Entropy::seeded(number))
}

pub(super) fn turn(number: u32) -> Turn {
    Turn { number, is_last: false, epoch: i64::from(number), node: node() }
}

/// The worker that all attempts of a test are made by.
pub(super) fn node() -> Incarnation {
    "0190c2a4-0000-7000-8000-000000000001".parse().unwrap()
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(super) async fn with(config: FanoutConfig) -> Self {
        Self::over(config, Arc::new(SystemResolver)).await
    }

    /// With a resolver of one's own.
    pub(super) async fn over(config: FanoutConfig, resolver: Arc<dyn Resolver>) -> Self {
        let dir = TempDir::new().unwrap();
        let (clock, entropy) = (Clock::manual(START), Entropy::seeded(7));
        let store = SqliteStore::open(SqliteOptions::at(dir.path().join("queue.db")), clock.clone()).await.unwrap();
        let name: tidemill::job::QueueName = "notifications".parse().unwrap();
        let settings = QueueSettings { name: name.clone(), rate: None, retention: Retention::default() };
        store.declare_queues(vec![settings]).await.unwrap();
        let db = Database::open(&dir.path().join("data.db")).await.unwrap();
        db.migrate(None).await.unwrap();
        let queue = Queue::new(Arc::new(store), [name].into(), clock.clone(), entropy.clone());
        let state = FanoutState::over(db, config, sealer(1), clock.clone(), entropy.clone(), resolver).unwrap();
        Self { state, queue, clock, entropy, dir }
    }

    /// The same databases under another configuration.
    pub(super) fn again(&self, config: FanoutConfig) -> FanoutState {
        self.sealed_by(config, sealer(1))
    }

    pub(super) fn sealed_by(&self, config: FanoutConfig, sealer: impl Into<Option<Sealer>>) -> FanoutState {
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        FanoutState::new(self.state.db().clone(), config, sealer, clock, entropy).unwrap()
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(super) async fn endpoint(&self, url: &str, event_types: &[&str]) -> Created {
        let event_types = event_types.iter().map(|t| (*t).to_owned()).collect();
        let new = NewEndpoint { tenant: "acme".into(), url: url.into(), event_types, ..NewEndpoint::default() };
        endpoints::create(&self.state, new).await.unwrap()
    }

    pub(super) async fn fan_out(&self, event: &Event) -> Result<Done, JobError> {
        fan_out(&self.state, &self.queue, event, self.clock.now(), |spec| spec).await
    }

    /// An endpoint at `url`, and the job that brings it an `invoice.paid`.
    pub(super) async fn one_delivery(&self, url: &str) -> (Created, Deliver) {
        let created = self.endpoint(url, &["*"]).await;
        self.fan_out(&event(&self.entropy.uuid().to_string(), "invoice.paid")).await.unwrap();
        let delivery = self.deliveries(|d| d.endpoint_id == created.endpoint.id).await.remove(0);
        (created, Deliver { message: delivery.message_id, endpoint: delivery.endpoint_id })
    }

    /// One more event, and the job that brings it to `endpoint`.
    pub(super) async fn another(&self, endpoint: &str) -> Deliver {
        let before: Vec<_> = self.deliveries(|d| d.endpoint_id == endpoint).await.into_iter().map(|d| d.id).collect();
        self.fan_out(&event(&self.entropy.uuid().to_string(), "invoice.paid")).await.unwrap();
        let new = self.deliveries(|d| d.endpoint_id == endpoint && !before.contains(&d.id)).await.remove(0);
        Deliver { message: new.message_id, endpoint: new.endpoint_id }
    }

    pub(super) async fn set(&self, endpoint: &str, to: Sending) {
        set_sending(self.state.db(), endpoint, &to, self.clock.now()).await.unwrap();
    }

    pub(super) async fn deliver(&self, job: &Deliver, turn: Turn) -> Result<Done, JobError> {
        deliver(&self.state, &self.queue, job, turn, None, &CancellationToken::new()).await
    }

    pub(super) async fn deliveries(&self, fit: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
        let (mut all, mut page) = (Vec::new(), PageRequest { cursor: None, limit: 200 });
        loop {
            let found = history::deliveries(self.state.db(), &DeliveryFilter::default(), &page).await.unwrap();
            all.extend(found.items.into_iter().filter(&fit));
            let Some(next) = found.next else { return all };
            page.cursor = Some(next);
        }
    }

    pub(super) async fn delivery(&self, job: &Deliver) -> Delivery {
        self.deliveries(|d| d.message_id == job.message && d.endpoint_id == job.endpoint).await.remove(0)
    }

    /// Oldest first.
    pub(super) async fn attempts(&self, job: &Deliver) -> Vec<DeliveryAttempt> {
        let delivery = self.delivery(job).await;
        let page = PageRequest { cursor: None, limit: 200 };
        let mut found = history::attempts(self.state.db(), &delivery.id, &page).await.unwrap().items;
        found.reverse();
        found
    }

    /// All `webhook.deliver` jobs in the store.
    pub(super) async fn jobs(&self) -> Vec<JobRecord> {
        let (mut all, mut query) = (Vec::new(), ListQuery { limit: 200, ..ListQuery::default() });
        loop {
            let page = self.queue.store().list(query.clone()).await.unwrap();
            all.extend(page.jobs.into_iter().filter(|j| &*j.kind == "webhook.deliver"));
            let Some(next) = page.next else { return all };
            query.cursor = Some(next);
        }
    }
}

/// The wait that a failed attempt asks for.
pub(super) fn wait_ms(outcome: Result<Done, JobError>) -> u128 {
    match outcome {
        Err(JobError::Retry { after: Some(after), .. }) => after.as_millis(),
        other => panic!("not a retry with a wait: {other:?}"),
    }
}

/// How long an attempt is put off, and why.
pub(super) fn snoozed(outcome: Result<Done, JobError>) -> (std::time::Duration, String) {
    match outcome {
        Err(JobError::Snooze { after, reason }) => (after, reason),
        other => panic!("not put off: {other:?}"),
    }
}

pub(super) fn is_cancelled(outcome: &Result<Done, JobError>) -> bool {
    matches!(outcome, Err(JobError::Cancelled { .. }))
}

/// The guard under test's own rules refuse the receiver's address.
pub(super) fn is_refused(config: &FanoutConfig, url: &str) -> bool {
    Guard::new(config).check(url).is_err()
}
