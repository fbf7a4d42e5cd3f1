//! The handlers through a real queue and worker: what is enqueued with a completion, retried, snoozed, or dead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tidemill::clock::{Clock, Entropy};
use tidemill::config::fanout::FanoutConfig;
use tidemill::config::ingress::IngressConfig;
use tidemill::fanout::{self, FanoutState, endpoints};
use tidemill::ingress::{Ingress, Receiver, Sources};
use tidemill::job::{JobId, JobKind, JobRecord, JobSpec, JobState, QueueName};
use tidemill::queue::Queue;
use tidemill::sealing::Sealer;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{ListQuery, QueueSettings, Retention, Store};
use tidemill::upkeep::Upkeep;
use tidemill::worker::{Worker, WorkerOptions};
use tidemill_jobs::fakes::{self, Trouble};
use tidemill_jobs::handlers::accounts_sync::AccountsSync;
use tidemill_jobs::handlers::accounts_sync_all::AccountsSyncAll;
use tidemill_jobs::handlers::maintenance_prune::MaintenancePrune;
use tidemill_jobs::handlers::market_poll::MarketPoll;
use tidemill_jobs::handlers::reconcile_stripe::ReconcileStripe;
use tidemill_jobs::store::accounts::{self, NewItem};
use tidemill_jobs::store::{billing, inbox};
use tidemill_jobs::{events, handlers};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::rig::{Outside, Rig};

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const WEBHOOK_SECRET: &str = "whsec_from_stripe";

struct Plant {
    rig: Rig,
    store: Arc<dyn Store>,
    queue: Queue,
    fanout: Arc<FanoutState>,
    worker: Worker,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Plant {
    async fn start(outside: Outside) -> Self {
        let rig = Rig::new(Clock::system(), outside).await;
        let path = rig.dir.path().join("queue.db");
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(SqliteOptions::at(path), Clock::system()).await.unwrap());
        let names = ["high_priority", "medium_priority", "notifications", "reports", "maintenance"];
        let names: BTreeSet<QueueName> = names.into_iter().map(|n| n.parse().unwrap()).collect();
        let settings = |n: &QueueName| QueueSettings { name: n.clone(), rate: None, retention: Retention::default() };
        store.declare_queues(names.iter().map(settings).collect()).await.unwrap();
        let queue = Queue::new(Arc::clone(&store), names.clone(), Clock::system(), Entropy::seeded(1));

        let config = FanoutConfig {
            allow_http: true,
            allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
            ..FanoutConfig::default()
        };
        let sealer = Sealer::new(&Sealer::new_key(&Entropy::seeded(3)), &[]).unwrap();
        let fanout = FanoutState::new(rig.app.db.clone(), config, sealer, Clock::system(), Entropy::seeded(2)).unwrap();
        let fanout = Arc::new(fanout);
        let mut registry = handlers::registry(&Arc::new(rig.app.clone())).unwrap();
        fanout::register(&mut registry, Arc::clone(&fanout)).unwrap();

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (upkeep, upkeep_stop) = (Upkeep::new(Arc::clone(&store)), stop.clone());
        tasks.spawn(async move { upkeep.run(upkeep_stop).await });
        let options = WorkerOptions {
            pools: names.into_iter().map(|name| (name, 4)).collect(),
            label: "test".into(),
            lease: Duration::from_secs(10),
            beat_every: Duration::from_secs(2),
        };
        let worker = Worker::start(queue.clone(), Arc::new(registry), Clock::system(), Entropy::seeded(3), options)
            .await
            .unwrap();
        Self { rig, store, queue, fanout, worker, stop, tasks }
    }

    async fn enqueue<K: JobKind>(&self, kind: K) -> JobId {
        self.queue.enqueue(JobSpec::of(&kind).unwrap()).await.unwrap().job()
    }

    /// The job once something is true of it.
    async fn when(&self, id: JobId, is: impl Fn(&JobRecord) -> bool) -> JobRecord {
        let start = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(5));
        loop {
            let job = self.store.get(id).await.unwrap().unwrap();
            if is(&job) {
                return job;
            }
            assert!(start.elapsed() < PATIENCE, "it did not happen within {PATIENCE:?}: {job:?}");
            look.tick().await;
        }
    }

    async fn finished(&self, id: JobId) -> JobRecord {
        self.when(id, |job| job.state.is_finished()).await
    }

    async fn of_kind(&self, kind: &str) -> Vec<JobRecord> {
        let query = ListQuery { kind: Some(kind.into()), limit: 200, ..ListQuery::default() };
        self.store.list(query).await.unwrap().jobs
    }

    /// All jobs of a kind once there are `n` and all are finished.
    async fn all_finished(&self, kind: &str, n: usize) -> Vec<JobRecord> {
        let start = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(5));
        loop {
            let jobs = self.of_kind(kind).await;
            if jobs.len() >= n && jobs.iter().all(|job| job.state.is_finished()) {
                return jobs;
            }
            assert!(start.elapsed() < PATIENCE, "{n} of {kind}: {jobs:?}");
            look.tick().await;
        }
    }

    async fn connect(&self, item_id: &str, tenant: &str, token: &str) {
        let token: SecretString = token.into();
        let item = NewItem { item_id, tenant, institution: None, token: &token };
        let app = &self.rig.app;
        let sealer = &app.plaid.as_ref().unwrap().sealer;
        accounts::add_item(&app.db, sealer, &app.entropy, &item, app.clock.now()).await.unwrap();
    }

    async fn end(self) {
        self.worker.drain(Duration::from_secs(5)).await.unwrap();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn result(job: &JobRecord) -> serde_json::Value {
    serde_json::from_str(job.result.as_ref().unwrap().get()).unwrap()
}

#[tokio::test]
async fn a_signed_stripe_event_changes_the_mirror_and_leaves_as_a_signed_webhook() {
    let stripe = fakes::stripe::start(0, Clock::system()).await.unwrap();
    let receiver = fakes::receiver::start(0, Clock::system()).await.unwrap();
    let plant = Plant::start(Outside::default().stripe(&stripe)).await;
    let endpoint = endpoints::NewEndpoint {
        tenant: events::DEFAULT_TENANT.to_owned(),
        url: format!("{}/hooks", receiver.url),
        event_types: vec!["billing.*".to_owned()],
        ..endpoints::NewEndpoint::default()
    };
    let endpoint = endpoints::create(&plant.fanout, endpoint).await.unwrap();
    receiver.state.trust(endpoint.secret.reveal());

    let env = |name: &str| (name == "STRIPE_WEBHOOK_SECRET").then(|| WEBHOOK_SECRET.to_owned());
    let sources = Sources::resolve(&IngressConfig::default(), &env).unwrap();
    let config = IngressConfig::default();
    let ingress = Receiver::new(Ingress::new(&config, sources, plant.queue.clone(), Clock::system()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/stripe", listener.local_addr().unwrap());
    let stop = plant.stop.clone();
    plant.tasks.spawn(tidemill::listener::serve(listener, ingress, tidemill::ingress::limits(&config), stop));

    let subscribed = stripe.state.subscribe("cus_1", 2_000);
    let failed = stripe.state.bill_in_vain(&subscribed.object_id);
    let paid = stripe.state.pay(&failed.object_id);
    let http = tidemill::outbound::client(Duration::from_secs(10)).unwrap();
    // Out of order, and one of them twice.
    let trace = |event: &fakes::stripe::SentEvent| {
        let n = [&subscribed, &failed, &paid].iter().position(|e| e.id == event.id).unwrap() + 1;
        format!("00-{n:032x}-{n:016x}-01")
    };
    for event in [&paid, &subscribed, &failed, &paid] {
        let signature = event.signature(WEBHOOK_SECRET, Clock::system().now());
        let request = http.post(&url).header("Stripe-Signature", signature).body(event.body.clone());
        let request = request.header("traceparent", trace(event));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    for (kind, n) in [("webhook.received", 3), ("stripe.event", 3), ("webhook.fanout", 3), ("webhook.deliver", 3)] {
        let jobs = plant.all_finished(kind, n).await;
        assert_eq!(jobs.len(), n, "{kind}");
        assert!(jobs.iter().all(|job| job.state == JobState::Completed), "{jobs:?}");
        let causes: BTreeSet<_> =
            jobs.iter().filter_map(|job| job.correlation_id.as_deref().map(str::to_owned)).collect();
        let sent = [&paid, &subscribed, &failed].map(|event| event.id.clone());
        assert_eq!(causes, BTreeSet::from(sent), "each goes back to its own event: {kind}");
        for event in [&paid, &subscribed, &failed] {
            let of = jobs.iter().find(|job| job.correlation_id.as_deref() == Some(event.id.as_str())).unwrap();
            assert_eq!(of.traceparent.as_deref(), Some(trace(event).as_str()), "{kind}");
        }
    }
    // From the delivery back to the job that the listener made, parent by parent.
    for deliver in plant.of_kind("webhook.deliver").await {
        let mut ancestors = vec![deliver.kind.to_string()];
        let mut by = deliver.enqueued_by.to_string();
        while let Some(parent) = by.strip_prefix("job:") {
            let job = plant.queue.store().get(parent.parse().unwrap()).await.unwrap().unwrap();
            assert_eq!(job.correlation_id, deliver.correlation_id);
            ancestors.push(job.kind.to_string());
            by = job.enqueued_by.to_string();
        }
        assert_eq!(ancestors, ["webhook.deliver", "webhook.fanout", "stripe.event", "webhook.received"]);
        assert_eq!(by, "webhook:stripe");
    }
    for event in [&paid, &subscribed, &failed] {
        let recorded = inbox::find(&plant.rig.app.db, "stripe", &event.id).await.unwrap().unwrap();
        let first = plant.queue.store().get(recorded.job.unwrap()).await.unwrap().unwrap();
        assert_eq!((&*first.kind, first.correlation_id.as_deref()), ("webhook.received", Some(event.id.as_str())));
        let told =
            receiver.state.deliveries().into_iter().find(|d| d.body["data"]["stripe_event"] == event.id.as_str());
        assert_eq!(told.unwrap().trace, Some(trace(event)), "to the last receiver");
    }
    let invoice = billing::invoice(&plant.rig.app.db, &failed.object_id).await.unwrap().unwrap();
    assert_eq!((invoice.status.as_deref(), invoice.amount_paid), (Some("paid"), 2_000));
    let mut told: Vec<_> = receiver.state.deliveries().into_iter().map(|d| d.event_type).collect();
    told.sort_unstable();
    assert_eq!(told, ["billing.invoice.failed", "billing.invoice.paid", "billing.subscription.changed"]);
    let counts = receiver.state.counts();
    assert_eq!((counts.accepted, counts.repeated, counts.refused), (3, 0, 0));
    plant.end().await;
}

#[tokio::test]
async fn a_poll_is_retried_after_a_second_and_tells_of_new_figures_when_it_succeeds() {
    let market = fakes::gpu_market::start(0, Clock::system()).await.unwrap();
    let plant = Plant::start(Outside::default().market(&market)).await;
    market.state.moods.script([Trouble::Status(503)]);
    let id = plant.enqueue(MarketPoll {}).await;
    let waiting = plant.when(id, |job| !job.failures.is_empty()).await;
    let wait = waiting.run_at.since(waiting.failures[0].at);
    assert_eq!(wait, Duration::from_secs(1), "the first of 1, 2, 4, 8, 16 s");
    let job = plant.finished(id).await;
    assert_eq!((job.state, job.attempt, job.max_attempts), (JobState::Completed, 2, 5), "{job:?}");
    assert_eq!(result(&job)["kept"], 4);
    assert_eq!(plant.of_kind("webhook.fanout").await.len(), 1);

    let again = plant.enqueue(MarketPoll {}).await;
    assert_eq!(result(&plant.finished(again).await)["unchanged"], true);
    assert_eq!(plant.of_kind("webhook.fanout").await.len(), 1, "nothing new, nothing told");
    plant.end().await;
}

#[tokio::test]
async fn one_sync_is_asked_for_each_connection_and_the_token_is_in_none_of_the_jobs() {
    let bank = fakes::plaid::start(0, Clock::system()).await.unwrap();
    let plant = Plant::start(Outside::default().plaid(&bank)).await;
    let items = BTreeMap::from([("item-1", "acme"), ("item-2", "acme"), ("item-3", "other")]);
    for (item, tenant) in &items {
        let token = format!("access-{item}");
        bank.state.add_item(item, &token);
        bank.state.book(&token, &format!("{item}-t1"), "12.34");
        plant.connect(item, tenant, &token).await;
    }
    let all = plant.enqueue(AccountsSyncAll {}).await;
    let report = result(&plant.finished(all).await);
    assert_eq!((&report["enqueued"], &report["already_there"]), (&3.into(), &0.into()));
    for job in plant.all_finished("accounts.sync", 3).await {
        assert_eq!(job.state, JobState::Completed, "{job:?}");
        let payload: AccountsSync = serde_json::from_str(job.payload.get()).unwrap();
        assert_eq!(job.tenant.as_deref(), Some(items[payload.item.as_str()]));
        assert_eq!(job.correlation_id.as_deref().map(str::to_owned), Some(all.to_string()));
        assert_eq!(result(&job)["upserted"], 1);
        assert!(!format!("{job:?}").contains("access-"), "{job:?}");
    }
    plant.end().await;
}

#[tokio::test]
async fn a_connection_that_is_not_ready_is_asked_again_without_using_up_attempts() {
    let bank = fakes::plaid::start(0, Clock::system()).await.unwrap();
    let plant = Plant::start(Outside::default().plaid(&bank)).await;
    bank.state.add_item("item-1", "access-1");
    bank.state.preparing("access-1", true);
    plant.connect("item-1", "acme", "access-1").await;
    let spec = AccountsSync::on_demand("item-1", "acme", Duration::from_millis(10)).unwrap();
    let id = plant.queue.enqueue(spec).await.unwrap().job();
    let asked = |job: &JobRecord| job.state == JobState::Scheduled && job.started_at.is_some();
    let job = plant.when(id, asked).await;
    assert_eq!((job.attempt, job.failures.len()), (0, 0), "{job:?}");
    assert!(job.progress.unwrap().note.contains("preparing"));
    plant.end().await;
}

#[tokio::test]
async fn reconciliation_reports_its_counts_and_publishes_them() {
    let stripe = fakes::stripe::start(0, Clock::system()).await.unwrap();
    let plant = Plant::start(Outside::default().stripe(&stripe)).await;
    stripe.state.subscribe("cus_1", 2_000);
    let until = Some(Clock::system().now().after(Duration::from_secs(60)));
    let id = plant.enqueue(ReconcileStripe { until, days: Some(1) }).await;
    let job = plant.finished(id).await;
    assert_eq!((job.state, job.queue.as_str()), (JobState::Completed, "reports"));
    let report = result(&job);
    assert_eq!((&report["missing"], &report["checked"]), (&1.into(), &1.into()), "{report}");
    let fanout = plant.all_finished("webhook.fanout", 1).await;
    assert!(fanout[0].payload.get().contains("reconcile.stripe.finished"), "{:?}", fanout[0]);
    plant.end().await;
}

#[tokio::test]
async fn a_job_of_an_integration_that_is_off_is_dead_and_says_what_to_set() {
    let plant = Plant::start(Outside::default()).await;
    let cases = [
        (plant.enqueue(MarketPoll {}).await, "GPU_MARKET_URL"),
        (plant.enqueue(AccountsSyncAll {}).await, "PLAID_CLIENT_ID"),
        (plant.enqueue(AccountsSync { item: "item-1".to_owned() }).await, "PLAID_CLIENT_ID"),
        (plant.enqueue(ReconcileStripe::default()).await, "STRIPE_SECRET_KEY"),
    ];
    for (id, variable) in cases {
        let job = plant.finished(id).await;
        assert_eq!((job.state, job.failures.len()), (JobState::Dead, 1), "{job:?}");
        assert!(job.failures[0].error.contains(variable), "{:?}", job.failures);
    }
    let job = plant.enqueue(MaintenancePrune {}).await;
    let job = plant.finished(job).await;
    assert_eq!((job.state, &result(&job)["more"]), (JobState::Completed, &false.into()));
    plant.end().await;
}
