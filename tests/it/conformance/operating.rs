//! What operators may do to jobs and queues besides cancelling: retry, delete, purge.

use tidemill::job::{DeadReason, JobId, JobState};
use tidemill::store::{RetryDead, StoreError, Verdict};

use super::rig::{LEASE, MS, Rig, complete, fail_for, id_of, job, named, settings, work};

fn dead() -> Verdict {
    Verdict::Dead { reason: DeadReason::Permanent, error: "broken".into() }
}

pub(crate) async fn a_revived_job_begins_from_zero(rig: &mut Rig) {
    let id = rig.put(job()).await;
    let worker = rig.worker().await;
    for _ in 0..2 {
        let claimed = rig.claim_one(worker).await;
        rig.settle(claimed, fail_for(MS)).await;
        rig.clock.advance(MS);
        rig.promote().await;
    }
    rig.claim_one(worker).await;
    rig.clock.advance(LEASE * 2);
    rig.rescue().await;
    let worker = rig.worker().await;
    let claimed = rig.claim_one(worker).await;
    assert_eq!((claimed.attempt, claimed.crashes), (3, 1));
    rig.settle(claimed, dead()).await;
    assert_eq!(rig.store.retry(id).await.expect("retry"), RetryDead::Revived);
    let kept = rig.get(id).await;
    assert_eq!((kept.state, kept.attempt, kept.crashes), (JobState::Ready, 0, 0));
    assert_eq!((kept.run_at, kept.finished_at, kept.dead_reason), (rig.clock.now(), None, None));
    assert_eq!(kept.epoch, 4, "but its epoch goes on");
    assert!(kept.failures.iter().any(|f| f.error == "broken"), "and what went wrong stays on record");
    assert_eq!(rig.claim_one(worker).await.attempt, 1);
}

pub(crate) async fn only_dead_and_scheduled_jobs_can_be_retried(rig: &mut Rig) {
    let completed = rig.finished(job(), complete()).await;
    let (_, running) = rig.running(job()).await;
    let ready = rig.put(job()).await;
    let cases = [(completed, JobState::Completed), (id_of(&running), JobState::Running), (ready, JobState::Ready)];
    for (id, is) in cases {
        let before = rig.bytes(id).await;
        let refused = rig.store.retry(id).await;
        let said = matches!(refused, Err(StoreError::WrongState { job, state, .. }) if job == id && state == is);
        assert!(said, "{refused:?}");
        assert_eq!(rig.bytes(id).await, before);
    }
    let nobody = JobId::new(rig.clock.now(), &rig.entropy);
    assert!(matches!(rig.store.retry(nobody).await, Err(StoreError::NoSuchJob(_))));
}

pub(crate) async fn a_job_whose_key_another_has_is_not_revived(rig: &mut Rig) {
    let id = rig.finished(job().unique("one"), dead()).await;
    let holder = rig.put(job().unique("one")).await;
    let before = rig.bytes(id).await;
    match rig.store.retry(id).await {
        Err(StoreError::KeyTaken { job, key, holder: has }) => {
            assert_eq!((job, &*key, has), (id, "one", holder));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.bytes(id).await, before);
    rig.store.cancel(holder, "make room").await.expect("cancel");
    assert_eq!(rig.store.retry(id).await.expect("retry"), RetryDead::Revived);
}

pub(crate) async fn a_revived_job_has_its_key_again(rig: &mut Rig) {
    let id = rig.finished(job().unique("one"), dead()).await;
    rig.store.retry(id).await.expect("retry");
    assert_eq!(rig.add(job().unique("one")).await.job(), id);
    let windowed = rig.put(job().unique_for("two", LEASE * 100)).await;
    rig.store.cancel(rig.put(job()).await, "aside").await.expect("cancel");
    let worker = rig.worker().await;
    for claimed in rig.claim(worker, 10).await {
        rig.settle(claimed, dead()).await;
    }
    assert_eq!(rig.store.retry(windowed).await.expect("its own window is no obstacle"), RetryDead::Revived);
}

pub(crate) async fn only_finished_jobs_can_be_deleted(rig: &mut Rig) {
    let scheduled = rig.put(job().after(MS)).await;
    let (_, running) = rig.running(job()).await;
    let ready = rig.put(job()).await;
    for id in [scheduled, id_of(&running), ready] {
        let before = rig.bytes(id).await;
        let refused = rig.store.delete(id).await;
        assert!(matches!(refused, Err(StoreError::WrongState { job, .. }) if job == id), "{refused:?}");
        assert_eq!(rig.bytes(id).await, before);
    }
    rig.store.cancel(ready, "x").await.expect("cancel");
    rig.settle(running, complete()).await;
    let dead = rig.finished(job(), dead()).await;
    for id in [ready, dead] {
        rig.store.delete(id).await.expect("delete");
        assert!(rig.store.get(id).await.expect("get").is_none());
        assert!(rig.store.logs(id).await.is_ok_and(|lines| lines.is_empty()));
        assert!(matches!(rig.store.delete(id).await, Err(StoreError::NoSuchJob(_))));
    }
    assert_eq!(rig.counts(&work()).await.completed_total, 1);
}

pub(crate) async fn a_purge_cancels_what_waits_and_nothing_else(rig: &mut Rig) {
    rig.store.declare_queues(vec![settings("other")]).await.expect("declare");
    let other = rig.put(job().on(named("other"))).await;
    let (_, running) = rig.running(job()).await;
    let ready = rig.put(job().unique("k")).await;
    let scheduled = rig.put(job().after(MS)).await;
    assert_eq!(rig.store.purge(&work(), 1_000).await.expect("purge"), 2);
    for (id, state) in [
        (other, JobState::Ready),
        (id_of(&running), JobState::Running),
        (ready, JobState::Cancelled),
        (scheduled, JobState::Cancelled),
    ] {
        assert_eq!(rig.state(id).await, state);
    }
    assert!(rig.add(job().unique("k")).await.is_new(), "keys are free");
}

pub(crate) async fn a_purge_is_bounded(rig: &mut Rig) {
    for n in 0..7 {
        rig.put(if n % 2 == 0 { job() } else { job().after(MS) }).await;
    }
    let mut rounds = Vec::new();
    while rounds.last() != Some(&0) {
        rounds.push(rig.store.purge(&work(), 3).await.expect("purge"));
    }
    assert_eq!(rounds, [3, 3, 1, 0]);
}

pub(crate) async fn unknown_queues_and_jobs_are_named(rig: &mut Rig) {
    let nowhere = named("nowhere");
    let errors = [
        rig.store.pause(&nowhere).await.err(),
        rig.store.resume(&nowhere).await.err(),
        rig.store.purge(&nowhere, 1).await.err(),
    ];
    for error in errors {
        assert!(matches!(&error, Some(StoreError::NoSuchQueue(q)) if *q == nowhere), "{error:?}");
    }
    let nobody = JobId::new(rig.clock.now(), &rig.entropy);
    assert!(rig.store.get(nobody).await.expect("get").is_none());
    let explained = rig.store.explain(nobody).await;
    assert!(matches!(explained, Err(StoreError::NoSuchJob(id)) if id == nobody), "{explained:?}");
}
