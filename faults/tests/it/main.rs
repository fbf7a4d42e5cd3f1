//! The short form: each scenario once, on each store, with a new seed that is printed; and the controls, which must lose.
//!
//! A run that fails keeps its folder and prints it. `FAULTS_SEED` is not read: to see the same again, run
//! `tidemill-faults drive --scenario … --store … --seed … --dir …`.

#![expect(clippy::unwrap_used, reason = "all of it is tests")]

mod redis;
mod sqlite;

use std::io::Write as _;
use std::path::PathBuf;

use tidemill::clock::Entropy;
use tidemill_faults::drive::{self, Setting};
use tidemill_faults::place::StoreKind;
use tidemill_faults::report::{Report, Verdict};
use tidemill_faults::scenario::Scenario;

/// Past the test harness, which would keep it for failures alone.
fn say(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Makes a run; the folder stays where the run has not gone as it must.
async fn run(scenario: Scenario, store: StoreKind) -> (Report, PathBuf, tempfile::TempDir) {
    let seed = Entropy::system().below(1 << 32);
    let home = tempfile::Builder::new().prefix("tidemill-faults-").tempdir().unwrap();
    let dir = home.path().join("run");
    let program = PathBuf::from(env!("CARGO_BIN_EXE_tidemill-faults"));
    let setting = Setting { program, scenario, store, seed, dir: dir.clone(), long: false };
    let report = match drive::run(&setting).await {
        Ok(report) => report,
        Err(error) => {
            let kept = home.keep();
            panic!("{} on {}, seed {seed}, folder {}: {error:#}", scenario.name(), store.as_str(), kept.display())
        }
    };
    say(&report.to_string());
    (report, dir, home)
}

/// Every promise is kept, and enough happens to say so.
async fn valid(scenario: Scenario, store: StoreKind) {
    let (report, dir, home) = run(scenario, store).await;
    if report.verdict != Verdict::Valid {
        let _ = home.keep();
        panic!("folder {}: {report}", dir.display());
    }
}

/// A control: what it does wrong is reported as loss.
async fn lost(scenario: Scenario, store: StoreKind) {
    let (report, dir, home) = run(scenario, store).await;
    if report.verdict != Verdict::Invalid || report.lost == 0 {
        let _ = home.keep();
        panic!("the checker has not seen the loss; folder {}: {report}", dir.display());
    }
}
