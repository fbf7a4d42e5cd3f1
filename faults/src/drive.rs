//! The driver: starts the processes of a run, applies its scenario's faults, heals, waits for the end, dumps, and has the
//! checker judge what the files say.

mod bodies;
mod cluster;
mod dump;
mod servers;
mod shocks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tidemill::clock::{Clock, Entropy};

use self::cluster::Cluster;
use crate::checker;
use crate::event::{Log, What};
use crate::history::{DUMP, History, NEMESIS, RULES};
use crate::place::{Place, StoreKind};
use crate::report::Report;
use crate::scenario::{Scenario, Shape};

/// One run.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The binary that plays the parts.
    pub program: PathBuf,
    /// What is done.
    pub scenario: Scenario,
    /// To which store.
    pub store: StoreKind,
    /// All chance follows from it, but for what the machine itself decides.
    pub seed: u64,
    /// Logs, dump and report go there.
    pub dir: PathBuf,
    /// The long form.
    pub long: bool,
}

/// What a scenario's body works with.
#[derive(Debug)]
struct Stage {
    cluster: Cluster,
    place: Place,
    shape: Shape,
    entropy: Entropy,
    long: bool,
}

/// Runs a scenario and judges it; the report is in the folder too.
///
/// # Errors
/// When the run could not be made; broken promises are in the report.
pub async fn run(setting: &Setting) -> anyhow::Result<Report> {
    std::fs::create_dir_all(&setting.dir)?;
    let (dir, nemesis) = (setting.dir.display(), setting.dir.join(NEMESIS));
    anyhow::ensure!(
        !nemesis.try_exists()?,
        "{dir} holds the logs of an earlier run, which would be taken for this one's"
    );
    let shape = setting.scenario.shape(setting.long);
    let rules = setting.scenario.rules(setting.store, &shape, setting.seed);
    let entropy = Entropy::seeded(setting.seed);
    let log = Arc::new(Log::open(&nemesis)?);
    log.write(What::Born { role: "driver".into(), pid: std::process::id() });
    let place = place(setting)?;
    let cluster = Cluster::new(setting, &place, shape.clone(), Arc::clone(&log), Entropy::seeded(setting.seed ^ 1));
    let mut stage = Stage { cluster, place, shape, entropy, long: setting.long };
    stage.apply(setting.scenario).await?;
    stage.cluster.quiet().await?;
    let patience = stage.shape.patience;
    stage.cluster.drained(patience).await?;
    stage.cluster.stop_workers().await?;
    let store = crate::worker::opened(stage.place.url(), Default::default(), Clock::system()).await?;
    if setting.scenario == Scenario::Keys {
        servers::swept(&*store).await.context("sweep the store")?;
    }
    let mut dump = dump::take(&*store).await.context("dump the store")?;
    drop(store);
    dump.damage.extend(stage.place.inspect().context("inspect the store")?);
    dump.inspected = true;
    write_json(&setting.dir.join(DUMP), &dump)?;
    write_json(&setting.dir.join(RULES), &rules)?;
    judge(&setting.dir)
}

/// Judges a folder that a run has left.
///
/// # Errors
/// When a file is missing or can't be read.
pub fn judge(dir: &Path) -> anyhow::Result<Report> {
    let report = checker::check(&History::read(dir)?);
    write_json(&dir.join("report.json"), &report)?;
    Ok(report)
}

fn place(setting: &Setting) -> anyhow::Result<Place> {
    match (setting.store, setting.scenario) {
        // Larger than the write-ahead log grows (16 MiB): a disk that is not has no room to come back to.
        (StoreKind::Sqlite, scenario) => Place::sqlite(&setting.dir, (scenario == Scenario::Full).then_some(64)),
        // Starting servers blocks; nothing else runs yet.
        (StoreKind::Redis, scenario) => Ok(tokio::task::block_in_place(|| match scenario {
            Scenario::Net => Place::redis_behind_proxy(),
            Scenario::Failover => Place::sentinels(),
            scenario => Place::redis(scenario == Scenario::CrashFsync),
        })),
    }
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value)?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_logs_of_an_earlier_run_are_not_taken_for_those_of_a_new_one() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(NEMESIS), "").unwrap();
        let (scenario, store, dir) = (Scenario::Steps, StoreKind::Sqlite, home.path().to_owned());
        let refused = run(&Setting { program: "none".into(), scenario, store, seed: 1, dir, long: false }).await;
        assert!(refused.unwrap_err().to_string().contains("an earlier run"));
    }
}
