//! The receiver that `ingress` measures: our public listener as it is shipped, on a store, in a process of its own.
//!
//! It says `listening <port>`; after `count <n>` on its input it stops listening, runs what its queue holds of `n` events, and
//! says what it saw as one line of JSON. A peer is started and asked in the same words.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use tidemill::clock::Clock;
use tidemill::config::ingress::{IngressConfig, RateConfig};
use tidemill::ingress::{self, Ingress, Receiver, Sources, WebhookReceived};
use tidemill::job::{Done, JobError, JobKind};
use tidemill::listener;
use tidemill::worker::{Context, Handler};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Count;
use super::load::{SECRET, number};
use crate::payload::Stage;
use crate::rig::{CONCURRENCY, Rig};

/// Our receiver; for `ingress`
#[derive(Debug, Args)]
pub struct Serve {
    /// The store's URL
    #[arg(long)]
    store: String,
}

impl Serve {
    /// Runs until it has counted, or its parent is gone.
    ///
    /// # Errors
    /// When the store refuses, or what it holds is not what was sent.
    pub async fn run(self) -> anyhow::Result<()> {
        let rig = Rig::open_on(&self.store, WebhookReceived::QUEUE).await?;
        // The shipped limits, 20,000 a second of one source, would be what is measured.
        let unlimited = RateConfig { per_second: 1_000_000, burst: None };
        let mut config = IngressConfig { rate: unlimited, ..IngressConfig::default() };
        config.sources.values_mut().for_each(|source| source.rate = unlimited);
        let sources = Sources::resolve(&config, &|name| (name == "STRIPE_WEBHOOK_SECRET").then(|| SECRET.to_owned()))?;
        let receiver = Receiver::new(Ingress::new(&config, sources, rig.queue.clone(), Clock::system()));
        let tcp = listener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let port = tcp.local_addr()?.port();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(listener::serve(tcp, receiver, ingress::limits(&config), stop.clone()));
        say(&format!("listening {port}"))?;

        let asked = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().transpose()).await??;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        let Some(asked) = asked else { bail!("nobody asks any more") };
        let sent = asked.strip_prefix("count ").and_then(|n| n.parse().ok());
        let sent: u64 = sent.with_context(|| format!("`{asked}` is no question"))?;
        let stage = Stage::counting(sent);
        let worker = rig.worker_of::<Counted>(Arc::clone(&stage), CONCURRENCY).await?;
        stage.census.reaches(sent).await?;
        rig.settled(sent).await?;
        worker.drain(Duration::from_secs(25)).await?;
        stage.census.verdict()?;
        rig.end().await;
        let count = Count { distinct: stage.census.distinct(), wrong: 0, versions: String::new() };
        Ok(say(&serde_json::to_string(&count)?)?)
    }
}

fn say(line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What the listener enqueued, run by a handler that only sees it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Counted(WebhookReceived);

impl JobKind for Counted {
    const KIND: &'static str = WebhookReceived::KIND;
    const QUEUE: &'static str = WebhookReceived::QUEUE;
    const MAX_PAYLOAD_BYTES: usize = WebhookReceived::MAX_PAYLOAD_BYTES;
}

impl Handler for Counted {
    type State = Stage;

    async fn run(self, _ctx: Context, stage: &Stage) -> Result<Done, JobError> {
        // A stranger's id counts as one that was never sent.
        stage.enter(number(&self.0.event_id).unwrap_or(u64::MAX));
        Ok(Done::default())
    }
}
