//! Scheduled jobs become ready when they are due: not before, earliest first, in bounded rounds.

use std::pin::pin;
use std::time::Duration;

use tidemill::job::JobState;
use tidemill::store::{Promoted, Verdict};
use tokio::time::timeout;

use super::rig::{MS, PATIENCE, Rig, complete, fail_for, id_of, job, named, settings};

pub(crate) async fn only_what_is_due_is_promoted(rig: &mut Rig) {
    let start = rig.clock.now();
    let (soon, late) = (rig.put(job().after(MS * 10)).await, rig.put(job().after(MS * 20)).await);
    let none = rig.store.promote(100).await.expect("promote");
    assert_eq!(none, Promoted { promoted: 0, next_due: Some(start.after(MS * 10)), more: false });
    rig.clock.advance(MS * 9);
    assert_eq!(rig.promote().await, 0, "a millisecond early");
    rig.clock.advance(MS);
    let one = rig.store.promote(100).await.expect("promote");
    assert_eq!(one, Promoted { promoted: 1, next_due: Some(start.after(MS * 20)), more: false });
    assert_eq!((rig.state(soon).await, rig.state(late).await), (JobState::Ready, JobState::Scheduled));
    rig.clock.advance(MS * 10);
    let last = rig.store.promote(100).await.expect("promote");
    assert_eq!(last, Promoted { promoted: 1, next_due: None, more: false });
}

pub(crate) async fn a_round_is_bounded_takes_the_earliest_and_says_when_there_is_more(rig: &mut Rig) {
    let mut jobs = Vec::new();
    for n in [7, 3, 9, 1, 5, 2, 8, 4, 6, 10] {
        jobs.push((n, rig.put(job().after(MS * n)).await));
    }
    jobs.sort_unstable();
    rig.clock.advance(MS * 10);
    let first = rig.store.promote(4).await.expect("promote");
    assert_eq!((first.promoted, first.more), (4, true));
    for (n, id) in &jobs {
        let expected = if *n <= 4 { JobState::Ready } else { JobState::Scheduled };
        assert_eq!(rig.state(*id).await, expected, "the one due after {n} ms");
    }
    assert_eq!(rig.store.promote(4).await.expect("promote").promoted, 4);
    let last = rig.store.promote(4).await.expect("promote");
    assert_eq!((last.promoted, last.more, last.next_due), (2, false, None));
}

pub(crate) async fn promoted_jobs_are_handed_out_in_the_order_they_were_due(rig: &mut Rig) {
    let mut jobs = Vec::new();
    for n in [3, 1, 2] {
        jobs.push((n, rig.put(job().after(MS * n)).await));
    }
    jobs.sort_unstable();
    rig.clock.advance(MS * 10);
    rig.promote().await;
    let worker = rig.worker().await;
    let claimed: Vec<_> = rig.claim(worker, 10).await.iter().map(id_of).collect();
    assert_eq!(claimed, jobs.iter().map(|(_, id)| *id).collect::<Vec<_>>());
}

pub(crate) async fn all_queues_are_promoted(rig: &mut Rig) {
    rig.store.declare_queues(vec![settings("a"), settings("b")]).await.expect("declare");
    let a = rig.put(job().on(named("a")).after(MS)).await;
    let b = rig.put(job().on(named("b")).after(MS * 2)).await;
    rig.store.pause(&named("a")).await.expect("pause");
    rig.clock.advance(MS * 2);
    assert_eq!(rig.promote().await, 2, "a pause stops claims, not the clock");
    assert_eq!((rig.state(a).await, rig.state(b).await), (JobState::Ready, JobState::Ready));
}

pub(crate) async fn a_restart_forgets_no_due_time(rig: &mut Rig) {
    let id = rig.put(job().after(MS * 50)).await;
    rig.reopen().await;
    let due = rig.clock.now().after(MS * 50);
    assert_eq!(rig.store.promote(10).await.expect("promote").next_due, Some(due));
    rig.clock.advance(MS * 50);
    assert_eq!(rig.promote().await, 1);
    assert_eq!(rig.state(id).await, JobState::Ready);
}

pub(crate) async fn the_signal_rings_for_a_new_delayed_job(rig: &mut Rig) {
    assert_eq!(rig.store.promote(10).await.expect("promote").next_due, None);
    let signal = rig.store.due_signal();
    let mut rung = pin!(signal.notified());
    rung.as_mut().enable();
    rig.put(job().after(MS * 5)).await;
    timeout(PATIENCE, rung).await.expect("an enqueue rings");
}

pub(crate) async fn the_signal_rings_for_an_earlier_job_than_the_next(rig: &mut Rig) {
    rig.put(job().after(Duration::from_secs(3600))).await;
    rig.promote().await;
    let signal = rig.store.due_signal();
    let mut rung = pin!(signal.notified());
    rung.as_mut().enable();
    rig.put(job().after(MS)).await;
    timeout(PATIENCE, rung).await.expect("it rings");
}

pub(crate) async fn the_signal_rings_for_a_retry_a_snooze_and_a_delayed_child(rig: &mut Rig) {
    let delayed = rig.new_job(job().after(MS));
    let verdicts = [
        fail_for(MS),
        Verdict::Snooze { reason: "later".into(), delay: MS },
        Verdict::Complete { result: None, children: vec![delayed] },
    ];
    for verdict in verdicts {
        let (worker, claimed) = rig.running(job()).await;
        rig.promote().await;
        let signal = rig.store.due_signal();
        let mut rung = pin!(signal.notified());
        rung.as_mut().enable();
        rig.settle(claimed, verdict.clone()).await;
        timeout(PATIENCE, rung).await.unwrap_or_else(|_| panic!("{verdict:?} rings"));
        rig.clock.advance(MS);
        rig.promote().await;
        let again = rig.claim_one(worker).await;
        rig.settle(again, complete()).await;
    }
}
