//! The command line: a scenario, a store, a number of jobs.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tidemill::config::queues::LogConfig;
use tidemill::telemetry;

use crate::measurement::Out;
use crate::place::Place;
use crate::report::Report;
use crate::scenario::backlog::Backlog;
use crate::scenario::curve::Curve;
use crate::scenario::drain::Drain;
use crate::scenario::enqueue::{Bulk, Single};
use crate::scenario::fanout::{Fanout, Receive};
use crate::scenario::findings::Findings;
use crate::scenario::ingress::Ingress;
use crate::scenario::ingress::serve::Serve;
use crate::scenario::recover::{Hold, Recover};
use crate::scenario::steady::Steady;
use crate::scenario::storm::Storm;

/// Measures Tidemill at its shipped defaults, beside peers in the same run.
#[derive(Debug, Parser)]
#[command(name = "tidemill-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    EnqueueBulk(Bulk),
    EnqueueSingle(Single),
    Drain(Drain),
    Steady(Steady),
    Backlog(Backlog),
    Recover(Recover),
    ScheduleStorm(Storm),
    Curve(Curve),
    Fanout(Fanout),
    Ingress(Ingress),
    ApalisFindings(Findings),
    Report(Report),
    #[command(hide = true)]
    Hold(Hold),
    #[command(hide = true)]
    Receive(Receive),
    #[command(hide = true)]
    IngressServe(Serve),
}

/// What every scenario takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// `redis`: its own server, AOF everysec; `sqlite`: a file in a temporary folder; or the URL of a store that is
    /// empty. It is emptied after each measurement.
    #[arg(long, default_value = "redis", value_name = "redis|sqlite|URL")]
    pub store: String,
    /// How many jobs [default: the scenario's own]
    #[arg(long, value_name = "N")]
    pub jobs: Option<u64>,
    /// JSON lines instead of lines for people
    #[arg(long)]
    pub json: bool,
}

impl Common {
    /// How many jobs, where the scenario's own number is `own`.
    pub fn jobs(&self, own: u64) -> u64 {
        self.jobs.unwrap_or(own).max(1)
    }

    /// True when the store asked for is a Redis.
    pub fn is_redis(&self) -> bool {
        self.store.starts_with("redis")
    }

    /// Where measurements go.
    pub fn out(&self) -> Out {
        Out { json: self.json }
    }

    /// A fresh, empty place for one measurement.
    ///
    /// # Errors
    /// When there is none, or what was named is not empty.
    pub async fn place(&self) -> anyhow::Result<Place> {
        Place::prepare(&self.store).await.with_context(|| format!("no place for a store at `{}`", self.store))
    }
}

impl Cli {
    /// It only answers: threads that wake each other would cost more than they do.
    pub fn needs_one_thread(&self) -> bool {
        matches!(self.scenario, Scenario::Receive(_))
    }

    /// Runs what was asked for.
    ///
    /// # Errors
    /// When a run fails, lost a job, or does not move.
    pub async fn run(self) -> anyhow::Result<()> {
        // Logging and metrics cost something: they are on, as in the shipped program.
        telemetry::log(&LogConfig::default())?;
        let recorder = telemetry::collect()?;
        let folding = tokio_util::task::AbortOnDropHandle::new(crate::rig::fold(recorder.clone()));
        let done = match self.scenario {
            Scenario::EnqueueBulk(scenario) => scenario.run().await,
            Scenario::EnqueueSingle(scenario) => scenario.run().await,
            Scenario::Drain(scenario) => scenario.run().await,
            Scenario::Steady(scenario) => scenario.run().await,
            Scenario::Backlog(scenario) => scenario.run().await,
            Scenario::Recover(scenario) => scenario.run().await,
            Scenario::ScheduleStorm(scenario) => scenario.run().await,
            Scenario::Curve(scenario) => scenario.run().await,
            Scenario::Fanout(scenario) => scenario.run(recorder).await,
            Scenario::Ingress(scenario) => scenario.run().await,
            Scenario::ApalisFindings(scenario) => scenario.run().await,
            Scenario::Report(report) => report.run(),
            Scenario::Hold(hold) => hold.run().await,
            Scenario::Receive(receive) => receive.run().await,
            Scenario::IngressServe(serve) => serve.run().await,
        };
        drop(folding);
        done
    }
}
