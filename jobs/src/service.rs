//! One running process: the roles it plays, and the order in which they stop.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tidemill::admin::{self, Condition, Desk, Health, Operators, Vitals};
use tidemill::config::Config;
use tidemill::ingress::{self, Ingress, Receiver, Senders, Sources};
use tidemill::listener::{self, ListenerLimits};
use tidemill::portal::{self, Portal, PortalParts};
use tidemill::store::StoreError;
use tidemill::telemetry::Recorder;
use tidemill::upkeep::Upkeep;
use tidemill::worker::{Worker, WorkerOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::inbox;
use crate::wiring::{Wiring, grace, label};

/// Due times undecided for so long make the process unready.
const SILENCE_MAX: Duration = Duration::from_secs(10);

const FOLD_EVERY: Duration = Duration::from_secs(5);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Role {
    /// Receives webhooks.
    Ingress,
    /// Runs jobs and keeps the store tidy.
    Worker,
    /// Decides when schedules fire.
    Scheduler,
    /// Serves operators.
    Admin,
}

impl Role {
    /// All of them: what one process plays by default.
    pub const ALL: [Self; 4] = [Self::Ingress, Self::Worker, Self::Scheduler, Self::Admin];
}

/// A running process.
#[derive(Debug)]
pub struct Service {
    /// The parts it runs on.
    pub wiring: Wiring,
    /// Where webhooks come in, if it plays that role.
    pub public: Option<SocketAddr>,
    /// Where operators come in, if it plays that role.
    pub operators: Option<SocketAddr>,
    worker: Option<Worker>,
    senders: Option<Arc<Senders>>,
    edges: TaskTracker,
    loops: TaskTracker,
    stop_edges: CancellationToken,
    stop_operators: CancellationToken,
    stop_loops: CancellationToken,
    failed: CancellationToken,
    grace: Duration,
}

impl Service {
    /// Binds the listeners, then starts every role.
    ///
    /// # Errors
    /// Says which role can't start, and why; nothing is left running.
    pub async fn start(
        wiring: Wiring,
        config: &Config,
        roles: &BTreeSet<Role>,
        lookup: &(dyn Fn(&str) -> Option<String> + Sync),
        recorder: Recorder,
    ) -> anyhow::Result<Self> {
        let mut service = Self {
            wiring,
            public: None,
            operators: None,
            worker: None,
            senders: None,
            edges: TaskTracker::new(),
            loops: TaskTracker::new(),
            stop_edges: CancellationToken::new(),
            stop_operators: CancellationToken::new(),
            stop_loops: CancellationToken::new(),
            failed: CancellationToken::new(),
            grace: grace(config),
        };
        let public = if roles.contains(&Role::Ingress) {
            let tcp = bind("ingress.listen", config.ingress.listen)?;
            let receiver = service.ingress(config, lookup).await?;
            Some((service.with_portal(receiver, config, tcp.local_addr()?)?, tcp))
        } else {
            None
        };
        let operators =
            if roles.contains(&Role::Admin) { Some(bind("admin.listen", config.admin.listen)?) } else { None };
        if roles.contains(&Role::Worker) {
            service.start_worker(config).await?;
        }
        if roles.contains(&Role::Scheduler) {
            let (scheduler, stop) = (service.wiring.scheduler.clone(), service.stop_edges.clone());
            service.keep_going("scheduler", async move { scheduler.run(stop).await });
        }
        let vitals = service.watch_vitals();
        service.fold_samples(recorder.clone());
        if let Some((receiver, tcp)) = public {
            service.public = Some(tcp.local_addr()?);
            service.edges.spawn(listener::serve(
                tcp,
                receiver,
                ingress::limits(&config.ingress),
                service.stop_edges.clone(),
            ));
        }
        if let Some(tcp) = operators {
            service.operators = Some(tcp.local_addr()?);
            let desk = service.wiring.desk().idempotent_for(Duration::from_secs(config.admin.idempotency_hours * 3600));
            let desk = match &service.senders {
                Some(senders) => desk.hearing(Arc::clone(senders)),
                None => desk,
            };
            let router = service.operators_router(desk, &vitals, recorder, roles.contains(&Role::Scheduler));
            let limits = ListenerLimits::configured("operators", &config.admin.limits, admin::MAX_BODY_BYTES);
            service.loops.spawn(listener::serve(tcp, router, limits, service.stop_operators.clone()));
        }
        Ok(service)
    }

    async fn ingress(
        &mut self,
        config: &Config,
        lookup: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> anyhow::Result<Receiver> {
        let sources = Sources::resolve(&config.ingress, &|name| lookup(name))?;
        let wiring = &self.wiring;
        let ingress = Ingress::new(&config.ingress, sources, wiring.queue.clone(), wiring.clock.clone());
        let (db, repeats) = (wiring.db.clone(), Arc::clone(ingress.repeats()));
        inbox::remember_voices(&wiring.db, ingress.senders()).await?;
        self.senders = Some(Arc::clone(ingress.senders()));
        self.loops.spawn(inbox::keep_counts(db, repeats, self.stop_loops.clone()));
        Ok(Receiver::new(ingress))
    }

    /// Adds the consumers' page, where it is on. Its links lead to where the listener really is: port 0 is some port by now.
    fn with_portal(&mut self, receiver: Receiver, config: &Config, listen: SocketAddr) -> anyhow::Result<Receiver> {
        let Some(base) = config.portal.base(listen)? else { return Ok(receiver) };
        let links =
            self.wiring.links.take().context("the consumers' page signs its links with the data key: give it")?;
        let links = links.leading_to(base);
        self.wiring.links = Some(links.clone());
        let wiring = &self.wiring;
        let parts = PortalParts {
            links,
            fanout: Arc::clone(&wiring.fanout),
            queue: wiring.queue.clone(),
            db: wiring.db.clone(),
            clock: wiring.clock.clone(),
            entropy: wiring.entropy.clone(),
        };
        Ok(receiver.with(|router| router.merge(portal::router(Portal::new(parts, &config.portal)))))
    }

    async fn start_worker(&mut self, config: &Config) -> anyhow::Result<()> {
        let wiring = &self.wiring;
        let options = WorkerOptions {
            pools: config.queues.0.iter().map(|(name, queue)| (name.clone(), queue.concurrency)).collect(),
            label: label().into(),
            lease: Duration::from_millis(config.worker.lease_ms),
            beat_every: Duration::from_millis(config.worker.beat_ms),
        };
        let (clock, entropy) = (wiring.clock.clone(), wiring.entropy.clone());
        let worker = Worker::start(wiring.queue.clone(), Arc::clone(&wiring.registry), clock, entropy, options);
        self.worker = Some(worker.await.context("the worker can't start")?);
        let (upkeep, stop) = (Upkeep::new(Arc::clone(&self.wiring.store)), self.stop_loops.clone());
        self.keep_going("upkeep", async move { upkeep.run(stop).await });
        Ok(())
    }

    /// Runs a loop; when the store has failed for good, so has the process.
    fn keep_going(&self, name: &'static str, run: impl Future<Output = Result<(), StoreError>> + Send + 'static) {
        let failed = self.failed.clone();
        self.loops.spawn(async move {
            if let Err(error) = run.await {
                tracing::error!(name, %error, "this process must stop");
                failed.cancel();
            }
        });
    }

    /// Watches store, claims and clock, and ends the process when the store has failed for good, whatever roles it plays.
    fn watch_vitals(&self) -> Arc<Vitals> {
        let pulses = self.worker.as_ref().map_or_else(BTreeMap::new, |worker| worker.pulses().clone());
        let vitals = Arc::new(Vitals::new(Arc::clone(&self.wiring.store), self.wiring.clock.clone(), pulses));
        let (watching, stop) = (Arc::clone(&vitals), self.stop_loops.clone());
        self.keep_going("vitals", async move { watching.watch(&stop).await });
        vitals
    }

    /// Folds the histograms' samples together; between scrapes they would pile up.
    fn fold_samples(&self, recorder: Recorder) {
        let stop = self.stop_loops.clone();
        self.loops.spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(FOLD_EVERY)).await.is_some() {
                recorder.run_upkeep();
            }
        });
    }

    fn operators_router(&self, desk: Desk, vitals: &Arc<Vitals>, recorder: Recorder, schedules: bool) -> axum::Router {
        let wiring = &self.wiring;
        let mut health = Health::new(Arc::clone(&wiring.store), wiring.db.clone(), wiring.clock.clone());
        health = vitals.checked(health);
        if schedules {
            let (scheduler, clock) = (wiring.scheduler.clone(), wiring.clock.clone());
            let began = clock.now();
            health = health.with("schedules", move || {
                let silence = clock.now().since(scheduler.last_round().map_or(began, |round| round.now));
                if silence > SILENCE_MAX {
                    return Condition::Bad(format!("no due times were decided for {} s", silence.as_secs()));
                }
                Condition::Good("due times are being decided".into())
            });
        }
        admin::router(Operators::new(Arc::new(desk), health, recorder, wiring.clock.clone()))
    }

    /// Rings when the process can't go on.
    pub fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    /// How many attempts run now.
    pub fn running(&self) -> usize {
        self.worker.as_ref().map_or(0, Worker::running)
    }

    /// Stops in order: nothing comes in any more, what runs finishes within the grace, the rest is handed back, operators
    /// last. Answers how many jobs were handed back unfinished.
    ///
    /// # Errors
    /// When the store did not take the sign-off; others take the jobs when the lease has run out.
    pub async fn stop(mut self) -> anyhow::Result<usize> {
        self.stop_edges.cancel();
        self.edges.close();
        self.edges.wait().await;
        let handed_back = match self.worker.take() {
            Some(worker) => worker.drain(self.grace).await,
            None => Ok(0),
        };
        self.stop_loops.cancel();
        self.stop_operators.cancel();
        self.loops.close();
        self.loops.wait().await;
        self.wiring.close().await;
        Ok(handed_back?)
    }
}

fn bind(field: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    listener::bind(address).with_context(|| {
        format!("{field} is {address}, which can't be listened on; is another process there? Set {field} to a free one")
    })
}
