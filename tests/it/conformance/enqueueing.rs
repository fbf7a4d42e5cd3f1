//! Keeping jobs: durable, all or nothing, and one job per id and unique key.

use std::time::Duration;

use tidemill::clock::Timestamp;
use tidemill::job::{DeadReason, JobState, Priority};
use tidemill::store::{BATCH_MAX, Enqueued, NewJob, StoreError, Verdict};

use super::rig::{LEASE, MS, Rig, complete, fail_for, id_of, job, named, settings};

const WINDOW: Duration = Duration::from_secs(3600);

pub(crate) async fn an_acknowledged_job_survives_a_restart(rig: &mut Rig) {
    let mut spec = job()
        .tenant("tenant_1")
        .priority(Priority::FIRST)
        .correlation("order-7")
        .trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .by("api:key_1")
        .tag("a")
        .tag("b")
        .unique("order-7");
    spec.max_attempts = 3;
    spec.timeout = Duration::from_millis(1_234);
    spec.payload = r#"{"amount":1.10,"big":123456789012345678901234567890}"#.into();
    let id = rig.put(spec).await;
    let before = rig.bytes(id).await;
    rig.reopen().await;
    assert_eq!(rig.bytes(id).await, before);
    let kept = rig.get(id).await;
    assert_eq!(kept.payload.get(), r#"{"amount":1.10,"big":123456789012345678901234567890}"#, "as it was enqueued");
    assert_eq!((kept.tenant.as_deref(), kept.correlation_id.as_deref()), (Some("tenant_1"), Some("order-7")));
    assert_eq!((kept.max_attempts, kept.timeout_ms, kept.priority), (3, 1_234, Priority::FIRST));
    assert_eq!((&*kept.enqueued_by, kept.unique_key.as_deref()), ("api:key_1", Some("order-7")));
    assert_eq!(kept.tags, ["a", "b"]);
    assert!(kept.traceparent.is_some_and(|t| t.starts_with("00-4bf9")));
    assert_eq!(kept.created_at, rig.clock.now());
}

pub(crate) async fn the_same_id_again_is_a_duplicate_and_changes_nothing(rig: &mut Rig) {
    let first = rig.new_job(job());
    let second = NewJob { id: first.id, spec: job().priority(Priority::LAST).after(MS) };
    let id = first.id;
    assert_eq!(rig.store.enqueue(vec![first]).await.expect("enqueue"), [Enqueued::Inserted(id)]);
    let before = rig.bytes(id).await;
    assert_eq!(rig.store.enqueue(vec![second]).await.expect("enqueue"), [Enqueued::Duplicate(id)]);
    assert_eq!(rig.bytes(id).await, before);
}

pub(crate) async fn the_same_id_is_a_duplicate_while_running_and_when_finished(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    let again = || rig.store.enqueue(vec![NewJob { id, spec: job() }]);
    assert_eq!(again().await.expect("enqueue"), [Enqueued::Duplicate(id)]);
    rig.settle(claimed, complete()).await;
    assert_eq!(again().await.expect("enqueue"), [Enqueued::Duplicate(id)]);
    assert_eq!(rig.state(id).await, JobState::Completed);
}

pub(crate) async fn a_batch_may_hold_the_same_id_and_the_same_key_twice(rig: &mut Rig) {
    let (a, b) = (rig.new_job(job()), rig.new_job(job().unique("k")));
    let c = rig.new_job(job().unique("k"));
    let (id, keyed) = (a.id, b.id);
    let done = rig.store.enqueue(vec![a.clone(), a, b, c]).await.expect("enqueue");
    let expected =
        [Enqueued::Inserted(id), Enqueued::Duplicate(id), Enqueued::Inserted(keyed), Enqueued::Duplicate(keyed)];
    assert_eq!(done, expected);
}

pub(crate) async fn a_unique_key_keeps_a_second_job_away_while_the_first_lives(rig: &mut Rig) {
    let spec = || job().unique("one");
    let id = rig.put(spec().after(MS)).await;
    assert_eq!(rig.add(spec()).await, Enqueued::Duplicate(id), "while scheduled");
    rig.clock.advance(MS);
    rig.promote().await;
    assert_eq!(rig.add(spec()).await, Enqueued::Duplicate(id), "while ready");
    let worker = rig.worker().await;
    let claimed = rig.claim_one(worker).await;
    assert_eq!(rig.add(spec()).await, Enqueued::Duplicate(id), "while running");
    rig.settle(claimed, fail_for(MS)).await;
    assert_eq!(rig.add(spec()).await, Enqueued::Duplicate(id), "while it waits for its next attempt");
}

pub(crate) async fn a_unique_key_is_free_when_its_job_is_finished(rig: &mut Rig) {
    let spec = || job().unique("one");
    let dead = Verdict::Dead { reason: DeadReason::Permanent, error: "x".into() };
    for verdict in [complete(), dead, Verdict::Cancel { reason: "no".into() }] {
        let first = rig.finished(spec(), verdict).await;
        let second = rig.put(spec()).await;
        assert_ne!(first, second);
        rig.store.cancel(second, "make room").await.expect("cancel");
    }
    rig.put(spec()).await;
}

pub(crate) async fn a_unique_key_is_free_when_its_job_crashed_for_good(rig: &mut Rig) {
    let id = rig.put(job().unique("one")).await;
    for _ in 0..3 {
        let worker = rig.worker().await;
        rig.claim_one(worker).await;
        rig.clock.advance(LEASE * 2);
        rig.rescue().await;
    }
    assert_eq!(rig.state(id).await, JobState::Dead);
    rig.put(job().unique("one")).await;
}

pub(crate) async fn a_unique_key_with_a_window_outlives_its_job(rig: &mut Rig) {
    let spec = || job().unique_for("event", WINDOW);
    let id = rig.finished(spec(), complete()).await;
    rig.clock.advance(WINDOW - MS);
    assert_eq!(rig.add(spec()).await, Enqueued::Duplicate(id));
    rig.clock.advance(MS * 2);
    assert!(rig.add(spec()).await.is_new());
}

pub(crate) async fn a_window_counts_from_the_enqueue_and_never_cuts_a_life_short(rig: &mut Rig) {
    let spec = || job().unique_for("event", WINDOW);
    let (worker, claimed) = rig.running(spec()).await;
    let id = id_of(&claimed);
    for _ in 0..3_600 / 5 + 3 {
        rig.clock.advance(LEASE / 2);
        rig.beat(worker).await.expect("beat");
    }
    assert_eq!(rig.add(spec()).await, Enqueued::Duplicate(id), "it still lives");
    rig.settle(claimed, complete()).await;
    assert!(rig.add(spec()).await.is_new(), "its window was over before it ended");
}

pub(crate) async fn a_window_survives_a_restart_and_the_pruning_of_its_job(rig: &mut Rig) {
    let spec = || job().unique_for("event", WINDOW * 100);
    let id = rig.finished(spec(), complete()).await;
    rig.clock.advance(WINDOW * 90);
    while rig.store.prune(1_000).await.expect("prune").more {}
    assert!(rig.store.get(id).await.expect("get").is_none(), "pruned");
    rig.reopen().await;
    assert_eq!(rig.add(spec()).await, Enqueued::Duplicate(id));
}

pub(crate) async fn a_batch_is_kept_whole_or_not_at_all(rig: &mut Rig) {
    let good = rig.new_job(job().unique("k"));
    let bad = rig.new_job(job().on(named("nowhere")));
    let (id, other) = (good.id, rig.new_job(job()));
    let refused = rig.store.enqueue(vec![good.clone(), bad, other]).await;
    assert!(matches!(&refused, Err(StoreError::NoSuchQueue(q)) if *q == named("nowhere")), "{refused:?}");
    assert!(rig.store.get(id).await.expect("get").is_none());
    assert_eq!(rig.counts(&super::rig::work()).await.ready, 0);
    assert_eq!(rig.store.enqueue(vec![good]).await.expect("enqueue"), [Enqueued::Inserted(id)], "its key is free too");
}

pub(crate) async fn a_full_batch_is_kept_and_a_larger_one_refused(rig: &mut Rig) {
    let jobs = |n| -> Vec<_> { (0..n).map(|_| rig.new_job(job())).collect() };
    let refused = rig.store.enqueue(jobs(BATCH_MAX + 1)).await;
    let said = (BATCH_MAX + 1, BATCH_MAX);
    assert!(matches!(refused, Err(StoreError::TooMany { len, max, .. }) if (len, max) == said), "{refused:?}");
    assert_eq!(rig.counts(&super::rig::work()).await.ready, 0);
    let done = rig.store.enqueue(jobs(BATCH_MAX)).await.expect("enqueue");
    assert_eq!(done.iter().filter(|e| e.is_new()).count(), BATCH_MAX);
}

pub(crate) async fn an_empty_batch_is_nothing(rig: &mut Rig) {
    assert!(rig.store.enqueue(Vec::new()).await.expect("enqueue").is_empty());
    assert!(rig.store.settle([].into()).await.expect("settle").is_empty());
}

pub(crate) async fn a_time_in_the_past_means_now(rig: &mut Rig) {
    let id = rig.put(job().at(Timestamp::from_ms(1))).await;
    let kept = rig.get(id).await;
    assert_eq!((kept.state, kept.run_at), (JobState::Ready, rig.clock.now()));
}

pub(crate) async fn a_queue_declared_again_keeps_its_jobs(rig: &mut Rig) {
    let id = rig.put(job()).await;
    rig.store.pause(&super::rig::work()).await.expect("pause");
    rig.store.declare_queues(vec![settings("work"), settings("other")]).await.expect("declare");
    assert_eq!(rig.state(id).await, JobState::Ready);
    assert!(rig.counts(&super::rig::work()).await.paused, "a pause outlives a declaration");
    assert_eq!(rig.counts(&named("other")).await.ready, 0);
}
