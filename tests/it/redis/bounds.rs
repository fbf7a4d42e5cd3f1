//! Bounds: tens of thousands at once go in rounds of at most a thousand, and no script meets a limit of Lua's.

use std::sync::Arc;
use std::time::Duration;

use tidemill::job::{Incarnation, JobState};
use tidemill::store::{BATCH_MAX, Settled, Settlement, Store, StoreError};
use tidemill_testkit::RedisServer;

use super::{Site, audit, claim, counted, put};
use crate::conformance::rig::{LEASE, MS, complete, work};

const MANY: usize = 20_000;
const ROUND: u32 = 1_000;

/// A server without a file: here it is amounts that count.
async fn stage() -> (RedisServer, Site, Arc<dyn Store>) {
    let server = RedisServer::with().appendonly(false).start();
    let site = Site::new(server.url());
    let store = site.try_open(tidemill::store::Durability::Memory).await.expect("open the store");
    (server, site, store)
}

async fn put_many(site: &Site, store: &Arc<dyn Store>, delay: Duration, timeout: Duration) {
    for _ in 0..MANY / BATCH_MAX {
        let mut jobs = site.jobs(BATCH_MAX);
        for job in &mut jobs {
            job.spec = job.spec.clone().after(delay);
            job.spec.timeout = timeout;
        }
        put(store, jobs).await;
    }
}

async fn claim_many(store: &Arc<dyn Store>, worker: Incarnation) {
    for _ in 0..MANY / BATCH_MAX {
        assert_eq!(claim(store, worker, u32::MAX).await.expect("claim").len(), BATCH_MAX, "no more than a thousand");
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_due_at_once_become_ready_in_rounds_and_are_done() {
    let (server, site, store) = stage().await;
    put_many(&site, &store, LEASE, DAY).await;
    site.clock.advance(LEASE);
    let mut left = MANY;
    while left > 0 {
        let report = store.promote(u32::MAX).await.expect("promote");
        assert_eq!(report.promoted, ROUND);
        left -= report.promoted as usize;
        assert_eq!(report.more, left > 0);
    }
    let worker = site.worker(&store).await;
    for _ in 0..MANY / BATCH_MAX {
        let claimed = claim(&store, worker, u32::MAX).await.expect("claim");
        let batch: Arc<[_]> = claimed.into_iter().map(|c| Settlement { lease: c.lease, verdict: complete() }).collect();
        let settled = store.settle(batch).await.expect("settle");
        assert_eq!(settled, vec![Settled::Accepted(JobState::Completed); BATCH_MAX]);
    }
    assert_eq!(counted(&store, JobState::Completed).await, MANY as u64);
    let mut pruned = 0;
    site.clock.advance(DAY * 2);
    loop {
        let report = store.prune(u32::MAX).await.expect("prune");
        assert!(report.jobs <= ROUND, "{report:?}");
        pruned += report.jobs as usize;
        if !report.more {
            break;
        }
    }
    assert_eq!(pruned, MANY);
    audit(&store).await;
    quiet(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_leases_that_expire_at_once_are_taken_back_in_rounds() {
    let (server, site, store) = stage().await;
    put_many(&site, &store, Duration::ZERO, DAY).await;
    let worker = site.worker(&store).await;
    claim_many(&store, worker).await;
    site.clock.advance(LEASE + MS);
    let refused = site.beat(&store, worker, LEASE).await;
    assert!(refused.is_ok() || matches!(refused, Err(StoreError::DeadIncarnation(_))));
    site.clock.advance(LEASE + MS);
    rescue_all(&store, 1).await;
    assert_eq!(counted(&store, JobState::Ready).await, MANY as u64);
    quiet(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_past_their_deadline_are_taken_from_a_living_worker_in_rounds() {
    let (server, site, store) = stage().await;
    put_many(&site, &store, Duration::ZERO, LEASE).await;
    let worker = site.worker(&store).await;
    claim_many(&store, worker).await;
    site.clock.advance(LEASE * 2);
    site.beat(&store, worker, LEASE).await.expect("it lives");
    site.clock.advance(MS);
    rescue_all(&store, 0).await;
    assert_eq!(counted(&store, JobState::Ready).await, MANY as u64);
    quiet(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_twenty_thousand_jobs_signs_off_and_twenty_thousand_are_purged() {
    let (server, site, store) = stage().await;
    put_many(&site, &store, Duration::ZERO, DAY).await;
    let worker = site.worker(&store).await;
    claim_many(&store, worker).await;
    assert_eq!(store.sign_off(worker).await.expect("sign off").to_ready as usize, MANY);
    let mut left = MANY;
    while left > 0 {
        let purged = store.purge(&work(), u32::MAX).await.expect("purge");
        assert_eq!(purged, ROUND);
        left -= purged as usize;
    }
    assert_eq!(counted(&store, JobState::Cancelled).await, MANY as u64);
    quiet(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_workers_that_die_at_once_are_all_found() {
    let (server, site, store) = stage().await;
    put(&store, site.jobs(BATCH_MAX)).await;
    for n in 0..2_000 {
        let worker = site.worker(&store).await;
        if n % 2 == 0 {
            assert_eq!(claim(&store, worker, 1).await.expect("claim").len(), 1);
        }
    }
    site.clock.advance(LEASE + MS);
    let (mut dead, mut ready) = (0, 0);
    for _ in 0..10 {
        let report = store.rescue(u32::MAX).await.expect("rescue");
        dead += report.dead_workers;
        ready += report.to_ready;
    }
    assert_eq!((dead, ready), (2_000, ROUND));
    audit(&store).await;
    quiet(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_thousand_in_one_call_are_refused() {
    let (_server, site, store) = stage().await;
    let refused = store.enqueue(site.jobs(BATCH_MAX + 1)).await.expect_err("too many");
    assert!(matches!(refused, StoreError::TooMany { len: 1_001, max: BATCH_MAX, .. }), "{refused:?}");
    assert_eq!(counted(&store, JobState::Ready).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_of_the_largest_in_every_way_fit_one_call() {
    let (server, site, store) = stage().await;
    let worker = site.worker(&store).await;
    let mut jobs = site.jobs(BATCH_MAX);
    for (n, job) in jobs.iter_mut().enumerate() {
        job.spec = job.spec.clone().unique(&format!("{n}{}", "k".repeat(100)));
        job.spec.payload = format!("\"{}\"", "p".repeat(8_000)).into();
    }
    put(&store, jobs).await;
    let claimed = claim(&store, worker, ROUND).await.expect("claim");
    let settle = claimed.into_iter().map(|c| Settlement {
        lease: c.lease,
        verdict: tidemill::store::Verdict::Dead {
            reason: tidemill::job::DeadReason::Permanent,
            error: "e".repeat(1_000),
        },
    });
    let settled = store.settle(settle.collect()).await.expect("settle");
    assert_eq!(settled, vec![Settled::Accepted(JobState::Dead); BATCH_MAX]);
    audit(&store).await;
    quiet(&server);
}

/// Rounds of rescue until nothing is left; as many dead workers in all, and every job back.
async fn rescue_all(store: &Arc<dyn Store>, dead_workers: u32) {
    let (mut dead, mut back) = (0, 0);
    loop {
        let report = store.rescue(u32::MAX).await.expect("rescue");
        assert!(report.to_ready <= ROUND, "{report:?}");
        dead += report.dead_workers;
        back += report.to_ready as usize;
        if !report.more {
            break;
        }
    }
    assert_eq!((dead, back), (dead_workers, MANY));
}

/// The server has seen no failing script, and says how long the longest took.
fn quiet(server: &RedisServer) {
    let number = |line: Option<String>, after: &str| -> Option<u64> {
        line?.split(after).nth(1)?.split(',').next()?.parse().ok()
    };
    let failed = number(server.info("cmdstat_evalsha"), "failed_calls=").expect("calls are counted");
    let unknown = number(server.info("errorstat_NOSCRIPT"), "count=").unwrap_or(0);
    assert_eq!(failed, unknown, "the only failure is to be called before it was loaded");
    let slow: Vec<Vec<redis::Value>> = server.command(&["SLOWLOG", "GET", "-1"]);
    let longest = slow.iter().filter_map(|entry| redis::from_redis_value::<u64>(entry.get(2)?.clone()).ok()).max();
    println!("the longest command: {longest:?} us");
}
