//! One test for each arrow of the transition table in `job::state`, and one that there are no others.

use std::time::Duration;

use tidemill::job::JobState::{Cancelled, Completed, Dead, Ready, Running, Scheduled};
use tidemill::job::{DeadReason, JobState};
use tidemill::store::{Cancel, RetryDead, Settled, StoreError, Verdict};

use super::rig::{LEASE, MS, Rig, complete, fail_for, id_of, job};

/// The arrows that the tests below walk.
const WALKED: [(JobState, JobState); 10] = [
    (Scheduled, Ready),
    (Scheduled, Cancelled),
    (Ready, Running),
    (Ready, Cancelled),
    (Running, Completed),
    (Running, Scheduled),
    (Running, Ready),
    (Running, Dead),
    (Running, Cancelled),
    (Dead, Ready),
];

/// Another state, from any: the ways of no job.
pub(crate) async fn the_table_has_no_arrow_that_is_not_walked_here(_: &mut Rig) {
    for from in JobState::ALL {
        for to in JobState::ALL {
            assert_eq!(from.can_become(to), WALKED.contains(&(from, to)), "{from} to {to}");
        }
    }
}

pub(crate) async fn a_job_without_delay_begins_ready(rig: &mut Rig) {
    let id = rig.put(job()).await;
    let kept = rig.get(id).await;
    assert_eq!((kept.state, kept.run_at, kept.attempt), (Ready, rig.clock.now(), 0));
}

pub(crate) async fn a_delayed_job_begins_scheduled(rig: &mut Rig) {
    let id = rig.put(job().after(Duration::from_secs(5))).await;
    let kept = rig.get(id).await;
    assert_eq!((kept.state, kept.run_at), (Scheduled, rig.clock.now().after(Duration::from_secs(5))));
}

pub(crate) async fn scheduled_becomes_ready_when_due(rig: &mut Rig) {
    let id = rig.put(job().after(MS)).await;
    rig.clock.advance(MS);
    assert_eq!(rig.promote().await, 1);
    assert_eq!(rig.state(id).await, Ready);
}

pub(crate) async fn scheduled_becomes_ready_by_hand(rig: &mut Rig) {
    let id = rig.put(job().after(Duration::from_secs(3600))).await;
    assert_eq!(rig.store.retry(id).await.expect("retry"), RetryDead::RunNow);
    let kept = rig.get(id).await;
    assert_eq!((kept.state, kept.run_at), (Ready, rig.clock.now()));
}

pub(crate) async fn scheduled_becomes_cancelled(rig: &mut Rig) {
    let id = rig.put(job().after(MS)).await;
    assert_eq!(rig.store.cancel(id, "not wanted").await.expect("cancel"), Cancel::Cancelled);
    assert_eq!(rig.state(id).await, Cancelled);
}

pub(crate) async fn ready_becomes_running_by_a_claim(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    let kept = rig.get(id_of(&claimed)).await;
    assert_eq!((kept.state, kept.holder, kept.epoch), (Running, Some(worker), 1));
    assert_eq!(kept.started_at, Some(rig.clock.now()));
}

pub(crate) async fn ready_becomes_cancelled(rig: &mut Rig) {
    let id = rig.put(job()).await;
    assert_eq!(rig.store.cancel(id, "not wanted").await.expect("cancel"), Cancel::Cancelled);
    assert_eq!(rig.state(id).await, Cancelled);
    let worker = rig.worker().await;
    assert!(rig.claim(worker, 1).await.is_empty());
}

pub(crate) async fn running_becomes_completed(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    ends_as(rig, claimed, complete(), Completed).await;
}

pub(crate) async fn running_becomes_scheduled_by_a_failure(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    ends_as(rig, claimed, fail_for(MS), Scheduled).await;
}

pub(crate) async fn running_becomes_scheduled_by_a_snooze(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    ends_as(rig, claimed, Verdict::Snooze { reason: "later".into(), delay: MS }, Scheduled).await;
}

pub(crate) async fn running_becomes_ready_by_a_release(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    ends_as(rig, claimed, Verdict::Release, Ready).await;
}

pub(crate) async fn running_becomes_ready_when_its_holder_dies(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    rig.clock.advance(LEASE * 2);
    assert_eq!(rig.rescue().await.to_ready, 1);
    assert_eq!(rig.state(id_of(&claimed)).await, Ready);
}

pub(crate) async fn running_becomes_dead(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    ends_as(rig, claimed, Verdict::Dead { reason: DeadReason::Permanent, error: "never".into() }, Dead).await;
}

pub(crate) async fn running_becomes_cancelled_by_its_handler(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    ends_as(rig, claimed, Verdict::Cancel { reason: "no need".into() }, Cancelled).await;
}

pub(crate) async fn dead_becomes_ready_by_hand(rig: &mut Rig) {
    let id = rig.finished(job(), Verdict::Dead { reason: DeadReason::Permanent, error: "x".into() }).await;
    assert_eq!(rig.store.retry(id).await.expect("retry"), RetryDead::Revived);
    assert_eq!(rig.state(id).await, Ready);
}

pub(crate) async fn completed_and_cancelled_are_final(rig: &mut Rig) {
    let completed = rig.finished(job(), complete()).await;
    let cancelled = rig.put(job()).await;
    rig.store.cancel(cancelled, "no").await.expect("cancel");
    for id in [completed, cancelled] {
        let before = rig.bytes(id).await;
        let retried = rig.store.retry(id).await;
        assert!(matches!(retried, Err(StoreError::WrongState { job, .. }) if job == id), "{retried:?}");
        let again = rig.store.cancel(id, "again").await;
        assert!(matches!(again, Err(StoreError::WrongState { job, .. }) if job == id), "{again:?}");
        assert_eq!((rig.promote().await, rig.rescue().await.to_ready), (0, 0));
        assert_eq!(rig.bytes(id).await, before);
    }
}

async fn ends_as(rig: &Rig, claimed: tidemill::store::Claimed, verdict: Verdict, state: JobState) {
    let id = id_of(&claimed);
    assert_eq!(rig.settle(claimed, verdict).await, Settled::Accepted(state));
    let kept = rig.get(id).await;
    assert_eq!((kept.state, kept.holder), (state, None));
}
