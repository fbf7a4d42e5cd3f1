//! Every operation of the contract once: for a server that has forgotten its scripts, and for a user with few rights.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidemill::job::{DeadReason, JobState, Progress};
use tidemill::store::{
    BreakerState, Cancel, ListQuery, Overlap, RateLimit, RememberedReply, Reservation, RetryDead, ScheduleChange,
    ScheduleDeclaration, Settled, Settlement, Store, Tick, Ticked, Verdict,
};
use tidemill_testkit::RedisServer;

use super::{Site, audit, claim, counted, put};
use crate::conformance::rig::{fail_for, work};

const HOUR: Duration = Duration::from_secs(3600);

/// Calls everything, and checks that it did what it is for. May be repeated on the same store.
pub(super) async fn tour(site: &Site, store: &Arc<dyn Store>) {
    // What an earlier test has left waiting would be claimed first.
    store.purge(&work(), 1_000).await.expect("purge");
    motion(site, store).await;
    together(site, store).await;
    operators(site, store).await;
    schedules(site, store).await;
    shared(site, store).await;
    let health = store.health().await.expect("health");
    assert_eq!(health.store, "redis");
    store.now().await.expect("now");
    audit(store).await;
}

async fn motion(site: &Site, store: &Arc<dyn Store>) {
    let worker = site.worker(store).await;
    let ids = put(store, site.jobs(6)).await;
    let claimed = claim(store, worker, 6).await.expect("claim");
    assert_eq!(claimed.iter().map(|c| c.lease.token().job).collect::<Vec<_>>(), ids);
    let token = claimed[0].lease.token();
    assert!(store.progress(token, Progress { percent: 5, note: "on".into() }).await.expect("progress"));
    assert!(store.log(token, vec!["a line".into()]).await.expect("log"));
    assert_eq!(store.logs(token.job).await.expect("logs").len(), 1);
    assert_eq!(store.cancel(ids[5], "no longer wanted").await.expect("cancel"), Cancel::Requested);
    assert_eq!(site.beat(store, worker, HOUR).await.expect("beat").cancel.len(), 1);
    let verdicts = [
        Verdict::Complete { result: None, children: site.jobs(1) },
        fail_for(HOUR),
        Verdict::Snooze { reason: "later".into(), delay: HOUR },
        Verdict::Dead { reason: DeadReason::Permanent, error: "no".into() },
        Verdict::Cancel { reason: "no".into() },
    ];
    let batch: Vec<_> =
        claimed.into_iter().zip(verdicts).map(|(c, verdict)| Settlement { lease: c.lease, verdict }).collect();
    let settled = store.settle(batch.into()).await.expect("settle");
    let states = [JobState::Completed, JobState::Scheduled, JobState::Scheduled, JobState::Dead, JobState::Cancelled];
    assert_eq!(settled, states.map(Settled::Accepted));
    store.promote(100).await.expect("promote");
    store.rescue(100).await.expect("rescue");
    store.prune(100).await.expect("prune");
    assert_eq!(store.retry(ids[3]).await.expect("retry"), RetryDead::Revived);
    store.delete(ids[0]).await.expect("delete");
    assert!(store.get(ids[0]).await.expect("get").is_none());
    assert_eq!(store.sign_off(worker).await.expect("sign off").to_ready, 1, "the one to be cancelled");
    assert_eq!(store.get(ids[5]).await.expect("get").map(|job| job.state), Some(JobState::Cancelled));
}

/// Jobs that are kept as one.
async fn together(site: &Site, store: &Arc<dyn Store>) {
    let worker = site.worker(store).await;
    store.purge(&work(), 1_000).await.expect("purge");
    let ids = put(store, site.jobs(30)).await;
    let claimed = claim(store, worker, 25).await.expect("claim");
    assert_eq!(claimed.iter().map(|c| c.lease.token().job).collect::<Vec<_>>(), ids[..25]);
    let verdict = || Verdict::Complete { result: None, children: Vec::new() };
    let batch: Vec<_> = claimed.into_iter().map(|c| Settlement { lease: c.lease, verdict: verdict() }).collect();
    assert_eq!(store.settle(batch.into()).await.expect("settle"), [Settled::Accepted(JobState::Completed); 25]);
    assert_eq!(store.purge(&work(), 1_000).await.expect("purge"), 5);
}

async fn operators(site: &Site, store: &Arc<dyn Store>) {
    let worker = site.worker(store).await;
    let ids = put(store, site.jobs(1)).await;
    store.explain(ids[0]).await.expect("explain");
    assert!(store.pause(&work()).await.expect("pause"));
    assert!(claim(store, worker, 1).await.expect("claim").is_empty());
    assert!(store.resume(&work()).await.expect("resume"));
    assert!(store.purge(&work(), 1_000).await.expect("purge") > 0);
    assert!(store.workers().await.expect("workers").iter().any(|w| w.id == worker));
    store.drain_worker(worker).await.expect("drain");
    assert!(site.beat(store, worker, HOUR).await.expect("beat").drain);
    for state in JobState::ALL {
        let query = ListQuery { state: Some(state), queue: Some(work()), ..ListQuery::default() };
        store.list(query).await.expect("list");
    }
    store.sign_off(worker).await.expect("sign off");
}

async fn schedules(site: &Site, store: &Arc<dyn Store>) {
    let declared = ScheduleDeclaration { name: "poll".into(), declared: json!({ "every_ms": 1 }) };
    store.declare_schedules(vec![declared]).await.expect("declare");
    let all = store.schedules().await.expect("schedules");
    let due = all.iter().find(|s| &*s.name == "poll").expect("it is there").cursor.after(HOUR);
    let tick =
        || Tick { schedule: "poll".into(), due, job: site.jobs(1).remove(0), overlap: Overlap::Allow, manual: false };
    assert!(matches!(store.tick(tick()).await.expect("tick"), Ticked::Enqueued(_)));
    assert_eq!(store.tick(tick()).await.expect("tick"), Ticked::AlreadyDecided);
    store.change_schedule("poll", ScheduleChange::Pause, "ann").await.expect("pause");
    store.change_schedule("poll", ScheduleChange::Resume, "ann").await.expect("resume");
    assert!(store.schedule_history("poll").await.expect("history").len() >= 3);
}

async fn shared(site: &Site, store: &Arc<dyn Store>) {
    store.cache_put("t", "k", vec![1], HOUR).await.expect("put");
    assert_eq!(store.cache_get("t", "k").await.expect("get"), Some(vec![1]));
    store.cache_delete("t", "k").await.expect("delete");
    let rate = RateLimit::FixedWindow { limit: 1_000, window_ms: 1_000 };
    store.take("rate", rate, 1).await.expect("take");
    store.budget("rate", rate).await.expect("budget");
    let key = site.jobs(1)[0].id.to_string();
    let granted = |r| matches!(r, Reservation::Granted { .. });
    assert!(granted(store.reserve("s", &key, b"f", HOUR, HOUR).await.expect("reserve")));
    let reply = RememberedReply { status: 200, content_type: "text/plain".into(), body: vec![1] };
    store.remember("s", &key, reply.clone()).await.expect("remember");
    assert_eq!(store.reserve("s", &key, b"f", HOUR, HOUR).await.expect("reserve"), Reservation::Done(reply));
    assert!(granted(store.reserve("s", "other", b"f", HOUR, HOUR).await.expect("reserve")));
    store.release("s", "other").await.expect("release");
    let failed = store.breaker_report("b", false, 1, HOUR).await.expect("report");
    assert!(matches!(failed, BreakerState::Open { .. }), "{failed:?}");
    store.breaker_reset("b").await.expect("reset");
    assert_eq!(store.breaker("b").await.expect("breaker"), BreakerState::Closed { failures: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_loads_its_script_again_when_the_server_has_forgotten_it() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let store = site.open().await;
    tour(&site, &store).await;
    server.command::<String>(&["SCRIPT", "FLUSH"]);
    tour(&site, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_forgotten_while_many_calls_run_fail_none_of_them() {
    let server = RedisServer::start();
    let site = Site::new(server.url());
    let store = site.open().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, batches) = (store.clone(), (0..40).map(|_| site.jobs(5)).collect::<Vec<_>>());
        calls.spawn(async move {
            for batch in batches {
                put(&store, batch).await;
            }
        });
    }
    while !calls.is_empty() {
        server.command::<String>(&["SCRIPT", "FLUSH"]);
        if let Ok(Some(done)) = tokio::time::timeout(Duration::from_millis(5), calls.join_next()).await {
            done.expect("no call fails");
        }
    }
    assert_eq!(counted(&store, JobState::Ready).await, 8 * 40 * 5);
}
