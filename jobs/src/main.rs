//! The one binary: parse, set up, run one command, end with its exit code.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tidemill::clock::{Clock, Entropy};
use tidemill::config::{self, Config};
use tidemill::telemetry;
use tidemill_jobs::sandbox::{self, SandboxOptions};
use tidemill_jobs::serve::{self, Signals};
use tidemill_jobs::service::{Role, Service};
use tidemill_jobs::wiring::Wiring;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
#[command(name = "tidemill", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve {
        #[arg(long, env = "TIDEMILL_CONFIG")]
        config: Option<PathBuf>,
        #[arg(long)]
        data_dir: Option<PathBuf>,
        #[arg(long, value_enum, value_delimiter = ',')]
        roles: Vec<Role>,
    },
    Sandbox {
        #[arg(long, default_value = "data/sandbox")]
        data_dir: PathBuf,
        #[arg(long, default_value_t = 8080)]
        port: u16,
        #[arg(long, default_value_t = 8081)]
        admin_port: u16,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match serve::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tidemill: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(run(cli));
    serve::end(runtime);
    done.unwrap_or_else(|error| {
        eprintln!("tidemill: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve { config, data_dir, roles } => serve(config, data_dir, roles).await,
        Command::Sandbox { data_dir, port, admin_port } => {
            sandbox::run(SandboxOptions { data_dir, port, admin_port }).await
        }
    }
}

async fn serve(file: Option<PathBuf>, data_dir: Option<PathBuf>, roles: Vec<Role>) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen().context("signals can't be listened for")?;
    let mut config = Config::load(file.as_deref())?;
    if let Some(folder) = data_dir {
        config.data_dir = folder;
    }
    telemetry::log(&config.log)?;
    let recorder = telemetry::collect()?;
    let roles: BTreeSet<Role> = if roles.is_empty() { Role::ALL.into() } else { roles.into_iter().collect() };
    let wiring = Wiring::open(&config, &config::variable, Clock::system(), Entropy::system()).await?;
    let promise = wiring.store.health().await?.promise;
    let service = Service::start(wiring, &config, &roles, &config::variable, recorder).await?;
    let (public, operators) =
        (service.public.map(tracing::field::display), service.operators.map(tracing::field::display));
    tracing::info!(promise, public, operators, "started");
    Ok(serve::until_signal(service, signals, &CancellationToken::new()).await)
}
