//! The long form: one scenario after the other with new seeds, until the time is over.
//!
//! Each run is a process of its own with a time limit, so that one that fails, hangs or panics costs only itself: its folder
//! is kept, its seed is in the book, and the loop goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use clap::ValueEnum as _;

use crate::book::Book;
use crate::place::StoreKind;
use crate::report::{Report, Verdict};
use crate::scenario::Scenario;

/// No run may take longer.
const RUN_MAX: Duration = Duration::from_secs(600);

/// What the long form is told.
#[derive(Args, Clone, Debug)]
pub struct SoakPart {
    /// No run begins after so many minutes.
    #[arg(long)]
    pub minutes: u64,
    /// Only this store; both by default.
    #[arg(long)]
    pub store: Option<StoreKind>,
    /// Only this scenario.
    #[arg(long)]
    pub scenario: Option<Scenario>,
    /// The first run's seed; the others count up from it.
    #[arg(long)]
    pub seed: u64,
    /// Runs' folders; of valid ones nothing stays.
    #[arg(long)]
    pub dir: PathBuf,
    /// The book.
    #[arg(long)]
    pub book: PathBuf,
    /// The page that shows it.
    #[arg(long)]
    pub page: PathBuf,
}

/// Runs until the time is over; true when every run was as it must be.
///
/// # Errors
/// When the book can't be kept.
pub fn run(args: &SoakPart) -> anyhow::Result<bool> {
    let program = std::env::current_exe()?;
    let until = Instant::now() + Duration::from_secs(args.minutes * 60);
    let rounds = rounds(args);
    anyhow::ensure!(!rounds.is_empty(), "no scenario fits");
    let (mut seed, mut good) = (args.seed, true);
    for (scenario, store) in rounds.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let dir = args.dir.join(format!("{}-{}-{seed}", scenario.name(), store.as_str()));
        let made = one(&program, *scenario, *store, seed, &dir);
        // Read again each time: others may have added to it.
        let mut book = Book::read(&args.book)?;
        let well = match &made {
            Ok(report) => {
                book.add(report, scenario.is_control());
                let lost = report.verdict == Verdict::Invalid && report.lost > 0;
                if scenario.is_control() { lost } else { report.verdict == Verdict::Valid }
            }
            Err(error) => {
                book.failed(&scenario.name(), store.as_str(), seed, format!("{error:#}"));
                false
            }
        };
        book.write(&args.book, &args.page)?;
        match made {
            Ok(report) => eprintln!("{report}"),
            Err(error) => eprintln!("{} on {}, seed {seed}: {error:#}", scenario.name(), store.as_str()),
        }
        if well {
            std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        } else {
            eprintln!("kept: {}", dir.display());
        }
        good &= well;
        seed += 1;
    }
    Ok(good)
}

/// One after the other; the kills at named steps, which bound the rate of loss, between all others.
fn rounds(args: &SoakPart) -> Vec<(Scenario, StoreKind)> {
    let stores = [StoreKind::Sqlite, StoreKind::Redis];
    let stores: Vec<StoreKind> =
        stores.into_iter().filter(|store| args.store.is_none_or(|only| only == *store)).collect();
    let mut rounds = Vec::new();
    for scenario in Scenario::value_variants() {
        for store in &stores {
            let wanted = args.scenario.is_none_or(|only| only == *scenario);
            if wanted && scenario.fits(*store) {
                rounds.push((*scenario, *store));
                if args.scenario.is_none() && *scenario != Scenario::Steps {
                    rounds.push((Scenario::Steps, *store));
                }
            }
        }
    }
    rounds
}

fn one(program: &Path, scenario: Scenario, store: StoreKind, seed: u64, dir: &Path) -> anyhow::Result<Report> {
    if let Some(all) = dir.parent() {
        std::fs::create_dir_all(all)?;
    }
    std::fs::create_dir(dir)
        .with_context(|| format!("make {}; remove what is there, or take another seed", dir.display()))?;
    let errors = dir.join("driver.err");
    let mut driver = Command::new(program)
        .args(["drive", "--long", "--scenario", &scenario.name(), "--store", store.as_str()])
        .args(["--seed", &seed.to_string(), "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&errors)?)
        .spawn()?;
    let until = Instant::now() + RUN_MAX;
    while driver.try_wait()?.is_none() {
        if Instant::now() > until {
            // Its processes die with it.
            driver.kill()?;
            driver.wait()?;
            anyhow::bail!("the run has not ended within {RUN_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let text = std::fs::read_to_string(dir.join("report.json")).with_context(|| {
        let said = std::fs::read_to_string(&errors).unwrap_or_default();
        format!(
            "the run has left no report: {}",
            said.lines()
                .take_while(|line| !line.starts_with("Stack backtrace"))
                .take(5)
                .collect::<Vec<_>>()
                .join(" / ")
        )
    })?;
    Ok(serde_json::from_str(&text)?)
}
