//! Bounds of schedules: what is kept of each, and how many there may be.

use std::time::Duration;

use serde_json::json;
use tidemill::store::{BATCH_MAX, Overlap, ScheduleDeclaration, Tick, Ticked};
use tidemill_testkit::RedisServer;

use super::Site;

fn declared(name: &str) -> ScheduleDeclaration {
    ScheduleDeclaration { name: name.into(), declared: json!({ "every_ms": 1_000 }) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedules_history_keeps_a_hundred_lines_in_the_server_too() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let store = site.open().await;
    store.declare_schedules(vec![declared("poll")]).await.expect("declare");
    for job in site.jobs(130) {
        site.clock.advance(Duration::from_secs(1));
        let due = site.clock.now();
        let tick = Tick { schedule: "poll".into(), due, job, overlap: Overlap::Allow, manual: false };
        assert!(matches!(store.tick(tick).await.expect("tick"), Ticked::Enqueued(_)));
    }
    assert_eq!(store.schedule_history("poll").await.expect("history").len(), 100);
    assert_eq!(server.command::<i64>(&["LLEN", "{tidemill}:fired:poll"]), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_schedules_than_one_script_reads_are_all_listed_by_name() {
    let server = RedisServer::start();
    let store = Site::new(server.url()).open().await;
    let names: Vec<String> = (0..1_500).map(|n| format!("s{n:04}")).collect();
    for some in names.rchunks(BATCH_MAX) {
        store.declare_schedules(some.iter().map(|name| declared(name)).collect()).await.expect("declare");
    }
    let listed = store.schedules().await.expect("schedules");
    assert_eq!(listed.iter().map(|schedule| schedule.name.to_string()).collect::<Vec<_>>(), names);
    let removed: i64 = server.command(&["DEL", "{tidemill}:s:s0499"]);
    assert_eq!((removed, store.schedules().await.expect("schedules").len()), (1, 1_499), "one is deleted by hand");
}
