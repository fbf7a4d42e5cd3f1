//! Handing out jobs: in order, never more than asked, to the living only, and not from a paused or limited queue.

use std::time::Duration;

use tidemill::job::{Incarnation, Priority};
use tidemill::store::{BATCH_MAX, QueueSettings, RateLimit, StoreError};

use super::rig::{LEASE, MS, Rig, complete, fail_for, id_of, job, named, settings, work};

pub(crate) async fn priority_goes_first_then_the_order_of_arrival(rig: &mut Rig) {
    let mut expected = Vec::new();
    for (n, priority) in [5, 0, 9, 0, 5, 1].into_iter().enumerate() {
        let id = rig.put(job().priority(Priority::try_from(priority).expect("a priority"))).await;
        expected.push((priority, n, id));
        rig.clock.advance(MS);
    }
    expected.sort_unstable();
    let worker = rig.worker().await;
    let claimed = rig.claim(worker, 10).await;
    let ids: Vec<_> = claimed.iter().map(id_of).collect();
    assert_eq!(ids, expected.iter().map(|(_, _, id)| *id).collect::<Vec<_>>());
}

pub(crate) async fn jobs_of_one_batch_go_in_its_order(rig: &mut Rig) {
    let jobs: Vec<_> = (0..50).map(|_| rig.new_job(job())).collect();
    let ids: Vec<_> = jobs.iter().map(|j| j.id).collect();
    rig.store.enqueue(jobs).await.expect("enqueue");
    let worker = rig.worker().await;
    let mut claimed = Vec::new();
    for n in [1, 2, 47] {
        claimed.extend(rig.claim(worker, n).await.iter().map(id_of));
    }
    assert_eq!(claimed, ids);
}

pub(crate) async fn never_more_than_asked_for(rig: &mut Rig) {
    for _ in 0..5 {
        rig.put(job()).await;
    }
    let worker = rig.worker().await;
    assert_eq!(rig.claim(worker, 2).await.len(), 2);
    assert_eq!(rig.claim(worker, 10).await.len(), 3);
    assert!(rig.claim(worker, 10).await.is_empty(), "no job is handed out twice");
}

pub(crate) async fn one_claim_touches_no_more_than_the_bound(rig: &mut Rig) {
    for _ in 0..2 {
        let jobs = (0..600).map(|_| rig.new_job(job())).collect();
        rig.store.enqueue(jobs).await.expect("enqueue");
    }
    let worker = rig.worker().await;
    assert_eq!(rig.claim(worker, 5_000).await.len(), BATCH_MAX);
}

pub(crate) async fn a_claim_tells_all_that_a_worker_needs(rig: &mut Rig) {
    let mut spec = job().tenant("t").correlation("c").trace("00-a-b-01").priority(Priority::FIRST);
    (spec.max_attempts, spec.timeout) = (4, Duration::from_secs(77));
    let id = rig.put(spec).await;
    let created = rig.clock.now();
    rig.clock.advance(Duration::from_secs(3));
    let worker = rig.worker().await;
    let claimed = rig.claim_one(worker).await;
    let token = claimed.lease.token();
    assert_eq!((token.job, token.epoch, token.holder), (id, 1, worker));
    assert_eq!((claimed.queue.clone(), &*claimed.kind, &*claimed.payload), (work(), "test.job", r#"{"n":1}"#));
    assert_eq!((claimed.tenant.as_deref(), claimed.correlation_id.as_deref()), (Some("t"), Some("c")));
    assert_eq!((claimed.traceparent.as_deref(), claimed.priority), (Some("00-a-b-01"), Priority::FIRST));
    assert_eq!((claimed.attempt, claimed.max_attempts, claimed.crashes), (1, 4, 0));
    assert_eq!(claimed.timeout, Duration::from_secs(77));
    assert_eq!((claimed.created_at, claimed.run_at, claimed.claimed_at), (created, created, rig.clock.now()));
}

pub(crate) async fn each_claim_raises_the_epoch(rig: &mut Rig) {
    let id = rig.put(job()).await;
    let worker = rig.worker().await;
    for epoch in 1..=5 {
        let claimed = rig.claim_one(worker).await;
        assert_eq!((claimed.lease.token().epoch, claimed.attempt), (epoch, u32::try_from(epoch).expect("small")));
        rig.settle(claimed, fail_for(MS)).await;
        assert_eq!(rig.get(id).await.epoch, epoch, "a settle leaves it");
        rig.clock.advance(MS);
        rig.promote().await;
    }
}

pub(crate) async fn a_claim_takes_from_its_own_queue_only(rig: &mut Rig) {
    rig.store.declare_queues(vec![settings("other")]).await.expect("declare");
    rig.put(job().on(named("other"))).await;
    let worker = rig.worker().await;
    assert!(rig.claim(worker, 10).await.is_empty());
    let other = rig.store.claim(&named("other"), worker, 10, Duration::ZERO).await.expect("claim");
    assert_eq!(other.len(), 1);
}

pub(crate) async fn a_scheduled_job_is_not_handed_out(rig: &mut Rig) {
    rig.put(job().after(MS)).await;
    let worker = rig.worker().await;
    assert!(rig.claim(worker, 1).await.is_empty());
}

pub(crate) async fn an_unknown_queue_is_refused(rig: &mut Rig) {
    let worker = rig.worker().await;
    let nowhere = named("nowhere");
    let claimed = rig.store.claim(&nowhere, worker, 1, Duration::ZERO).await;
    assert!(matches!(&claimed, Err(StoreError::NoSuchQueue(q)) if *q == nowhere), "{claimed:?}");
}

pub(crate) async fn an_incarnation_that_never_beat_gets_nothing(rig: &mut Rig) {
    let id = rig.put(job()).await;
    let before = rig.bytes(id).await;
    let stranger = Incarnation::new(&rig.entropy);
    refused(rig, stranger).await;
    assert_eq!(rig.bytes(id).await, before);
}

pub(crate) async fn a_dead_incarnation_gets_nothing(rig: &mut Rig) {
    let worker = rig.worker().await;
    rig.put(job()).await;
    rig.clock.advance(LEASE * 2);
    rig.rescue().await;
    refused(rig, worker).await;
}

pub(crate) async fn a_worker_that_shall_drain_gets_nothing(rig: &mut Rig) {
    let worker = rig.worker().await;
    rig.put(job()).await;
    rig.store.drain_worker(worker).await.expect("drain");
    assert!(rig.claim(worker, 1).await.is_empty());
    let other = rig.worker().await;
    rig.claim_one(other).await;
}

pub(crate) async fn a_signed_off_incarnation_gets_nothing(rig: &mut Rig) {
    let worker = rig.worker().await;
    rig.put(job()).await;
    rig.store.sign_off(worker).await.expect("sign off");
    refused(rig, worker).await;
}

pub(crate) async fn a_paused_queue_gives_nothing_until_resumed(rig: &mut Rig) {
    let worker = rig.worker().await;
    rig.put(job()).await;
    assert!(rig.store.pause(&work()).await.expect("pause"));
    assert!(!rig.store.pause(&work()).await.expect("pause"), "it was paused before");
    assert!(rig.claim(worker, 1).await.is_empty());
    assert!(rig.counts(&work()).await.paused);
    rig.reopen().await;
    assert!(rig.claim(worker, 1).await.is_empty(), "a pause survives a restart");
    assert!(rig.store.resume(&work()).await.expect("resume"));
    assert!(!rig.store.resume(&work()).await.expect("resume"), "it was not paused any more");
    assert!(!rig.counts(&work()).await.paused);
    rig.claim_one(worker).await;
}

pub(crate) async fn a_pause_leaves_running_jobs_alone(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    rig.store.pause(&work()).await.expect("pause");
    rig.settle(claimed, complete()).await;
    assert_eq!(rig.counts(&work()).await.completed, 1);
}

pub(crate) async fn a_queues_rate_bounds_the_claims_of_all_workers(rig: &mut Rig) {
    limit(rig, 3).await;
    for _ in 0..10 {
        rig.put(job()).await;
    }
    let (a, b) = (rig.worker().await, rig.worker().await);
    assert_eq!(rig.claim(a, 2).await.len(), 2);
    assert_eq!(rig.claim(b, 5).await.len(), 1, "one is left of three");
    assert!(rig.claim(a, 5).await.is_empty());
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(rig.claim(b, 5).await.len(), 3, "the next window");
}

pub(crate) async fn a_claim_that_finds_nothing_uses_none_of_the_rate(rig: &mut Rig) {
    limit(rig, 3).await;
    let worker = rig.worker().await;
    for _ in 0..10 {
        assert!(rig.claim(worker, 3).await.is_empty());
    }
    rig.put(job()).await;
    rig.put(job()).await;
    assert_eq!(rig.claim(worker, 10).await.len(), 2, "and no more is used than was handed out");
    rig.put(job()).await;
    assert_eq!(rig.claim(worker, 10).await.len(), 1);
}

async fn limit(rig: &Rig, limit: u32) {
    let rate = Some(RateLimit::FixedWindow { limit, window_ms: 1_000 });
    rig.store.declare_queues(vec![QueueSettings { rate, ..settings("work") }]).await.expect("declare");
}

async fn refused(rig: &Rig, worker: Incarnation) {
    let claimed = rig.store.claim(&work(), worker, 1, Duration::ZERO).await;
    assert!(matches!(claimed, Err(StoreError::DeadIncarnation(who)) if who == worker), "{claimed:?}");
}
