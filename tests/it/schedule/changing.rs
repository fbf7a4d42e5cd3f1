//! What operators and new versions of the code do to a schedule while it runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidemill::clock::Timestamp;
use tidemill::job::JobState;
use tidemill::schedule::{CatchUp, Plan, ScheduleError};
use tidemill::store::{Fired, Overlap, ScheduleChange, Ticked};

use super::rig::{HOUR, declared, dues, fired, history, hourly, node, record, rounds};
use crate::conformance::rig::{START, sqlite};

fn hours(n: u32) -> Timestamp {
    START.after(HOUR * n)
}

#[tokio::test]
async fn a_paused_schedule_does_not_fire_and_a_resumed_one_goes_on_from_now() {
    let rig = sqlite().await;
    let scheduler = declared(&rig, hourly().catch_up(CatchUp::All { within: HOUR * 48 })).await;
    rig.store.change_schedule("poll", ScheduleChange::Pause, "ops").await.unwrap();
    rig.clock.set(hours(5));
    let report = scheduler.run_once().await.unwrap();
    assert_eq!((report.enqueued, report.missed, report.next_due), (0, 0, None));
    rig.store.change_schedule("poll", ScheduleChange::Resume, "ops").await.unwrap();
    assert_eq!(rounds(&scheduler).await.enqueued, 0, "a pause is not made up for");
    rig.clock.set(hours(6));
    assert_eq!(rounds(&scheduler).await.enqueued, 1);
    assert_eq!(dues(&rig).await, [hours(6)]);
    assert_eq!(fired(&rig).await, [Fired::Enqueued, Fired::Changed, Fired::Changed]);
}

#[tokio::test]
async fn run_now_fires_at_once_and_leaves_the_plan_alone() {
    let rig = sqlite().await;
    let scheduler = declared(&rig, hourly().overlap(Overlap::Allow).jitter(HOUR)).await;
    rig.clock.advance(HOUR / 2);
    let Ticked::Enqueued(id) = scheduler.run_now("poll", "api:key_7").await.unwrap() else { panic!("not enqueued") };
    let job = rig.get(id).await;
    assert_eq!((job.state, &*job.enqueued_by, job.run_at), (JobState::Ready, "api:key_7", rig.clock.now()));
    let newest = history(&rig).await.remove(0);
    assert_eq!((newest.what, newest.job), (Fired::RunByHand, Some(id)));
    assert!(newest.note.contains("api:key_7"));
    rig.clock.set(hours(1));
    assert_eq!(rounds(&scheduler).await.enqueued, 1);
    let again = scheduler.run_now("poll", "api:key_7").await.unwrap();
    assert!(matches!(again, Ticked::Enqueued(_)), "at a due time too: {again:?}");
    let unknown = scheduler.run_now("pull", "ops").await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no schedule `pull`; known schedules: poll");
}

#[tokio::test]
async fn an_override_takes_effect_from_now_and_can_be_taken_back() {
    let rig = sqlite().await;
    let scheduler = declared(&rig, Plan::cron("0 0 * * *", "UTC").unwrap().overlap(Overlap::Allow)).await;
    rig.clock.set(hours(5));
    let plan = scheduler.change_plan("poll", Some(json!({ "every": "20m", "catch_up": "all" })), "ops").await.unwrap();
    assert_eq!(plan.cadence().as_every(), Some(HOUR / 3));
    let report = rounds(&scheduler).await;
    assert_eq!((report.enqueued, report.missed), (0, 0), "what the new plan would have done before is not missed");
    rig.clock.set(hours(6));
    assert_eq!(rounds(&scheduler).await.enqueued, 3);
    let view = scheduler.list().await.unwrap().remove(0);
    assert_eq!(view.plan.unwrap().every.as_deref(), Some("20m"));
    assert_eq!(view.record.overridden, Some(json!({ "every": "20m", "catch_up": "all" })));
    assert_eq!(view.next_due, Some(hours(6).after(HOUR / 3)));
    scheduler.change_plan("poll", None, "ops").await.unwrap();
    rig.clock.set(hours(15));
    assert_eq!(rounds(&scheduler).await.enqueued, 0);
    rig.clock.set(hours(16)); // The first midnight after START, which is at 08:00.
    assert_eq!(rounds(&scheduler).await.enqueued, 1);
}

#[tokio::test]
async fn changing_a_plan_loses_nothing_that_was_due_by_the_old_one() {
    let rig = sqlite().await;
    let scheduler = declared(&rig, hourly()).await;
    rig.clock.set(hours(1));
    scheduler.change_plan("poll", Some(json!({ "every": "1d" })), "ops").await.unwrap();
    assert_eq!(dues(&rig).await, [hours(1)]);
}

#[tokio::test]
async fn an_override_of_the_policy_alone_keeps_the_place() {
    let rig = sqlite().await;
    let scheduler = declared(&rig, hourly().catch_up(CatchUp::Skip).overlap(Overlap::Allow)).await;
    scheduler.change_plan("poll", Some(json!({ "catch_up": "all", "catch_up_window": "2h" })), "ops").await.unwrap();
    assert_eq!(record(&rig).await.cursor, START);
    rig.clock.set(hours(5));
    let report = rounds(&scheduler).await;
    assert_eq!((report.enqueued, report.missed), (3, 2));
}

#[tokio::test]
async fn an_override_that_makes_no_sense_is_refused_and_changes_nothing() {
    let rig = sqlite().await;
    let scheduler = declared(&rig, hourly()).await;
    let cases = [
        (json!({ "cron": "61 * * * *" }), "cron", "61 * * * *"),
        (json!({ "cron": "* * * * *", "time_zone": "Mars/Olympus" }), "time_zone", "Mars/Olympus"),
        (json!({ "time_zone": "UTC" }), "time_zone", "UTC"),
        (json!({ "every": "10ms" }), "every", "10ms"),
        (json!({ "every": "soon" }), "every", "soon"),
        (json!({ "every": 5 }), "every", "5"),
        (json!({ "every": "1h", "cron": "* * * * *" }), "every", "1h"),
        (json!({ "catch_up": "some" }), "catch_up", "some"),
        (json!({ "catch_up_window": "1h" }), "catch_up_window", "1h"),
        (json!({ "catch_up": "all", "catch_up_window": "99d" }), "catch_up_window", "99d"),
        (json!({ "overlap": "maybe" }), "overlap", "maybe"),
        (json!({ "jitter": "2d" }), "jitter", "2d"),
        (json!({ "jiter": "2s" }), "jiter", "\"2s\""),
        (json!({}), "the plan", "{}"),
        (json!({ "cron": null }), "the plan", "{\"cron\":null}"),
        (json!("0 * * * *"), "the plan", "\"0 * * * *\""),
    ];
    for (text, field, value) in cases {
        let refused = scheduler.change_plan("poll", Some(text.clone()), "ops").await.unwrap_err();
        let ScheduleError::Invalid { schedule, source } = &refused else { panic!("{text}: {refused}") };
        assert_eq!((schedule.as_str(), source.field.as_str(), source.value.as_str()), ("poll", field, value), "{text}");
        assert!(source.allowed.contains('`') || source.allowed.contains("text"), "{text}: {refused}");
    }
    assert_eq!((record(&rig).await.overridden, fired(&rig).await.len()), (None, 0));
}

#[tokio::test]
async fn a_wrong_override_in_the_store_stops_the_schedule_and_is_shown() {
    let rig = sqlite().await;
    let scheduler = declared(&rig, hourly()).await;
    let wrong = ScheduleChange::Override(Some(json!({ "cron": "never" })));
    rig.store.change_schedule("poll", wrong, "an older version").await.unwrap();
    rig.clock.set(hours(1));
    let report = scheduler.run_once().await.unwrap();
    assert_eq!((report.enqueued, report.failed), (0, 1));
    let view = scheduler.list().await.unwrap().remove(0);
    assert!(view.problem.is_some_and(|p| p.contains("`never`")), "it says why");
    scheduler.change_plan("poll", None, "ops").await.unwrap();
    rig.clock.set(hours(2));
    assert_eq!(rounds(&scheduler).await.enqueued, 1);
}

#[tokio::test]
async fn a_schedule_declared_with_other_times_starts_afresh_and_one_with_the_same_goes_on() {
    let rig = sqlite().await;
    declared(&rig, hourly().overlap(Overlap::Allow)).await;
    rig.clock.set(hours(5));
    let report = rounds(&declared(&rig, hourly().catch_up(CatchUp::Skip)).await).await;
    assert_eq!((report.enqueued, report.missed), (1, 4), "the same times: four were missed");
    let often = Plan::every(Duration::from_secs(60)).unwrap().catch_up(CatchUp::All { within: HOUR * 24 });
    rig.clock.set(hours(7));
    let report = rounds(&declared(&rig, often).await).await;
    assert_eq!((report.enqueued, report.missed), (0, 0), "other times: nothing was missed");
}

#[tokio::test]
async fn a_schedule_that_the_code_no_longer_declares_does_not_fire_and_is_shown() {
    let rig = sqlite().await;
    declared(&rig, hourly()).await;
    let without = node(&rig, Arc::clone(&rig.store), vec![]);
    without.declare().await.unwrap();
    rig.clock.set(hours(3));
    assert_eq!(without.run_once().await.unwrap().enqueued, 0);
    let view = without.list().await.unwrap().remove(0);
    assert_eq!(view.problem.as_deref(), Some("this program does not declare it"));
}
