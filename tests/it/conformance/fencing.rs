//! A stale lease does nothing: every write with it is refused, counted, and changes no byte of the job.

use std::sync::Arc;
use std::time::Duration;

use tidemill::job::{DeadReason, JobState, Progress};
use tidemill::store::{Claimed, Settled, Settlement, Verdict};

use super::rig::{LEASE, MS, Rig, batch, complete, fail_for, id_of, job, token_of, work};

/// A job whose first holder died and that a second one runs now.
async fn zombie(rig: &Rig) -> (Claimed, Claimed) {
    let (_, stale) = rig.running(job().unique("zombie")).await;
    rig.clock.advance(LEASE * 2);
    assert_eq!(rig.rescue().await.to_ready, 1);
    let second = rig.worker().await;
    let live = rig.claim_one(second).await;
    assert_eq!(id_of(&live), id_of(&stale));
    assert_eq!(live.lease.token().epoch, stale.lease.token().epoch + 1);
    (stale, live)
}

/// Each verdict once.
fn verdicts(rig: &Rig) -> Vec<Verdict> {
    vec![
        Verdict::Complete { result: None, children: vec![rig.new_job(job())] },
        fail_for(MS),
        Verdict::Snooze { reason: "later".into(), delay: MS },
        Verdict::Dead { reason: DeadReason::Permanent, error: "no".into() },
        Verdict::Cancel { reason: "no".into() },
        Verdict::Release,
    ]
}

pub(crate) async fn a_stale_settle_is_refused_and_changes_no_byte(rig: &mut Rig) {
    for verdict in verdicts(rig) {
        let (stale, live) = zombie(rig).await;
        let (before, counts) = (rig.bytes(id_of(&live)).await, rig.counts(&work()).await);
        let refusals = rig.refusals().await;
        assert_eq!(rig.settle(stale, verdict.clone()).await, Settled::LeaseLost, "{verdict:?}");
        assert_eq!(rig.bytes(id_of(&live)).await, before, "{verdict:?}");
        assert_eq!(rig.counts(&work()).await, counts, "no child either: {verdict:?}");
        assert_eq!(rig.refusals().await, refusals + 1, "it is counted");
        assert_eq!(rig.settle(live, complete()).await, Settled::Accepted(JobState::Completed));
    }
}

pub(crate) async fn a_stale_settle_after_the_end_is_refused(rig: &mut Rig) {
    for verdict in verdicts(rig) {
        let (stale, live) = zombie(rig).await;
        let id = id_of(&live);
        rig.settle(live, complete()).await;
        let before = rig.bytes(id).await;
        assert_eq!(rig.settle(stale, verdict).await, Settled::LeaseLost);
        assert_eq!(rig.bytes(id).await, before);
    }
}

pub(crate) async fn a_settle_between_rescue_and_the_next_claim_is_refused(rig: &mut Rig) {
    let (_, stale) = rig.running(job()).await;
    let id = id_of(&stale);
    rig.clock.advance(LEASE * 2);
    rig.rescue().await;
    let before = rig.bytes(id).await;
    assert_eq!(rig.settle(stale, complete()).await, Settled::LeaseLost);
    assert_eq!(rig.bytes(id).await, before);
}

pub(crate) async fn stale_progress_is_refused_and_changes_no_byte(rig: &mut Rig) {
    let (stale, live) = zombie(rig).await;
    let told = Progress { percent: 50, note: "half".into() };
    assert!(rig.store.progress(token_of(&live), told.clone()).await.expect("progress"));
    let (before, refusals) = (rig.bytes(id_of(&live)).await, rig.refusals().await);
    let lie = Progress { percent: 99, note: "almost".into() };
    assert!(!rig.store.progress(token_of(&stale), lie).await.expect("progress"));
    assert_eq!(rig.bytes(id_of(&live)).await, before);
    assert_eq!(rig.get(id_of(&live)).await.progress, Some(told));
    assert_eq!(rig.refusals().await, refusals + 1);
}

pub(crate) async fn a_stale_log_line_is_refused_and_changes_no_byte(rig: &mut Rig) {
    let (stale, live) = zombie(rig).await;
    assert!(rig.store.log(token_of(&live), vec!["mine".into()]).await.expect("log"));
    let (before, refusals) = (rig.bytes(id_of(&live)).await, rig.refusals().await);
    assert!(!rig.store.log(token_of(&stale), vec!["not mine".into()]).await.expect("log"));
    assert_eq!(rig.bytes(id_of(&live)).await, before);
    assert_eq!(rig.refusals().await, refusals + 1);
}

pub(crate) async fn the_same_settlement_again_is_refused(rig: &mut Rig) {
    for verdict in verdicts(rig) {
        let (worker, claimed) = rig.running(job()).await;
        let id = id_of(&claimed);
        let batch = batch(claimed, verdict);
        let first = rig.store.settle(Arc::clone(&batch)).await.expect("settle");
        assert!(matches!(first[..], [Settled::Accepted(_)]), "{first:?}");
        let (before, counts) = (rig.bytes(id).await, rig.counts(&work()).await);
        assert_eq!(rig.store.settle(batch).await.expect("settle"), [Settled::LeaseLost]);
        assert_eq!((rig.bytes(id).await, rig.counts(&work()).await), (before, counts));
        rig.store.purge(&work(), 100).await.expect("purge");
        rig.store.sign_off(worker).await.expect("sign off");
    }
}

pub(crate) async fn the_own_lease_of_an_earlier_attempt_is_stale_too(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    let (id, old) = (id_of(&claimed), token_of(&claimed));
    rig.settle(claimed, fail_for(MS)).await;
    rig.clock.advance(MS);
    rig.promote().await;
    let again = rig.claim_one(worker).await;
    let before = rig.bytes(id).await;
    let told = Progress { percent: 1, note: String::new() };
    assert!(!rig.store.progress(old, told).await.expect("progress"));
    assert!(!rig.store.log(old, vec!["old".into()]).await.expect("log"));
    assert_eq!(rig.bytes(id).await, before);
    rig.settle(again, complete()).await;
}

pub(crate) async fn a_job_its_own_worker_has_claimed_again_refuses_the_overrun_attempt(rig: &mut Rig) {
    let mut spec = job();
    spec.timeout = MS;
    for verdict in verdicts(rig) {
        let (worker, overrun) = rig.running(spec.clone()).await;
        let id = id_of(&overrun);
        while rig.rescue().await.to_ready == 0 {
            rig.clock.advance(LEASE / 2);
            rig.beat(worker).await.expect("beat");
        }
        let again = rig.claim_one(worker).await;
        assert_eq!(id_of(&again), id);
        let before = rig.bytes(id).await;
        assert_eq!(rig.settle(overrun, verdict).await, Settled::LeaseLost, "the holder is right, the epoch is not");
        assert_eq!(rig.bytes(id).await, before);
        rig.settle(again, complete()).await;
        rig.store.sign_off(worker).await.expect("sign off");
    }
}

pub(crate) async fn a_dead_worker_settles_nothing_though_its_job_waits_for_the_next_round(rig: &mut Rig) {
    for _ in 0..2 {
        rig.put(job()).await;
    }
    let worker = rig.worker().await;
    let held = rig.claim(worker, 2).await;
    rig.clock.advance(LEASE * 2);
    assert!(rig.store.rescue(1).await.expect("rescue").more);
    for stale in held {
        let id = id_of(&stale);
        let (before, told) = (rig.bytes(id).await, Progress { percent: 1, note: String::new() });
        assert!(!rig.store.progress(token_of(&stale), told).await.expect("progress"));
        assert!(!rig.store.log(token_of(&stale), vec!["late".into()]).await.expect("log"));
        assert_eq!(rig.settle(stale, complete()).await, Settled::LeaseLost);
        assert_eq!(rig.bytes(id).await, before);
    }
    assert_eq!(rig.rescue().await.to_ready, 1);
}

pub(crate) async fn in_a_mixed_batch_the_good_are_settled_and_the_stale_refused_in_order(rig: &mut Rig) {
    let (stale, live) = zombie(rig).await;
    let zombie = id_of(&live);
    let third = rig.put(job()).await;
    let other = rig.claim_one(live.lease.token().holder).await;
    let before = rig.bytes(zombie).await;
    let batch: Arc<[Settlement]> = [
        Settlement { lease: stale.lease, verdict: complete() },
        Settlement { lease: other.lease, verdict: complete() },
    ]
    .into();
    let answers = rig.store.settle(batch).await.expect("settle");
    assert_eq!(answers, [Settled::LeaseLost, Settled::Accepted(JobState::Completed)]);
    assert_eq!((rig.bytes(zombie).await, rig.state(third).await), (before, JobState::Completed));
}

pub(crate) async fn a_deleted_jobs_lease_is_stale(rig: &mut Rig) {
    let (stale, live) = zombie(rig).await;
    let id = id_of(&live);
    rig.settle(live, complete()).await;
    rig.store.delete(id).await.expect("delete");
    assert_eq!(rig.settle(stale, complete()).await, Settled::LeaseLost);
    assert!(rig.store.get(id).await.expect("get").is_none());
}

pub(crate) async fn a_revived_job_refuses_its_first_holder(rig: &mut Rig) {
    let (_, stale) = rig.running(job()).await;
    let id = id_of(&stale);
    for _ in 0..2 {
        rig.clock.advance(LEASE * 2);
        rig.rescue().await;
        let next = rig.worker().await;
        rig.claim_one(next).await;
    }
    rig.clock.advance(LEASE * 2);
    rig.rescue().await;
    assert_eq!(rig.get(id).await.dead_reason, Some(DeadReason::Crashed));
    rig.store.retry(id).await.expect("retry");
    rig.clock.advance(Duration::from_secs(1));
    let before = rig.bytes(id).await;
    assert_eq!(rig.settle(stale, complete()).await, Settled::LeaseLost);
    assert_eq!(rig.bytes(id).await, before, "epochs are not counted from zero again");
    let next = rig.worker().await;
    assert_eq!(rig.claim_one(next).await.lease.token().epoch, 4);
}
