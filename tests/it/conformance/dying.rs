//! Leases and those who lose them: beats, deaths, rescues, crashes, deadlines, clean stops.

use std::time::Duration;

use tidemill::job::{DeadReason, JobState};
use tidemill::store::{Rescued, Settled, StoreError};

use super::rig::{LEASE, MS, Rig, complete, id_of, job, work};

pub(crate) async fn beats_keep_a_lease_for_ever(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    for _ in 0..30 {
        rig.clock.advance(LEASE - MS);
        assert_eq!(rig.rescue().await, Rescued::default());
        let reply = rig.beat(worker).await.expect("beat");
        assert_eq!(reply.store_now, rig.clock.now());
    }
    assert_eq!(rig.settle(claimed, complete()).await, Settled::Accepted(JobState::Completed));
}

pub(crate) async fn without_a_beat_a_job_is_rescued_after_the_lease_and_not_before(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    rig.clock.advance(LEASE - MS);
    assert_eq!(rig.rescue().await, Rescued::default());
    rig.beat(worker).await.expect("beat");
    rig.clock.advance(LEASE - MS);
    assert_eq!(rig.rescue().await, Rescued::default(), "the beat counted");
    rig.clock.advance(MS * 2);
    let rescued = rig.rescue().await;
    assert_eq!((rescued.dead_workers, rescued.to_ready, rescued.to_dead), (1, 1, 0));
    let kept = rig.get(id_of(&claimed)).await;
    assert_eq!((kept.state, kept.attempt, kept.crashes), (JobState::Ready, 0, 1), "a crash is not an attempt");
    assert_eq!(kept.failures.len(), 1, "it is told what happened");
    assert_eq!(rig.rescue().await, Rescued::default(), "once");
}

pub(crate) async fn a_late_beat_counts_while_nobody_has_noticed(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    rig.clock.advance(LEASE * 3);
    rig.beat(worker).await.expect("its jobs are still its own");
    assert_eq!(rig.rescue().await, Rescued::default());
    assert_eq!(rig.settle(claimed, complete()).await, Settled::Accepted(JobState::Completed));
}

pub(crate) async fn an_incarnation_declared_dead_never_beats_again(rig: &mut Rig) {
    let worker = rig.worker().await;
    rig.clock.advance(LEASE + MS);
    assert_eq!(rig.rescue().await.dead_workers, 1);
    for refusals in 1..=2 {
        let beat = rig.beat(worker).await;
        assert!(matches!(beat, Err(StoreError::DeadIncarnation(who)) if who == worker), "{beat:?}");
        assert_eq!(rig.refusals().await, refusals, "it is counted");
        rig.reopen().await;
    }
}

pub(crate) async fn one_worker_dies_and_its_neighbour_keeps_its_jobs(rig: &mut Rig) {
    let (dying, lost) = rig.running(job()).await;
    let (living, kept) = rig.running(job()).await;
    rig.clock.advance(LEASE - MS);
    rig.beat(living).await.expect("beat");
    rig.clock.advance(MS * 2);
    let rescued = rig.rescue().await;
    assert_eq!((rescued.dead_workers, rescued.to_ready), (1, 1));
    assert_eq!(rig.state(id_of(&lost)).await, JobState::Ready);
    assert!(rig.beat(dying).await.is_err());
    assert_eq!(rig.settle(kept, complete()).await, Settled::Accepted(JobState::Completed));
}

pub(crate) async fn a_rescue_is_bounded_and_says_when_there_is_more(rig: &mut Rig) {
    for _ in 0..25 {
        rig.put(job()).await;
    }
    let worker = rig.worker().await;
    assert_eq!(rig.claim(worker, 25).await.len(), 25);
    rig.clock.advance(LEASE + MS);
    let mut rounds = Vec::new();
    loop {
        let rescued = rig.store.rescue(10).await.expect("rescue");
        assert!(rescued.to_ready <= 10, "{rescued:?}");
        rounds.push(rescued.to_ready);
        if !rescued.more {
            break;
        }
    }
    assert_eq!(rounds.iter().sum::<u32>(), 25, "{rounds:?}");
    assert!(rounds.len() >= 3);
    assert_eq!(rig.counts(&work()).await.ready, 25);
}

pub(crate) async fn the_third_crash_is_the_end(rig: &mut Rig) {
    let id = rig.put(job()).await;
    for crash in 1..=3 {
        let worker = rig.worker().await;
        let claimed = rig.claim_one(worker).await;
        assert_eq!((claimed.attempt, claimed.crashes), (1, crash - 1), "counted apart from attempts");
        rig.clock.advance(LEASE * 2);
        let rescued = rig.rescue().await;
        assert_eq!((rescued.to_ready, rescued.to_dead), if crash < 3 { (1, 0) } else { (0, 1) });
    }
    let kept = rig.get(id).await;
    assert_eq!((kept.state, kept.dead_reason, kept.crashes), (JobState::Dead, Some(DeadReason::Crashed), 3));
    assert_eq!(kept.finished_at, Some(rig.clock.now()));
}

pub(crate) async fn a_failed_attempt_does_not_count_as_crash(rig: &mut Rig) {
    let id = rig.put(job()).await;
    let worker = rig.worker().await;
    for attempt in 1..=5 {
        let claimed = rig.claim_one(worker).await;
        assert_eq!((claimed.attempt, claimed.crashes), (attempt, 0));
        rig.settle(claimed, super::rig::fail_for(MS)).await;
        rig.clock.advance(MS);
        rig.promote().await;
    }
    assert_eq!(rig.get(id).await.crashes, 0);
}

pub(crate) async fn a_job_past_its_deadline_is_taken_from_a_living_worker(rig: &mut Rig) {
    let mut spec = job();
    spec.timeout = Duration::from_secs(60);
    let (worker, claimed) = rig.running(spec).await;
    let (id, claimed_at) = (id_of(&claimed), rig.clock.now());
    while rig.clock.now().since(claimed_at) < Duration::from_secs(60) {
        assert_eq!(rig.rescue().await, Rescued::default(), "within its timeout it is left alone");
        rig.clock.advance(LEASE / 2);
        rig.beat(worker).await.expect("beat");
    }
    let mut rescued = Rescued::default();
    while rescued.to_ready == 0 {
        assert!(rig.clock.now().since(claimed_at) < Duration::from_secs(360), "it blocks its worker for ever");
        rig.clock.advance(LEASE / 2);
        rig.beat(worker).await.expect("its holder lives");
        rescued = rig.rescue().await;
    }
    assert_eq!(rescued.dead_workers, 0);
    let kept = rig.get(id).await;
    assert_eq!((kept.state, kept.crashes, kept.holder), (JobState::Ready, 1, None));
    assert_eq!(rig.settle(claimed, complete()).await, Settled::LeaseLost, "alive, but no longer its holder");
}

pub(crate) async fn a_clean_stop_gives_its_jobs_back_at_once_and_uncharged(rig: &mut Rig) {
    let (worker, first) = rig.running(job()).await;
    rig.put(job()).await;
    let second = rig.claim_one(worker).await;
    let done = rig.store.sign_off(worker).await.expect("sign off");
    assert_eq!((done.to_ready, done.to_dead), (2, 0));
    for claimed in [&first, &second] {
        let kept = rig.get(id_of(claimed)).await;
        assert_eq!((kept.state, kept.attempt, kept.crashes), (JobState::Ready, 0, 0));
        assert!(kept.failures.is_empty());
    }
    assert_eq!(rig.settle(first, complete()).await, Settled::LeaseLost);
    assert!(matches!(rig.beat(worker).await, Err(StoreError::DeadIncarnation(_))), "gone for good");
    rig.clock.advance(LEASE * 2);
    assert_eq!(rig.rescue().await.dead_workers, 0, "it did not die, it left");
}

pub(crate) async fn the_dead_can_not_sign_off(rig: &mut Rig) {
    for _ in 0..2 {
        rig.put(job()).await;
    }
    let worker = rig.worker().await;
    assert_eq!(rig.claim(worker, 2).await.len(), 2);
    rig.clock.advance(LEASE * 2);
    let first = rig.store.rescue(1).await.expect("rescue");
    assert_eq!((first.dead_workers, first.to_ready, first.more), (1, 1, true));
    assert_eq!(rig.store.sign_off(worker).await.expect("nothing to end"), Rescued::default());
    assert_eq!(rig.store.rescue(10).await.expect("rescue").to_ready, 1, "what it held is still rescued, and charged");
    assert!(rig.list(tidemill::store::ListQuery::default()).await.iter().all(|j| j.crashes == 1));
}

pub(crate) async fn a_worker_is_shown_while_it_lives(rig: &mut Rig) {
    let worker = rig.worker().await;
    let beaten = rig.clock.now();
    rig.clock.advance(MS * 5);
    let mut late = tidemill::store::Beat {
        incarnation: worker,
        label: "host-2:7".into(),
        queues: vec![work(), super::rig::named("other")],
        running: 3,
        lease: LEASE,
        worker_now: rig.clock.now().after(Duration::from_secs(2)),
    };
    rig.store.heartbeat(late.clone()).await.expect("beat");
    let shown = rig.store.workers().await.expect("workers");
    let [record] = &shown[..] else { panic!("one worker: {shown:?}") };
    assert_eq!((record.id, &*record.label, record.running), (worker, "host-2:7", 3));
    assert_eq!(record.queues, late.queues);
    assert_eq!((record.started_at, record.last_beat_at), (beaten, rig.clock.now()));
    assert_eq!(record.lease_until, rig.clock.now().after(LEASE));
    assert_eq!((record.clock_skew_ms, record.draining), (2_000, false));
    late.worker_now = rig.clock.now().before(Duration::from_secs(3));
    rig.store.heartbeat(late).await.expect("beat");
    assert_eq!(rig.store.workers().await.expect("workers")[0].clock_skew_ms, -3_000);
    rig.clock.advance(LEASE + MS);
    rig.rescue().await;
    assert!(rig.store.workers().await.expect("workers").is_empty());
}

pub(crate) async fn a_worker_that_shall_drain_is_told_with_its_next_beat(rig: &mut Rig) {
    let (one, other) = (rig.worker().await, rig.worker().await);
    assert!(!rig.beat(one).await.expect("beat").drain);
    rig.store.drain_worker(one).await.expect("drain");
    assert!(rig.beat(one).await.expect("beat").drain);
    assert!(rig.beat(one).await.expect("beat").drain, "until it is gone");
    assert!(!rig.beat(other).await.expect("beat").drain);
    let draining: Vec<_> = rig.store.workers().await.expect("workers").into_iter().filter(|w| w.draining).collect();
    assert_eq!(draining.iter().map(|w| w.id).collect::<Vec<_>>(), [one]);
}
