//! Replies that are cut off in the middle: the caller can't know whether it happened, asks again, and it happened once.

use std::sync::Arc;

use serde_json::json;
use tidemill::job::JobState;
use tidemill::store::{Overlap, ScheduleDeclaration, Settled, Settlement, Store, StoreError, Tick, Ticked, Verdict};
use tidemill_testkit::{Proxy, RedisServer};

use super::tour::tour;
use super::{Site, at_last, audit, claim, counted, put, unavailable};
use crate::conformance::rig::{LEASE, MS, complete, work};

/// After so many bytes of its reply a call is cut off: before the first, inside the header, inside the data.
const PLACES: [usize; 3] = [0, 3, 40];

struct Stage {
    server: RedisServer,
    proxy: Proxy,
    site: Site,
    store: Arc<dyn Store>,
}

impl Stage {
    async fn new() -> Self {
        let server = RedisServer::start();
        let proxy = Proxy::to_port(server.port());
        let site = Site::new(format!("redis://127.0.0.1:{}", proxy.port()));
        let store = site.open().await;
        // The scripts are known to the server: the reply that is cut is not the one that asks for them.
        tour(&site, &store).await;
        store.purge(&work(), 1_000).await.expect("purge");
        Self { server, proxy, site, store }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enqueue_without_its_reply_is_a_duplicate_when_it_is_repeated() {
    let Stage { proxy, site, store, server: _server } = Stage::new().await;
    // One by one, and as one, whose answer is shorter.
    for (n, (after, jobs)) in (1..).zip(PLACES.map(|after| (after, 10)).into_iter().chain([(0, 30), (3, 30), (9, 30)]))
    {
        let jobs = site.jobs(jobs);
        store.purge(&work(), 1_000).await.expect("purge");
        proxy.cut_reply_to(jobs[0].id.as_bytes(), after);
        unavailable("enqueue", store.enqueue(jobs.clone())).await;
        assert_eq!(proxy.cuts(), n);
        let kept = at_last("enqueue", || store.enqueue(jobs.clone())).await;
        assert!(kept.iter().all(|kept| !kept.is_new()), "they were there");
        assert!(kept.iter().zip(&jobs).all(|(kept, job)| kept.job() == job.id));
        assert_eq!(counted(&store, JobState::Ready).await, jobs.len() as u64, "each once");
    }
    audit(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_without_its_reply_is_given_out_again_to_the_same_worker_and_to_nobody_else() {
    let Stage { proxy, site, store, server: _server } = Stage::new().await;
    let (worker, other) = (site.worker(&store).await, site.worker(&store).await);
    for after in PLACES {
        let ids = put(&store, site.jobs(10)).await;
        proxy.cut_reply_to(worker.as_bytes(), after);
        unavailable("claim", claim(&store, worker, 10)).await;
        assert!(at_last("the other's claim", || claim(&store, other, 10)).await.is_empty(), "they are held");
        let claimed = at_last("claim", || claim(&store, worker, 10)).await;
        assert_eq!(claimed.iter().map(|c| c.lease.token().job).collect::<Vec<_>>(), ids);
        assert!(claimed.iter().all(|c| c.lease.token().epoch == 1 && c.attempt == 1), "claimed once");
        let batch: Vec<_> = claimed.into_iter().map(|c| Settlement { lease: c.lease, verdict: complete() }).collect();
        let settled = store.settle(batch.into()).await.expect("settle");
        assert!(settled.iter().all(|one| *one == Settled::Accepted(JobState::Completed)));
    }
    audit(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_lost_claim_go_back_when_their_worker_signs_off_or_dies() {
    let Stage { proxy, site, store, server: _server } = Stage::new().await;
    for clean in [true, false] {
        let worker = site.worker(&store).await;
        put(&store, site.jobs(10)).await;
        proxy.cut_reply_to(worker.as_bytes(), 0);
        unavailable("claim", claim(&store, worker, 10)).await;
        if clean {
            let gone = at_last("sign off", || store.sign_off(worker)).await;
            assert_eq!(gone.to_ready, 10, "uncharged");
        } else {
            site.clock.advance(LEASE + MS);
            assert_eq!(at_last("rescue", || store.rescue(100)).await.to_ready, 10);
        }
        let next = site.worker(&store).await;
        assert_eq!(claim(&store, next, 100).await.expect("claim").len(), 10);
        store.sign_off(next).await.expect("sign off");
        store.purge(&work(), 1_000).await.expect("purge");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_while_its_claim_is_cut_loses_no_job() {
    let Stage { proxy, site, store, server: _server } = Stage::new().await;
    let worker = site.worker(&store).await;
    let ids = put(&store, site.jobs(10)).await;
    proxy.cut_reply_to(worker.as_bytes(), 0);
    {
        let mut abandoned = Box::pin(claim(&store, worker, 10));
        let looked = tokio::time::timeout(MS, abandoned.as_mut()).await;
        assert!(looked.is_err() || looked.is_ok_and(|answer| answer.is_err()));
    }
    let claimed = at_last("claim", async || match claim(&store, worker, 10).await? {
        none if none.is_empty() => Err(StoreError::Unavailable { step: "wait", detail: "nothing yet".into() }),
        some => Ok(some),
    })
    .await;
    assert_eq!(claimed.iter().map(|c| c.lease.token().job).collect::<Vec<_>>(), ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settle_without_its_reply_happened_once_with_its_children() {
    let Stage { proxy, site, store, server: _server } = Stage::new().await;
    let worker = site.worker(&store).await;
    for after in PLACES {
        put(&store, site.jobs(1)).await;
        let claimed = claim(&store, worker, 1).await.expect("claim").remove(0);
        let id = claimed.lease.token().job;
        let children = site.jobs(2);
        proxy.cut_reply_to(worker.as_bytes(), after);
        let verdict = Verdict::Complete { result: None, children: children.clone() };
        let batch: Arc<[Settlement]> = [Settlement { lease: claimed.lease, verdict }].into();
        unavailable("settle", store.settle(batch.clone())).await;
        let again = at_last("settle", || store.settle(batch.clone())).await;
        assert!(matches!(again[..], [Settled::LeaseLost | Settled::Accepted(JobState::Completed)]), "{again:?}");
        assert_eq!(store.get(id).await.expect("get").map(|job| job.state), Some(JobState::Completed));
        assert_eq!(counted(&store, JobState::Ready).await, 2, "each child once");
        for child in &children {
            store.cancel(child.id, "done with").await.expect("cancel");
        }
    }
    audit(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tick_without_its_reply_is_decided_when_it_is_repeated() {
    let Stage { proxy, site, store, server: _server } = Stage::new().await;
    let declared = ScheduleDeclaration { name: "tock".into(), declared: json!({ "every_ms": 1 }) };
    store.declare_schedules(vec![declared]).await.expect("declare");
    let job = site.jobs(1).remove(0);
    proxy.cut_reply_to(job.id.as_bytes(), 0);
    let due = site.clock.now().after(LEASE);
    let tick = || Tick { schedule: "tock".into(), due, job: job.clone(), overlap: Overlap::Allow, manual: false };
    unavailable("tick", store.tick(tick())).await;
    assert_eq!(at_last("tick", || store.tick(tick())).await, Ticked::AlreadyDecided);
    assert_eq!(store.get(job.id).await.expect("get").map(|job| job.state), Some(JobState::Ready));
    assert_eq!(counted(&store, JobState::Ready).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_never_arrived_did_not_happen_and_works_the_second_time() {
    let Stage { proxy, site, store, server } = Stage::new().await;
    let jobs = site.jobs(5);
    // The server is held, the bytes lie in its socket, and the connection goes before it can read on.
    server.stop();
    let call = store.enqueue(jobs.clone());
    tokio::join!(unavailable("enqueue", call), async { proxy.reset_all() });
    server.cont();
    let kept = at_last("enqueue", || store.enqueue(jobs.clone())).await;
    assert!(kept.iter().zip(&jobs).all(|(kept, job)| kept.job() == job.id));
    assert_eq!(counted(&store, JobState::Ready).await, 5, "once, whether it had arrived or not");
}
