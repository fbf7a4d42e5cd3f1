//! The loop on the machine's own clock, with apalis-cron as its tick source.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::queue::Queue;
use tidemill::schedule::{Plan, Schedule, Scheduler};
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{Fired, Overlap, Store};
use tokio_util::sync::CancellationToken;

use super::rig::poll;
use crate::conformance::rig::{PATIENCE, settings, work};

async fn store(dir: &tempfile::TempDir, clock: &Clock) -> Arc<dyn Store> {
    let store = SqliteStore::open(SqliteOptions::at(dir.path().join("queue.db")), clock.clone()).await.unwrap();
    store.declare_queues(vec![settings("work")]).await.unwrap();
    Arc::new(store)
}

fn scheduler(store: &Arc<dyn Store>, clock: &Clock, plan: Plan) -> Scheduler {
    let queue = Queue::new(Arc::clone(store), BTreeSet::from([work()]), clock.clone(), Entropy::seeded(1));
    let schedules = vec![Schedule::new("poll", plan, poll).unwrap()];
    Scheduler::new(queue, schedules, clock.clone(), Entropy::seeded(1)).unwrap()
}

/// Waits for `n` fires in the history, newest first.
async fn fires(store: &Arc<dyn Store>, n: usize) -> Vec<(Timestamp, Timestamp)> {
    let seen = async {
        loop {
            let history = store.schedule_history("poll").await.unwrap_or_default();
            let fired = history.iter().filter(|e| e.what == Fired::Enqueued);
            let fired: Vec<_> = fired.map(|e| (e.due.unwrap(), e.at)).collect();
            if fired.len() >= n {
                return fired;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("the schedule fires")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_loops_fire_each_due_time_once_see_a_change_and_stop_when_told() {
    let (dir, clock, stop) = (tempfile::tempdir().unwrap(), Clock::system(), CancellationToken::new());
    let store = store(&dir, &clock).await;
    let plan = || Plan::every(Duration::from_secs(1)).unwrap().overlap(Overlap::Allow);
    let (here, there) = (scheduler(&store, &clock, plan()), scheduler(&store, &clock, plan()));
    let watched = async {
        let fired = fires(&store, 3).await;
        for (newer, older) in fired.iter().zip(&fired[1..]) {
            assert_eq!(newer.0.since(older.0), Duration::from_secs(1), "none is left out, none is twice: {fired:?}");
        }
        here.change_plan("poll", Some(json!({ "every": "500ms" })), "ops").await.unwrap();
        let changed = clock.now();
        let fired = fires(&store, fired.len() + 6).await;
        let half_seconds = fired.iter().filter(|(due, _)| *due > changed && due.as_ms() % 1000 == 500).count();
        assert!(half_seconds > 0, "{fired:?}");
        stop.cancel();
    };
    let (a, b, ()) = tokio::join!(here.run(stop.clone()), there.run(stop.clone()), watched);
    a.unwrap();
    b.unwrap();
}

/// A clock behind the machine's makes every tick lie in the past, which ends apalis-cron's stream with an error for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tick_source_that_fails_costs_no_due_time() {
    let (dir, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let clock = Clock::manual(Timestamp::from_ms(1_700_000_000_000));
    let store = store(&dir, &clock).await;
    let scheduler = scheduler(&store, &clock, Plan::every(Duration::from_secs(5)).unwrap().overlap(Overlap::Allow));
    scheduler.declare().await.unwrap();
    let watched = async {
        for n in 1..=3 {
            clock.advance(Duration::from_secs(5));
            let fired = fires(&store, n).await;
            assert_eq!((fired.len(), fired[0].0), (n, clock.now()));
        }
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(scheduler.run(stop.clone()), watched);
    ran.unwrap();
}
