//! A server that is killed, comes back, loads, or hangs: the same handle goes on, and nothing acknowledged is gone.

use std::sync::Arc;
use std::time::Duration;

use tidemill::job::JobState;
use tidemill::store::{Settled, Settlement, StoreError};
use tidemill_testkit::{Fsync, RedisServer};

use super::tour::tour;
use super::{BOUNDED, Site, all, at_last, audit, claim, put, unavailable};
use crate::conformance::rig::{MS, PATIENCE, complete, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_has_everything_and_the_handle_goes_on() {
    for fsync in [Fsync::Always, Fsync::Everysec] {
        let server = RedisServer::with().appendfsync(fsync).start();
        let site = Site::new(server.url());
        let store = site.open().await;
        let worker = site.worker(&store).await;
        let ids = put(&store, site.jobs(100)).await;
        let claimed = claim(&store, worker, 40).await.expect("claim");
        server.wait_until_written();
        server.kill();
        unavailable("enqueue", store.enqueue(site.jobs(1))).await;
        server.restart();
        let batch: Arc<[_]> = claimed.into_iter().map(|c| Settlement { lease: c.lease, verdict: complete() }).collect();
        let settled = at_last("settle", || store.settle(batch.clone())).await;
        assert!(settled.iter().all(|one| *one == Settled::Accepted(JobState::Completed)), "{fsync:?}: {settled:?}");
        assert_eq!(all(&store).await, ids.into_iter().collect(), "{fsync:?}");
        tour(&site, &store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_claim_is_served_after_a_restart_or_says_that_it_could_not_wait() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let (store, other) = (site.open().await, site.open().await);
    let worker = site.worker(&store).await;
    let queue = work();
    let waiting = async {
        loop {
            match store.claim(&queue, worker, 1, PATIENCE).await {
                Ok(jobs) if jobs.is_empty() => {}
                Ok(jobs) => return jobs,
                Err(error) => {
                    assert!(error.is_temporary(), "{error:?}");
                    tokio::time::sleep(MS * 20).await;
                }
            }
        }
    };
    let (claimed, id) = tokio::join!(waiting, async {
        tokio::task::block_in_place(|| {
            server.wait_until_written();
            server.restart();
        });
        let jobs = site.jobs(1);
        at_last("enqueue", || other.enqueue(jobs.clone())).await;
        jobs[0].id
    });
    assert_eq!(claimed[0].lease.token().job, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_worker_dies_of_a_server_that_was_away_or_loading() {
    let server = RedisServer::start();
    let site = Site::in_real_time(server.url());
    let store = site.open().await;
    let lease = MS * 600;
    let worker = site.worker(&store).await;
    put(&store, site.jobs(1)).await;
    let claimed = claim(&store, worker, 1).await.expect("claim").remove(0);
    let many = "for n = 1, 2500 do redis.call('SET', 'k' .. n, 'v') end";
    server.command::<()>(&["EVAL", many, "0"]);
    server.command::<String>(&["BGREWRITEAOF"]);
    tidemill_testkit::eventually("the file to be rewritten", PATIENCE, || {
        (server.info("aof_rewrite_in_progress")? == "0" && server.info("aof_rewrite_scheduled")? == "0").then_some(())
    });
    // So that loading takes longer than the lease.
    server.configure("key-load-delay 1000");
    server.configure("loading-process-events-interval-bytes 1024");
    site.beat(&store, worker, lease).await.expect("beat");
    server.wait_until_written();
    server.restart_without_waiting();
    let mut loading = 0;
    let mut said = Vec::new();
    let rescued = at_last("rescue", async || {
        let rescued = store.rescue(100).await;
        said.push(format!("{rescued:?}"));
        if let Err(StoreError::Unavailable { detail, .. }) = &rescued {
            loading += usize::from(detail.to_lowercase().contains("loading"));
        }
        rescued
    })
    .await;
    assert!(loading > 5, "it was not seen loading: {said:#?}");
    assert_eq!(rescued.dead_workers, 0, "nobody could beat while it loaded");
    at_last("beat", || site.beat(&store, worker, lease)).await;
    let batch: Arc<[Settlement]> = [Settlement { lease: claimed.lease, verdict: complete() }].into();
    assert_eq!(store.settle(batch).await.expect("settle"), [Settled::Accepted(JobState::Completed)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_costs_bounded_time_and_nothing_else() {
    let server = RedisServer::start();
    let site = Site::in_real_time(server.url());
    let store = site.open().await;
    let lease = Duration::from_secs(2);
    let worker = site.worker(&store).await;
    site.beat(&store, worker, lease).await.expect("beat");
    put(&store, site.jobs(2)).await;
    let claimed = claim(&store, worker, 1).await.expect("claim").remove(0);
    server.stop();
    let jobs = site.jobs(5);
    tokio::join!(
        unavailable("enqueue", store.enqueue(jobs.clone())),
        unavailable("a beat", site.beat(&store, worker, lease)),
        unavailable("a claim", claim(&store, worker, 1)),
        unavailable("a rescue", store.rescue(100)),
    );
    // Now with no connection at all.
    unavailable("enqueue again", store.enqueue(jobs.clone())).await;
    server.cont();
    let rescued = at_last("rescue", || store.rescue(100)).await;
    assert_eq!(rescued.dead_workers, 0, "nobody could beat");
    at_last("a beat", || site.beat(&store, worker, lease)).await;
    let batch: Arc<[Settlement]> = [Settlement { lease: claimed.lease, verdict: complete() }].into();
    assert_eq!(store.settle(batch).await.expect("settle"), [Settled::Accepted(JobState::Completed)]);
    // What the stopped server had in its hands may have happened when it woke up: each job is there once.
    let kept = store.enqueue(jobs.clone()).await.expect("enqueue");
    assert!(kept.iter().zip(&jobs).all(|(kept, job)| kept.job() == job.id));
    let mut held = claim(&store, worker, 100).await.expect("claim").len();
    held += claim(&store, worker, 100).await.expect("claim").len();
    assert_eq!(held, 1 + jobs.len(), "the claim whose answer was lost is asked for again");
    audit(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_callers_of_a_stopped_server_are_all_told_in_bounded_time() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let store = site.open().await;
    server.stop();
    let begin = std::time::Instant::now();
    for round in ["on the old connection", "with none"] {
        let calls: Vec<_> = (0..100).map(|_| store.enqueue(site.jobs(1))).collect();
        for call in futures_util::future::join_all(calls).await {
            assert!(matches!(call, Err(StoreError::Unavailable { .. })), "{round}: {call:?}");
        }
        assert!(begin.elapsed() < BOUNDED * 2, "{round}: {:?}", begin.elapsed());
    }
    server.cont();
    at_last("enqueue", || store.enqueue(site.jobs(1))).await;
}
