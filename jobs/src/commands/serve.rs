//! `tidemill serve`: the service, until a signal.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use tidemill::clock::{Clock, Entropy};
use tidemill::config::{Config, variable};
use tidemill::telemetry;
use tokio_util::sync::CancellationToken;
use tracing::field::display;

use crate::serve::{Signals, until_signal};
use crate::service::{Role, Service};
use crate::wiring::Wiring;

/// Run the service: receive webhooks, run jobs, fire schedules, serve operators
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  STRIPE_WEBHOOK_SECRET=whsec_… tidemill serve
  tidemill serve --roles ingress,admin      (and `--roles worker,scheduler` in another process)

The first SIGTERM or Ctrl-C drains: nothing is taken any more, running jobs finish (worker.grace_seconds), the rest is handed
back. A second one ends the process at once; other workers take its jobs when its lease has run out.

Exit codes:
  0  stopped cleanly
  1  could not start, or failed for good: the message says why
  2  wrong usage
  5  could not start, because the queue store or the database did not answer: try again
  130  ended at once by a second signal")]
pub struct Serve {
    /// What this process does [default: all of them]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROLES")]
    roles: Vec<Role>,
}

impl Serve {
    /// Runs until a signal.
    ///
    /// # Errors
    /// When something can't start; says what.
    pub async fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let signals = Signals::listen().context("signals can't be listened for")?;
        telemetry::log(&config.log)?;
        let recorder = telemetry::collect()?;
        let roles: BTreeSet<Role> =
            if self.roles.is_empty() { Role::ALL.into() } else { self.roles.into_iter().collect() };
        let wiring = Wiring::open(config, &variable, Clock::system(), Entropy::system()).await?;
        wiring.declare(config, &variable).await?;
        let promise = wiring.store.health().await?.promise;
        tracing::info!(durability = config.durability.as_str(), promise, "queue store");
        let service = Service::start(wiring, config, &roles, &variable, recorder).await?;
        let (public, operators) = (service.public.map(display), service.operators.map(display));
        tracing::info!(public, operators, "started");
        Ok(until_signal(service, signals, &CancellationToken::new()).await)
    }
}
