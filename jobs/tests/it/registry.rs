//! Every handler is registered, and every schedule makes a job that its handler accepts.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tidemill::config::fanout::FanoutConfig;
use tidemill::fanout::FanoutState;
use tidemill_jobs::{handlers, schedules};

use crate::rig::{NOON, Outside, Rig, noon};

#[tokio::test]
async fn every_file_in_handlers_is_a_registered_kind_and_the_other_way_round() {
    let rig = Rig::new(noon(), Outside::default()).await;
    let registry = handlers::registry(&Arc::new(rig.app)).unwrap();
    let kinds: BTreeSet<String> = registry.entries().map(|e| e.kind.replace('.', "_")).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/handlers");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(files, kinds);
}

#[tokio::test]
async fn an_integration_that_is_off_has_no_schedule() {
    let rig = Rig::new(noon(), Outside::default()).await;
    let names: Vec<String> = schedules::schedules(&rig.app).unwrap().iter().map(|s| s.name().to_owned()).collect();
    assert_eq!(names, ["maintenance.prune", "webhook.mend"]);
}

#[tokio::test]
async fn with_everything_on_the_whole_table_is_scheduled() {
    let (market, bank, stripe) = (
        tidemill_jobs::fakes::gpu_market::start(0, noon()).await.unwrap(),
        tidemill_jobs::fakes::plaid::start(0, noon()).await.unwrap(),
        tidemill_jobs::fakes::stripe::start(0, noon()).await.unwrap(),
    );
    let outside = Outside::default().market(&market).plaid(&bank).stripe(&stripe);
    let rig = Rig::new(noon(), outside).await;
    assert_eq!(schedules::schedules(&rig.app).unwrap().len(), schedules::TABLE.len());
    let app = Arc::new(rig.app);
    let fanout =
        FanoutState::new(app.db.clone(), FanoutConfig::default(), None, app.clock.clone(), app.entropy.clone());
    let mut registry = handlers::registry(&app).unwrap();
    tidemill::fanout::register(&mut registry, Arc::new(fanout.unwrap())).unwrap();
    for line in schedules::TABLE {
        let spec = line.spec(NOON).unwrap();
        assert_eq!(&*spec.kind, line.name, "a schedule is named as the kind of its job");
        let entry = registry.get(&spec.kind).unwrap();
        entry.check(&spec.payload).unwrap();
        assert_eq!((&spec.queue, spec.max_attempts), (&entry.queue, entry.max_attempts));
    }
}
