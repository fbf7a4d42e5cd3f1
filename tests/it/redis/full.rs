//! A server without room: new jobs are refused whole, and what is there can still be worked on and finished.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill::job::{JobId, JobState, Progress};
use tidemill::store::{
    Cancel, NewJob, RateDecision, RateLimit, ScheduleChange, ScheduleDeclaration, Settled, Settlement, Store,
    StoreError,
};
use tidemill_testkit::{RedisServer, eventually};

use super::{Site, all, at_last, audit, claim, counted, put};
use crate::conformance::rig::{LEASE, MS, PATIENCE, complete, fail_for, work};

const LIMIT: RateLimit = RateLimit::FixedWindow { limit: 5, window_ms: 1_000 };

/// Takes away all but a little room.
fn tighten(server: &RedisServer) {
    let used: u64 = server.info("used_memory").expect("used_memory").parse().expect("a number");
    server.command::<String>(&["CONFIG", "SET", "maxmemory", &(used + (2 << 20)).to_string()]);
}

/// Enqueues until the server is full: what was kept, and the batch that was refused.
async fn fill(site: &Site, store: &Arc<dyn Store>) -> (BTreeSet<JobId>, Vec<NewJob>) {
    let mut kept = BTreeSet::new();
    loop {
        assert!(kept.len() < 100_000, "it never fills up");
        let mut jobs = site.jobs(50);
        for job in &mut jobs {
            job.spec.payload = format!("\"{}\"", "x".repeat(500)).into();
        }
        match store.enqueue(jobs.clone()).await {
            Ok(_) => kept.extend(jobs.iter().map(|job| job.id)),
            Err(refused) => {
                assert!(matches!(refused, StoreError::Full { .. }) && refused.is_temporary(), "{refused:?}");
                return (kept, jobs);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_new_jobs_whole_until_there_is_room() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let store = site.open().await;
    tighten(&server);
    let (kept, refused) = fill(&site, &store).await;
    assert!(!kept.is_empty());
    for _ in 0..3 {
        store.enqueue(refused.clone()).await.expect_err("still full");
    }
    assert_eq!(all(&store).await, kept, "every acknowledged job and not one of the refused batch");
    audit(&store).await;
    drop(store);
    let store = site.open().await;
    assert_eq!(all(&store).await.len(), kept.len(), "it can be opened while it is full");
    server.command::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
    put(&store, refused).await;
    assert_eq!(all(&store).await.len(), kept.len() + 50);
    audit(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_server_everything_but_new_jobs_works() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let store = site.open().await;
    let (worker, lost) = (site.worker(&store).await, site.worker(&store).await);
    put(&store, site.jobs(9)).await;
    let mut later = site.jobs(1);
    later[0].spec = later[0].spec.clone().after(MS);
    let later = put(&store, later).await[0];
    let mut claimed = claim(&store, worker, 3).await.expect("claim");
    let orphans = claim(&store, lost, 3).await.expect("claim");
    tighten(&server);
    fill(&site, &store).await;

    let token = claimed[0].lease.token();
    let progress = Progress { percent: 9, note: "n".repeat(200) };
    assert!(store.progress(token, progress).await.expect("progress"));
    assert!(store.log(token, vec!["l".repeat(1_000); 20]).await.expect("log"));
    site.clock.advance(LEASE / 2);
    site.beat(&store, worker, LEASE).await.expect("a beat");
    let new = site.worker(&store).await;
    site.clock.advance(LEASE / 2 + MS);
    let rescued = store.rescue(100).await.expect("rescue");
    assert_eq!((rescued.dead_workers, rescued.to_ready), (1, 3), "{rescued:?}");
    drop(orphans);
    assert_eq!(store.promote(100).await.expect("promote").promoted, 1);
    assert_eq!(store.get(later).await.expect("get").map(|job| job.state), Some(JobState::Ready));

    let verdicts = [complete(), fail_for(LEASE), complete()];
    let batch: Vec<_> = claimed
        .drain(..)
        .zip(verdicts)
        .map(|(claimed, verdict)| Settlement { lease: claimed.lease, verdict })
        .collect();
    let settled = store.settle(batch.into()).await.expect("settle");
    assert_eq!(settled, [JobState::Completed, JobState::Scheduled, JobState::Completed].map(Settled::Accepted));
    let again = claim(&store, new, 5).await.expect("claim");
    assert_eq!(again.len(), 5);
    assert_eq!(store.cancel(again[0].lease.token().job, "no").await.expect("cancel"), Cancel::Requested);
    assert_eq!(site.beat(&store, new, LEASE).await.expect("beat").cancel.len(), 1);
    assert_eq!(store.sign_off(new).await.expect("sign off").to_ready, 5, "the cancelled one too");
    let waiting = counted(&store, JobState::Ready).await;
    assert_eq!(u64::from(store.purge(&work(), 10).await.expect("purge")), waiting.min(10));
    store.prune(100).await.expect("prune");
    store.health().await.expect("health");
    // What a process does at its start, and what an operator does to calm things down.
    let store = site.open().await;
    let declared = ScheduleDeclaration { name: "poll".into(), declared: "each hour".into() };
    store.declare_schedules(vec![declared]).await.expect("declare");
    store.change_schedule("poll", ScheduleChange::Pause, "ann").await.expect("pause a schedule");
    assert!(store.pause(&work()).await.expect("pause") && store.resume(&work()).await.expect("resume"));
    store.drain_worker(worker).await.expect("drain");
    store.breaker_report("b", false, 1, LEASE).await.expect("a breaker opens");
    assert!(matches!(store.take("key", LIMIT, 1).await.expect("take"), RateDecision::Allowed { .. }));
    audit(&store).await;
    store.enqueue(site.jobs(50)).await.expect_err("and it is still full");
}

/// A snapshot that can't be written: there is a folder where the file should be. Then the server refuses all writes.
fn spoil(server: &RedisServer) {
    server.command::<String>(&["CONFIG", "SET", "save", "3600 1000000"]);
    std::fs::create_dir_all(server.folder().join("dump.rdb/in-the-way")).expect("a folder in the way");
    snapshot(server, "err");
}

fn mend(server: &RedisServer) {
    std::fs::remove_dir_all(server.folder().join("dump.rdb")).expect("remove the folder");
    snapshot(server, "ok");
}

fn snapshot(server: &RedisServer, outcome: &str) {
    // Refused while one is under way.
    drop(server.try_command::<String>(&["BGSAVE"]));
    eventually("the snapshot to end", PATIENCE, || {
        (server.info("rdb_last_bgsave_status")? == outcome && server.info("rdb_bgsave_in_progress")? == "0")
            .then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_can_not_write_its_disk_changes_nothing_and_goes_on_later() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let store = site.open().await;
    let worker = site.worker(&store).await;
    let ids = put(&store, site.jobs(2)).await;
    let claimed = claim(&store, worker, 1).await.expect("claim").remove(0);
    spoil(&server);
    let jobs = site.jobs(3);
    let refused = store.enqueue(jobs.clone()).await.expect_err("MISCONF");
    assert!(matches!(refused, StoreError::Full { .. }) && refused.is_temporary(), "{refused:?}");
    // Redis lets no command write in this state, so nothing can be finished either: the batch waits for its next try.
    let batch: Arc<[Settlement]> = [Settlement { lease: claimed.lease, verdict: complete() }].into();
    for _ in 0..2 {
        let refused = store.settle(batch.clone()).await.expect_err("MISCONF");
        assert!(refused.is_temporary(), "{refused:?}");
    }
    assert!(claim(&store, worker, 1).await.is_err_and(|error| error.is_temporary()));
    assert!(site.beat(&store, worker, LEASE).await.is_err_and(|error| error.is_temporary()));
    assert!(store.health().await.is_err(), "a store that can't be written is not healthy");
    assert_eq!(all(&store).await, ids.iter().copied().collect(), "what is kept can still be read");
    assert_eq!(counted(&store, JobState::Running).await, 1);
    mend(&server);
    assert_eq!(store.settle(batch).await.expect("settle"), [Settled::Accepted(JobState::Completed)]);
    put(&store, jobs).await;
    assert_eq!(claim(&store, worker, 10).await.expect("claim").len(), 4);
    audit(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_writing_costs_no_worker_its_life() {
    let server = RedisServer::start();
    let site = Site::in_real_time(server.url());
    let store = site.open().await;
    let lease = MS * 700;
    let worker = site.worker(&store).await;
    put(&store, site.jobs(1)).await;
    site.beat(&store, worker, lease).await.expect("beat");
    let claimed = claim(&store, worker, 1).await.expect("claim").remove(0);
    spoil(&server);
    let begin = site.clock.now();
    // Long past the lease: beats and rescues go on as they do in a worker, and all are refused.
    while site.clock.now().since(begin) < lease * 2 {
        assert!(site.beat(&store, worker, lease).await.is_err());
        assert!(store.rescue(100).await.is_err_and(|error| error.is_temporary()));
        tokio::time::sleep(MS * 50).await;
    }
    mend(&server);
    let rescued = at_last("rescue", || store.rescue(100)).await;
    assert_eq!(rescued.dead_workers, 0, "nobody could beat");
    at_last("beat", || site.beat(&store, worker, lease)).await;
    let batch: Arc<[Settlement]> = [Settlement { lease: claimed.lease, verdict: complete() }].into();
    assert_eq!(store.settle(batch).await.expect("settle"), [Settled::Accepted(JobState::Completed)]);
    let begin = site.clock.now();
    let rescued = at_last("the silent worker's end", async || match store.rescue(100).await? {
        rescued if rescued.dead_workers == 0 => {
            Err(StoreError::Unavailable { step: "wait", detail: "it still lives".into() })
        }
        rescued => Ok(rescued),
    });
    assert_eq!(rescued.await.dead_workers, 1, "and its silence ends it then");
    assert!(site.clock.now().since(begin) < PATIENCE);
}
