//! Schedules: each due time decided once in the whole cluster, with the declared overlap, and a history that tells.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidemill::clock::Timestamp;
use tidemill::job::{JobId, JobState};
use tidemill::store::{
    Fired, Overlap, ScheduleChange, ScheduleDeclaration, ScheduleRecord, Store, StoreError, Tick, Ticked,
};

use super::rig::{MS, Rig, complete, fail_for, id_of, job};

const HOUR: Duration = Duration::from_secs(3600);

async fn declare(rig: &Rig) -> Timestamp {
    let declared = ScheduleDeclaration { name: "poll".into(), declared: json!({ "every_ms": 3_600_000 }) };
    rig.store.declare_schedules(vec![declared]).await.expect("declare");
    rig.clock.now()
}

fn tick(rig: &Rig, due: Timestamp, overlap: Overlap) -> Tick {
    let job = rig.new_job(job().by("schedule:poll"));
    Tick { schedule: "poll".into(), due, job, overlap, manual: false }
}

async fn fire(rig: &Rig, due: Timestamp, overlap: Overlap) -> Ticked {
    rig.store.tick(tick(rig, due, overlap)).await.expect("tick")
}

async fn fired(rig: &Rig, due: Timestamp, overlap: Overlap) -> JobId {
    match fire(rig, due, overlap).await {
        Ticked::Enqueued(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn record(rig: &Rig) -> ScheduleRecord {
    let schedules = rig.store.schedules().await.expect("schedules");
    schedules.into_iter().find(|s| &*s.name == "poll").expect("declared")
}

async fn history(rig: &Rig) -> Vec<Fired> {
    rig.store.schedule_history("poll").await.expect("history").into_iter().map(|e| e.what).collect()
}

async fn finish_the_one_ready_job(rig: &Rig) {
    let worker = rig.worker().await;
    let claimed = rig.claim_one(worker).await;
    rig.settle(claimed, complete()).await;
}

pub(crate) async fn a_new_schedule_starts_at_now_and_a_known_one_keeps_its_place(rig: &mut Rig) {
    let start = declare(rig).await;
    let kept = record(rig).await;
    assert_eq!((kept.cursor, kept.paused, kept.last_job), (start, false, None));
    fired(rig, start.after(HOUR), Overlap::Skip).await;
    let instead = Some(json!({ "every_ms": 1 }));
    for change in [ScheduleChange::Override(instead.clone()), ScheduleChange::Pause] {
        rig.store.change_schedule("poll", change, "ops").await.expect("change");
    }
    rig.clock.advance(HOUR * 5);
    rig.reopen().await;
    let declared = ScheduleDeclaration { name: "poll".into(), declared: json!("new text") };
    rig.store.declare_schedules(vec![declared]).await.expect("declare");
    let kept = record(rig).await;
    assert_eq!((kept.cursor, kept.paused), (start.after(HOUR), true));
    assert_eq!((kept.declared, kept.overridden), (json!("new text"), instead));
    rig.store.change_schedule("poll", ScheduleChange::Override(None), "ops").await.expect("change");
    assert_eq!(record(rig).await.overridden, None);
}

pub(crate) async fn a_due_time_is_enqueued_once(rig: &mut Rig) {
    let due = declare(rig).await.after(HOUR);
    rig.clock.advance(HOUR);
    let id = fired(rig, due, Overlap::Allow).await;
    assert_eq!(rig.state(id).await, JobState::Ready);
    let kept = record(rig).await;
    assert_eq!((kept.cursor, kept.last_job, kept.last_due), (due, Some(id), Some(due)));
    for again in [due, due.before(MS), due.before(HOUR)] {
        assert_eq!(fire(rig, again, Overlap::Allow).await, Ticked::AlreadyDecided);
    }
    rig.reopen().await;
    assert_eq!(fire(rig, due, Overlap::Allow).await, Ticked::AlreadyDecided);
    assert_eq!(history(rig).await, [Fired::Enqueued]);
}

pub(crate) async fn two_nodes_that_tick_at_once_enqueue_once(rig: &mut Rig) {
    let start = declare(rig).await;
    let other = rig.another_handle().await;
    for hour in 1..=20 {
        let due = start.after(HOUR * hour);
        let here = tick(rig, due, Overlap::Allow);
        let there = tick(rig, due, Overlap::Allow);
        let (a, b) = tokio::join!(rig.store.tick(here), other.tick(there));
        let (a, b) = (a.expect("tick"), b.expect("tick"));
        let once = matches!((a, b), (Ticked::Enqueued(_), Ticked::AlreadyDecided))
            || matches!((a, b), (Ticked::AlreadyDecided, Ticked::Enqueued(_)));
        assert!(once, "{a:?} and {b:?}");
    }
    assert_eq!(rig.counts(&super::rig::work()).await.ready, 20);
}

pub(crate) async fn a_job_of_a_tick_may_carry_jitter(rig: &mut Rig) {
    let due = declare(rig).await.after(HOUR);
    rig.clock.advance(HOUR);
    let mut tick = tick(rig, due, Overlap::Skip);
    tick.job = rig.new_job(job().at(due.after(MS * 30)));
    let Ticked::Enqueued(id) = rig.store.tick(tick).await.expect("tick") else { panic!("enqueued") };
    assert_eq!(rig.get(id).await.run_at, due.after(MS * 30));
    assert_eq!(rig.state(id).await, JobState::Scheduled);
    assert_eq!(fire(rig, due.after(HOUR), Overlap::Skip).await, Ticked::SkippedOverlap(id), "it lives already");
}

pub(crate) async fn with_skip_a_due_time_is_left_out_while_the_last_job_lives(rig: &mut Rig) {
    let start = declare(rig).await;
    let due = |hours| start.after(HOUR * hours);
    let first = fired(rig, due(1), Overlap::Skip).await;
    assert_eq!(fire(rig, due(2), Overlap::Skip).await, Ticked::SkippedOverlap(first), "while ready");
    let worker = rig.worker().await;
    let claimed = rig.claim_one(worker).await;
    assert_eq!(fire(rig, due(3), Overlap::Skip).await, Ticked::SkippedOverlap(first), "while running");
    rig.settle(claimed, fail_for(MS)).await;
    assert_eq!(fire(rig, due(4), Overlap::Skip).await, Ticked::SkippedOverlap(first), "while it waits to try again");
    assert_eq!(fire(rig, due(4), Overlap::Skip).await, Ticked::AlreadyDecided, "the cursor has moved");
    rig.clock.advance(MS);
    rig.promote().await;
    let claimed = rig.claim_one(worker).await;
    rig.settle(claimed, complete()).await;
    fired(rig, due(5), Overlap::Skip).await;
    use Fired::{Enqueued, SkippedOverlap};
    assert_eq!(history(rig).await, [Enqueued, SkippedOverlap, SkippedOverlap, SkippedOverlap, Enqueued]);
}

pub(crate) async fn with_allow_jobs_of_one_schedule_overlap(rig: &mut Rig) {
    let start = declare(rig).await;
    for hour in 1..=3 {
        fired(rig, start.after(HOUR * hour), Overlap::Allow).await;
    }
    assert_eq!(rig.counts(&super::rig::work()).await.ready, 3);
}

pub(crate) async fn with_queue_one_the_newest_waits_until_the_last_job_ends(rig: &mut Rig) {
    let start = declare(rig).await;
    let due = |hours| start.after(HOUR * hours);
    fired(rig, due(1), Overlap::QueueOne).await;
    assert_eq!(fire(rig, due(2), Overlap::QueueOne).await, Ticked::Held);
    assert_eq!(fire(rig, due(3), Overlap::QueueOne).await, Ticked::Held);
    let kept = record(rig).await;
    assert_eq!((kept.held_due, kept.cursor, kept.last_due), (Some(due(3)), due(3), Some(due(1))));
    assert_eq!(fire(rig, due(3), Overlap::QueueOne).await, Ticked::Held, "still held");
    finish_the_one_ready_job(rig).await;
    assert_eq!(fire(rig, due(2), Overlap::QueueOne).await, Ticked::AlreadyDecided, "only the newest");
    fired(rig, due(3), Overlap::QueueOne).await;
    let kept = record(rig).await;
    assert_eq!((kept.held_due, kept.cursor, kept.last_due), (None, due(3), Some(due(3))));
    assert_eq!(fire(rig, due(3), Overlap::QueueOne).await, Ticked::AlreadyDecided, "once");
}

pub(crate) async fn two_nodes_release_a_held_due_time_once(rig: &mut Rig) {
    let start = declare(rig).await;
    let other: Arc<dyn Store> = rig.another_handle().await;
    fired(rig, start.after(HOUR), Overlap::QueueOne).await;
    let due = start.after(HOUR * 2);
    assert_eq!(fire(rig, due, Overlap::QueueOne).await, Ticked::Held);
    finish_the_one_ready_job(rig).await;
    let (here, there) = (tick(rig, due, Overlap::QueueOne), tick(rig, due, Overlap::QueueOne));
    let (a, b) = tokio::join!(rig.store.tick(here), other.tick(there));
    let enqueued = [a.expect("tick"), b.expect("tick")].iter().filter(|t| matches!(t, Ticked::Enqueued(_))).count();
    assert_eq!(enqueued, 1);
}

pub(crate) async fn a_paused_schedule_does_not_fire_and_resumes_from_now(rig: &mut Rig) {
    let start = declare(rig).await;
    let change = |c| rig.store.change_schedule("poll", c, "ops");
    change(ScheduleChange::Pause).await.expect("pause");
    assert!(record(rig).await.paused);
    assert_eq!(fire(rig, start.after(HOUR), Overlap::Skip).await, Ticked::Paused);
    rig.clock.advance(HOUR * 5);
    change(ScheduleChange::Resume).await.expect("resume");
    let kept = record(rig).await;
    assert_eq!((kept.paused, kept.cursor), (false, rig.clock.now()), "a pause is not made up for");
    assert_eq!(fire(rig, start.after(HOUR * 4), Overlap::Skip).await, Ticked::AlreadyDecided);
    fired(rig, start.after(HOUR * 6), Overlap::Skip).await;
    assert_eq!(history(rig).await, [Fired::Enqueued, Fired::Changed, Fired::Changed]);
}

pub(crate) async fn run_by_hand_leaves_the_cursor_and_minds_no_overlap(rig: &mut Rig) {
    let start = declare(rig).await;
    fired(rig, start.after(HOUR), Overlap::Skip).await;
    for paused in [false, true] {
        if paused {
            rig.store.change_schedule("poll", ScheduleChange::Pause, "ops").await.expect("pause");
        }
        let by_hand = Tick { manual: true, ..tick(rig, rig.clock.now(), Overlap::Skip) };
        let done = rig.store.tick(by_hand).await.expect("tick");
        assert!(matches!(done, Ticked::Enqueued(_)), "paused: {paused}: {done:?}");
        assert_eq!(record(rig).await.cursor, start.after(HOUR));
        assert_eq!(history(rig).await[0], Fired::RunByHand);
        rig.clock.advance(MS);
    }
}

pub(crate) async fn due_times_left_out_after_downtime_are_on_record(rig: &mut Rig) {
    let start = declare(rig).await;
    rig.clock.advance(HOUR * 9);
    let skip = ScheduleChange::SkipTo { from: start, cursor: start.after(HOUR * 8), missed: 8 };
    assert!(rig.store.change_schedule("poll", skip.clone(), "catch-up: skip").await.expect("skip"));
    assert_eq!(record(rig).await.cursor, start.after(HOUR * 8));
    assert_eq!(fire(rig, start.after(HOUR * 8), Overlap::Skip).await, Ticked::AlreadyDecided);
    let entries = rig.store.schedule_history("poll").await.expect("history");
    assert_eq!(entries[0].what, Fired::Missed);
    assert!(entries[0].note.contains('8'), "how many: {}", entries[0].note);
    assert!(!rig.store.change_schedule("poll", skip, "another node").await.expect("skip"), "it was seen elsewhere");
    let back = ScheduleChange::SkipTo { from: start.after(HOUR * 8), cursor: start, missed: 0 };
    assert!(!rig.store.change_schedule("poll", back, "wrong").await.expect("skip"));
    assert_eq!(history(rig).await, [Fired::Missed], "what changed nothing is not on record");
    assert_eq!(record(rig).await.cursor, start.after(HOUR * 8), "a cursor never goes back");
}

pub(crate) async fn history_is_newest_first_bounded_and_tells_all(rig: &mut Rig) {
    let start = declare(rig).await;
    let mut last = None;
    for hour in 1..=130 {
        last = Some((start.after(HOUR * hour), fired(rig, start.after(HOUR * hour), Overlap::Allow).await));
    }
    let entries = rig.store.schedule_history("poll").await.expect("history");
    assert_eq!(entries.len(), 100);
    let (due, id) = last.expect("one");
    let newest = &entries[0];
    assert_eq!((&newest.what, newest.due, newest.job), (&Fired::Enqueued, Some(due), Some(id)));
    assert_eq!((newest.at, entries[99].due), (rig.clock.now(), Some(start.after(HOUR * 31))));
    rig.store.change_schedule("poll", ScheduleChange::Pause, "api:key_7").await.expect("pause");
    let entries = rig.store.schedule_history("poll").await.expect("history");
    assert!(entries[0].what == Fired::Changed && entries[0].note.contains("api:key_7"), "{:?}", entries[0]);
}

pub(crate) async fn a_tick_whose_job_can_not_be_kept_decides_nothing(rig: &mut Rig) {
    let start = declare(rig).await;
    let mut bad = tick(rig, start.after(HOUR), Overlap::Skip);
    bad.job = rig.new_job(job().on(super::rig::named("nowhere")));
    assert!(matches!(rig.store.tick(bad).await, Err(StoreError::NoSuchQueue(_))));
    assert_eq!(record(rig).await.cursor, start);
    assert!(history(rig).await.is_empty());
    fired(rig, start.after(HOUR), Overlap::Skip).await;
}

pub(crate) async fn an_unknown_schedule_is_named(rig: &mut Rig) {
    let unknown = |e: Option<StoreError>| matches!(e, Some(StoreError::NoSuchSchedule(name)) if name == "poll");
    assert!(unknown(rig.store.tick(tick(rig, rig.clock.now(), Overlap::Skip)).await.err()));
    assert!(unknown(rig.store.change_schedule("poll", ScheduleChange::Pause, "ops").await.err()));
    assert!(unknown(rig.store.schedule_history("poll").await.err()));
}

pub(crate) async fn a_schedules_job_wakes_a_worker_like_any_other(rig: &mut Rig) {
    let start = declare(rig).await;
    let worker = rig.worker().await;
    let queue = super::rig::work();
    let claim = rig.store.claim(&queue, worker, 1, super::rig::PATIENCE);
    let (claimed, id) = tokio::join!(claim, fired(rig, start.after(HOUR), Overlap::Skip));
    assert_eq!(claimed.expect("claim").iter().map(id_of).collect::<Vec<_>>(), [id]);
}
