//! `tidemill-faults`: one binary for all parts of a run; `drive` is the one that people start.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidemill_faults::{drive, hold, place::StoreKind, produce, report::Verdict, scenario::Scenario, soak, worker};

#[derive(Parser, Debug)]
#[command(about = "Real processes under faults, judged from outside")]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand, Debug)]
enum Part {
    /// Makes one run, prints its report and exits 1 when a promise was broken.
    Drive {
        #[arg(long)]
        scenario: Scenario,
        #[arg(long, default_value = "sqlite")]
        store: StoreKind,
        #[arg(long)]
        seed: u64,
        /// A folder that does not exist yet.
        #[arg(long)]
        dir: PathBuf,
        /// The long form.
        #[arg(long)]
        long: bool,
        /// The report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Judges the folder of a run again.
    Check {
        #[arg(long)]
        dir: PathBuf,
    },
    /// The long form: runs until the time is over and keeps the book.
    Soak(soak::SoakPart),
    /// Plays a worker.
    Worker(worker::WorkerPart),
    /// Plays a producer.
    Produce(produce::ProducerPart),
    /// Plays another user of the SQLite file.
    Hold(hold::HoldPart),
}

fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_max_level(tracing::Level::INFO).init();
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(play(cli.part))
}

async fn play(part: Part) -> anyhow::Result<ExitCode> {
    let report = match part {
        Part::Worker(args) => return worker::run(args).await.map(|()| ExitCode::SUCCESS),
        Part::Produce(args) => return produce::run(args).await.map(|()| ExitCode::SUCCESS),
        Part::Hold(args) => return hold::run(&args).map(|()| ExitCode::SUCCESS),
        Part::Soak(args) => {
            let good = tokio::task::block_in_place(|| soak::run(&args))?;
            return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Part::Check { dir } => drive::judge(&dir)?,
        Part::Drive { scenario, store, seed, dir, long, json } => {
            let program = std::env::current_exe()?;
            let report = drive::run(&drive::Setting { program, scenario, store, seed, dir, long }).await?;
            if json {
                println!("{}", serde_json::to_string(&report)?);
            }
            report
        }
    };
    eprintln!("{report}");
    let good = matches!(report.verdict, Verdict::Valid);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
