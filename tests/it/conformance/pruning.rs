//! Retention: what is kept, for how long, how many; and nothing that is not finished ever goes.

use std::time::Duration;

use tidemill::job::{DeadReason, JobId};
use tidemill::store::{Pruned, QueueSettings, Retention, Verdict};

use super::rig::{LEASE, MS, Rig, complete, id_of, job, named, settings, work};

const HOUR: Duration = Duration::from_secs(3600);

fn dead() -> Verdict {
    Verdict::Dead { reason: DeadReason::Permanent, error: "x".into() }
}

async fn keep(rig: &Rig, queue: &str, retention: Retention) {
    rig.store.declare_queues(vec![QueueSettings { retention, ..settings(queue) }]).await.expect("declare");
}

async fn there(rig: &Rig, job: JobId) -> bool {
    rig.store.get(job).await.expect("get").is_some()
}

async fn prune_all(rig: &Rig) -> u32 {
    let mut gone = 0;
    loop {
        let pruned = rig.store.prune(1_000).await.expect("prune");
        gone += pruned.jobs;
        if !pruned.more {
            return gone;
        }
    }
}

pub(crate) async fn finished_jobs_go_when_they_are_old(rig: &mut Rig) {
    keep(rig, "work", Retention { finished_for: HOUR, dead_for: HOUR * 3, ..Retention::default() }).await;
    let completed = rig.finished(job(), complete()).await;
    let cancelled = rig.put(job()).await;
    rig.store.cancel(cancelled, "x").await.expect("cancel");
    let dead = rig.finished(job(), dead()).await;
    rig.clock.advance(HOUR - MS);
    assert_eq!(prune_all(rig).await, 0);
    rig.clock.advance(MS * 2);
    assert_eq!(prune_all(rig).await, 2);
    assert_eq!((there(rig, completed).await, there(rig, cancelled).await), (false, false));
    assert!(there(rig, dead).await, "dead letters wait longer for a person");
    rig.clock.advance(HOUR * 2);
    assert_eq!(prune_all(rig).await, 1);
    assert!(!there(rig, dead).await);
}

pub(crate) async fn what_is_not_finished_never_goes(rig: &mut Rig) {
    keep(rig, "work", Retention { finished_for: MS, finished_max: 0, dead_for: MS, dead_max: 0 }).await;
    let (_, running) = rig.running(job()).await;
    let (ready, scheduled) = (rig.put(job()).await, rig.put(job().after(HOUR * 20_000)).await);
    rig.clock.advance(HOUR * 10_000);
    assert_eq!(prune_all(rig).await, 0);
    for id in [id_of(&running), ready, scheduled] {
        assert!(there(rig, id).await);
    }
}

pub(crate) async fn of_too_many_finished_jobs_the_newest_stay(rig: &mut Rig) {
    keep(rig, "work", Retention { finished_max: 3, dead_max: 2, ..Retention::default() }).await;
    let (mut completed, mut died) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        rig.clock.advance(MS);
        completed.push(rig.finished(job(), complete()).await);
        died.push(rig.finished(job(), dead()).await);
    }
    assert_eq!(prune_all(rig).await, 5);
    for (n, id) in completed.into_iter().enumerate() {
        assert_eq!(there(rig, id).await, n >= 2, "completed {n}");
    }
    for (n, id) in died.into_iter().enumerate() {
        assert_eq!(there(rig, id).await, n >= 3, "dead {n}");
    }
    assert_eq!(prune_all(rig).await, 0, "and no more than that");
}

pub(crate) async fn each_queue_has_its_own_retention(rig: &mut Rig) {
    keep(rig, "short", Retention { finished_for: MS, ..Retention::default() }).await;
    let short = rig.put(job().on(named("short"))).await;
    let long = rig.put(job()).await;
    for id in [short, long] {
        rig.store.cancel(id, "x").await.expect("cancel");
    }
    rig.clock.advance(MS * 2);
    assert_eq!(prune_all(rig).await, 1);
    assert_eq!((there(rig, short).await, there(rig, long).await), (false, true));
}

pub(crate) async fn a_round_of_pruning_is_bounded_and_says_when_there_is_more(rig: &mut Rig) {
    keep(rig, "work", Retention { finished_for: HOUR, finished_max: 4, ..Retention::default() }).await;
    for _ in 0..25 {
        rig.put(job()).await;
    }
    rig.store.purge(&work(), 1_000).await.expect("purge");
    let first = rig.store.prune(10).await.expect("prune");
    assert_eq!((first.jobs, first.more), (10, true));
    let second = rig.store.prune(10).await.expect("prune");
    assert!(second.jobs == 10 && second.more);
    let third = rig.store.prune(10).await.expect("prune");
    assert!(third.jobs + third.other <= 10);
    assert_eq!(third.jobs, 1, "21 of 25 are too many");
    rig.clock.advance(HOUR * 2);
    assert_eq!(prune_all(rig).await, 4);
    assert_eq!(rig.counts(&work()).await.cancelled, 0);
}

pub(crate) async fn log_lines_go_with_their_job(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    rig.store.log(claimed.lease.token(), vec!["a line".into()]).await.expect("log");
    rig.settle(claimed, complete()).await;
    rig.clock.advance(HOUR * 48);
    assert_eq!(prune_all(rig).await, 1);
    assert!(rig.store.logs(id).await.expect("logs").is_empty());
}

pub(crate) async fn expired_small_things_go_too(rig: &mut Rig) {
    rig.store.cache_put("t", "k", vec![1], MS).await.expect("put");
    rig.store.reserve("s", "k", b"f", MS, MS).await.expect("reserve");
    let id = rig.put(job().unique_for("k", MS * 2)).await;
    rig.store.cancel(id, "x").await.expect("cancel");
    let early = rig.store.prune(1_000).await.expect("prune");
    assert_eq!(early, Pruned { jobs: 0, other: 0, more: false }, "not before they have expired");
    rig.clock.advance(MS * 5);
    assert_eq!(rig.store.prune(1_000).await.expect("prune").other, 3);
}

pub(crate) async fn a_dead_worker_with_jobs_left_is_not_forgotten(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    rig.clock.advance(LEASE * 2);
    rig.store.rescue(1).await.expect("rescue");
    rig.clock.advance(HOUR * 12);
    prune_all(rig).await;
    assert!(rig.beat(worker).await.is_err(), "half a day later it is still dead");
    assert_eq!(rig.get(id_of(&claimed)).await.crashes, 1);
}
