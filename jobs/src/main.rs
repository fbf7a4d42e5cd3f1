//! The one binary: parse, set up, run one command, end with its exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidemill::clock::{Clock, Entropy};
use tidemill::config::{Config, variable};
use tidemill_jobs::cli::{Failure, conclude};
use tidemill_jobs::commands::{
    Check, Deliveries, Endpoints, Enqueue, EventTypes, Events, Jobs, Keys, Messages, Migrate, Portal, Queues,
    Recoveries, Sandbox, Schedules, Secrets, Serve, Webhooks,
};
use tidemill_jobs::wiring::{Wiring, open_database};
use tidemill_jobs::{inspection, serve};

/// What one thread takes another gives back, with each job: the system's allocator spent a tenth of all processor time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Durable background work for finance back offices: webhooks in and out, schedules, queues.
///
/// Begin with `tidemill sandbox`.
#[derive(Parser)]
#[command(name = "tidemill", version)]
struct Cli {
    /// The configuration file [default: tidemill.toml, if there is one]
    #[arg(long, global = true, env = "TIDEMILL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the embedded stores lie [default: data; for the sandbox data/sandbox]
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(Serve),
    Sandbox(Sandbox),
    Check(Check),
    Migrate(Migrate),
    #[command(flatten)]
    AtDesk(AtDesk),
}

/// What operators do; works beside a running service too.
#[derive(Subcommand)]
enum AtDesk {
    Enqueue(Enqueue),
    Jobs(Jobs),
    Queues(Queues),
    Schedules(Schedules),
    Webhooks(Webhooks),
    Endpoints(Endpoints),
    EventTypes(EventTypes),
    Events(Events),
    Messages(Messages),
    Deliveries(Deliveries),
    Recoveries(Recoveries),
    Portal(Portal),
    Keys(Keys),
    Secrets(Secrets),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match serve::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return conclude(Err(anyhow::Error::new(error).context("no threads to run on"))),
    };
    let code = conclude(runtime.block_on(run(cli)));
    serve::end(runtime);
    code
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    // The sandbox has a configuration of its own; the file beside it may be meant for production.
    let mut config = match &cli.command {
        Command::Sandbox(_) => Config::default(),
        _ => Config::load(cli.config.as_deref()).map_err(anyhow::Error::from)?,
    };
    let data_dir = cli.data_dir;
    if let Some(folder) = &data_dir {
        config.data_dir.clone_from(folder);
    }
    let (now, mut out) = (Clock::system().now(), std::io::stdout());
    match cli.command {
        Command::Sandbox(sandbox) => Ok(Box::pin(sandbox.run(data_dir)).await?),
        Command::Serve(serve) => Ok(Box::pin(serve.run(&config)).await?),
        Command::Check(check) => {
            let settings = inspection::settings(&config, &variable).map_err(anyhow::Error::from)?;
            Box::pin(check.run(settings, inspection::connections(&config, &variable), now, &mut out)).await
        }
        Command::Migrate(migrate) => {
            let (queue, data) = (config.queue_location(), config.database_path());
            let db = open_database(&data.map_err(anyhow::Error::from)?).await?;
            migrate.run(queue.map_err(anyhow::Error::from)?, &db, now, &mut out).await
        }
        Command::AtDesk(command) => {
            let wiring = Wiring::open(&config, &variable, Clock::system(), Entropy::system()).await?;
            let desk = wiring.desk();
            match command {
                AtDesk::Enqueue(enqueue) => enqueue.run(&desk, now, &mut std::io::stdin(), &mut out).await,
                AtDesk::Jobs(jobs) => jobs.run(&desk, now, &mut out).await,
                AtDesk::Queues(queues) => queues.run(&desk, now, &mut out).await,
                AtDesk::Schedules(schedules) => schedules.run(&desk, now, &mut out).await,
                AtDesk::Webhooks(webhooks) => webhooks.run(&desk, now, &mut out).await,
                AtDesk::Endpoints(endpoints) => endpoints.run(&desk, now, &mut out).await,
                AtDesk::Events(events) => events.run(&desk, now, &mut std::io::stdin(), &mut out).await,
                AtDesk::EventTypes(types) => types.run(&desk, now, &mut out).await,
                AtDesk::Messages(messages) => messages.run(&desk, now, &mut out).await,
                AtDesk::Deliveries(deliveries) => deliveries.run(&desk, now, &mut out).await,
                AtDesk::Recoveries(recoveries) => recoveries.run(&desk, now, &mut out).await,
                AtDesk::Portal(portal) => portal.run(&desk, now, &mut out).await,
                AtDesk::Keys(keys) => keys.run(&desk, now, &mut out).await,
                AtDesk::Secrets(secrets) => secrets.run(&desk, &config.data_dir, &variable, now, &mut out).await,
            }
        }
    }
}
