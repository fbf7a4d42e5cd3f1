//! Cancelling: at once where nobody works, by request where somebody does, and one winner against a finish.

use tidemill::job::{JobId, JobState};
use tidemill::store::{Cancel, Settled, StoreError, Verdict};

use super::rig::{LEASE, MS, Rig, complete, fail_for, id_of, job, token_of, work};

pub(crate) async fn a_waiting_job_is_cancelled_at_once_and_keeps_the_reason(rig: &mut Rig) {
    for spec in [job(), job().after(MS)] {
        let id = rig.put(spec).await;
        assert_eq!(rig.store.cancel(id, "asked by the customer").await.expect("cancel"), Cancel::Cancelled);
        let kept = rig.get(id).await;
        assert_eq!((kept.state, kept.finished_at), (JobState::Cancelled, Some(rig.clock.now())));
        assert!(rig.bytes(id).await.contains("asked by the customer"));
    }
    rig.clock.advance(MS);
    assert_eq!(rig.promote().await, 0);
}

pub(crate) async fn the_holder_of_a_running_job_is_told_with_its_next_beat(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    let other = rig.worker().await;
    assert!(rig.beat(worker).await.expect("beat").cancel.is_empty());
    assert_eq!(rig.store.cancel(id_of(&claimed), "stop").await.expect("cancel"), Cancel::Requested);
    let kept = rig.get(id_of(&claimed)).await;
    assert_eq!((kept.state, kept.cancel_requested), (JobState::Running, true));
    assert!(rig.beat(other).await.expect("beat").cancel.is_empty());
    assert_eq!(rig.beat(worker).await.expect("beat").cancel, [token_of(&claimed)]);
    assert_eq!(rig.beat(worker).await.expect("beat").cancel, [token_of(&claimed)], "until it has answered");
    let done = rig.settle(claimed, Verdict::Cancel { reason: "stopped".into() }).await;
    assert_eq!(done, Settled::Accepted(JobState::Cancelled));
    assert!(rig.beat(worker).await.expect("beat").cancel.is_empty());
}

pub(crate) async fn a_request_frees_nothing_before_the_holder_answers(rig: &mut Rig) {
    let (_, claimed) = rig.running(job().unique("one")).await;
    rig.store.cancel(id_of(&claimed), "stop").await.expect("cancel");
    assert!(!rig.add(job().unique("one")).await.is_new());
    rig.settle(claimed, Verdict::Cancel { reason: "stopped".into() }).await;
    assert!(rig.add(job().unique("one")).await.is_new());
}

pub(crate) async fn a_finish_before_the_cancel_wins(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    rig.settle(claimed, complete()).await;
    let late = rig.store.cancel(id, "too late").await;
    let was = JobState::Completed;
    assert!(matches!(late, Err(StoreError::WrongState { state, .. }) if state == was), "{late:?}");
}

pub(crate) async fn a_finish_after_the_request_still_counts(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    rig.store.cancel(id, "stop").await.expect("cancel");
    assert_eq!(rig.settle(claimed, complete()).await, Settled::Accepted(JobState::Completed), "the work is done");
    assert!(!rig.get(id).await.cancel_requested);
}

pub(crate) async fn cancel_and_finish_at_the_same_time_have_one_winner(rig: &mut Rig) {
    for _ in 0..20 {
        let (_, claimed) = rig.running(job()).await;
        let id = id_of(&claimed);
        let (cancelled, settled) = tokio::join!(rig.store.cancel(id, "stop"), rig.settle(claimed, complete()));
        assert_eq!(settled, Settled::Accepted(JobState::Completed), "its lease is good in either order");
        assert_ne!(cancelled.ok(), Some(Cancel::Cancelled), "it was running or finished, never waiting");
        assert_eq!(rig.state(id).await, JobState::Completed);
    }
}

pub(crate) async fn after_a_request_no_new_attempt_begins(rig: &mut Rig) {
    let verdicts = [fail_for(MS), Verdict::Snooze { reason: "later".into(), delay: MS }, Verdict::Release];
    for verdict in verdicts {
        let (_, claimed) = rig.running(job().unique("one")).await;
        let id = id_of(&claimed);
        rig.store.cancel(id, "stop").await.expect("cancel");
        assert_eq!(rig.settle(claimed, verdict.clone()).await, Settled::Accepted(JobState::Cancelled), "{verdict:?}");
        let kept = rig.get(id).await;
        assert_eq!((kept.state, kept.cancel_requested), (JobState::Cancelled, false));
        rig.clock.advance(MS);
        assert_eq!(rig.promote().await, 0);
    }
    assert_eq!(rig.counts(&work()).await.cancelled, 3);
}

pub(crate) async fn after_a_request_a_dead_holders_job_is_cancelled(rig: &mut Rig) {
    let (_, claimed) = rig.running(job().unique("one")).await;
    rig.store.cancel(id_of(&claimed), "stop").await.expect("cancel");
    rig.clock.advance(LEASE * 2);
    rig.rescue().await;
    assert_eq!(rig.state(id_of(&claimed)).await, JobState::Cancelled);
    assert!(rig.add(job().unique("one")).await.is_new());
}

pub(crate) async fn after_a_request_a_clean_stop_cancels_the_job(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    rig.store.cancel(id_of(&claimed), "stop").await.expect("cancel");
    rig.store.sign_off(worker).await.expect("sign off");
    assert_eq!(rig.state(id_of(&claimed)).await, JobState::Cancelled);
}

pub(crate) async fn a_job_that_is_not_there_can_not_be_cancelled(rig: &mut Rig) {
    let id = JobId::new(rig.clock.now(), &rig.entropy);
    let none = rig.store.cancel(id, "x").await;
    assert!(matches!(none, Err(StoreError::NoSuchJob(job)) if job == id), "{none:?}");
}
