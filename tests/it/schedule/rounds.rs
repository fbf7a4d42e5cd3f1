//! Rounds of one and of several schedulers on one store: each due time is decided once, and nothing is forgotten.

use std::sync::Arc;
use std::time::Duration;

use tidemill::clock::Timestamp;
use tidemill::job::{JobState, PayloadError};
use tidemill::queue::EnqueueError;
use tidemill::schedule::{CatchUp, Plan, Schedule, ScheduleError, Scheduler};
use tidemill::store::{Fired, ListQuery, Overlap};

use super::rig::{HOUR, declared, dues, finish_one, fired, history, hourly, node, poll, record, rounds};
use crate::conformance::rig::{self, MS, START, sqlite};

fn hours(n: u32) -> Timestamp {
    START.after(HOUR * n)
}

#[tokio::test]
async fn a_due_time_becomes_one_job_however_often_it_is_looked_at() {
    let rig = sqlite().await;
    let scheduler = declared(&rig, hourly()).await;
    assert_eq!(scheduler.last_round(), None);
    let report = scheduler.run_once().await.unwrap();
    assert_eq!((report.now, report.next_due), (START, Some(hours(1))));
    assert_eq!(scheduler.last_round(), Some(report));
    rig.clock.set(hours(1).before(MS));
    assert_eq!(rounds(&scheduler).await.enqueued, 0, "a millisecond early");
    rig.clock.set(hours(1));
    assert_eq!(rounds(&scheduler).await.enqueued, 1);
    for _ in 0..3 {
        rig.clock.advance(MS);
        assert_eq!(rounds(&scheduler).await.enqueued, 0);
    }
    let jobs = rig.list(ListQuery { limit: 200, ..ListQuery::default() }).await;
    let [job] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((&*job.enqueued_by, job.run_at), ("schedule:poll", hours(1)));
    assert_eq!(job.unique_key.as_deref(), Some(&*format!("schedule:poll:{}", hours(1).as_ms())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_make_exactly_one_job_for_each_due_time() {
    let rig = sqlite().await;
    let plan = || Plan::cron("*/10 * * * *", "Europe/Berlin").unwrap().overlap(Overlap::Allow);
    let schedules = || vec![Schedule::new("poll", plan(), poll).unwrap()];
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(node(&rig, rig.another_handle().await, schedules()));
    }
    nodes[0].declare().await.unwrap();
    let mut enqueued = 0;
    for minute in 1..=120_u32 {
        rig.clock.set(START.after(Duration::from_secs(60) * minute));
        let (a, b, c) = tokio::join!(nodes[0].run_once(), nodes[1].run_once(), nodes[2].run_once());
        enqueued += a.unwrap().enqueued + b.unwrap().enqueued + c.unwrap().enqueued;
    }
    let every_ten_minutes: Vec<_> = (1..=12).map(|n| START.after(Duration::from_secs(600) * n)).collect();
    assert_eq!((dues(&rig).await, enqueued), (every_ten_minutes, 12));
    assert_eq!(fired(&rig).await, vec![Fired::Enqueued; 12]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_come_back_together_count_what_was_missed_once() {
    let rig = sqlite().await;
    let plan = || hourly().catch_up(CatchUp::Skip);
    let schedules = || vec![Schedule::new("poll", plan(), poll).unwrap()];
    let here = node(&rig, Arc::clone(&rig.store), schedules());
    let there = node(&rig, rig.another_handle().await, schedules());
    here.declare().await.unwrap();
    rig.clock.set(hours(24).after(HOUR / 2));
    let (a, b) = tokio::join!(here.run_once(), there.run_once());
    assert_eq!(a.unwrap().missed + b.unwrap().missed, 24);
    assert_eq!(fired(&rig).await, [Fired::Missed]);
}

/// A day without a scheduler, then rounds; the due times that became jobs, and how many were missed.
async fn after_a_day_away(catch_up: CatchUp) -> (Vec<Timestamp>, u32) {
    let mut rig = sqlite().await;
    declared(&rig, hourly().catch_up(catch_up).overlap(Overlap::Allow)).await;
    rig.clock.set(hours(24).after(HOUR / 2));
    rig.reopen().await;
    let scheduler = declared(&rig, hourly().catch_up(catch_up).overlap(Overlap::Allow)).await;
    let report = rounds(&scheduler).await;
    let left_out =
        history(&rig).await.iter().filter(|e| e.what == Fired::Missed && e.note.contains("left out")).count();
    assert_eq!(left_out, usize::from(report.missed > 0), "what was missed is on record");
    assert_eq!(rounds(&scheduler).await.enqueued, 0, "all is decided");
    assert_eq!(record(&rig).await.cursor, hours(24));
    (dues(&rig).await, report.missed)
}

#[tokio::test]
async fn after_a_day_away_skip_runs_nothing_and_says_so() {
    assert_eq!(after_a_day_away(CatchUp::Skip).await, (vec![], 24));
}

#[tokio::test]
async fn after_a_day_away_latest_runs_the_newest() {
    assert_eq!(after_a_day_away(CatchUp::Latest).await, (vec![hours(24)], 23));
}

#[tokio::test]
async fn after_a_day_away_all_runs_what_lies_in_its_window() {
    assert_eq!(after_a_day_away(CatchUp::All { within: HOUR * 48 }).await, ((1..=24).map(hours).collect(), 0));
    assert_eq!(after_a_day_away(CatchUp::All { within: HOUR * 3 }).await, ((22..=24).map(hours).collect(), 21));
}

#[tokio::test]
async fn a_backlog_is_worked_off_in_bounded_rounds_that_starve_nobody() {
    let rig = sqlite().await;
    let minutely = Plan::cron("* * * * *", "UTC").unwrap().overlap(Overlap::Allow);
    let backlog = minutely.catch_up(CatchUp::All { within: HOUR * 48 });
    let schedules =
        vec![Schedule::new("a.backlog", backlog, poll).unwrap(), Schedule::new("b.hourly", hourly(), poll).unwrap()];
    let scheduler = node(&rig, Arc::clone(&rig.store), schedules);
    scheduler.declare().await.unwrap();
    rig.clock.set(hours(12));
    let first = scheduler.run_once().await.unwrap();
    assert_eq!((first.enqueued, first.missed, first.more), (501, 11, true), "half of a round each");
    let rest = rounds(&scheduler).await;
    assert_eq!((first.enqueued + rest.enqueued, rest.more), (721, false));
}

#[tokio::test]
async fn an_overlap_is_left_out_held_back_or_allowed() {
    for (overlap, expected) in [(Overlap::Skip, (1, 2, 0)), (Overlap::QueueOne, (1, 0, 2)), (Overlap::Allow, (3, 0, 0))]
    {
        let rig = sqlite().await;
        let scheduler = declared(&rig, hourly().overlap(overlap)).await;
        let mut sum = (0, 0, 0);
        for hour in 1..=3 {
            rig.clock.set(hours(hour));
            let report = scheduler.run_once().await.unwrap();
            // A due time held back is asked for again before the next one takes its place.
            sum = (sum.0 + report.enqueued, sum.1 + report.skipped, sum.2 + report.held.min(1));
        }
        assert_eq!(sum, expected, "{overlap:?}");
    }
}

#[tokio::test]
async fn a_held_due_time_is_enqueued_when_the_last_job_ends() {
    let rig = sqlite().await;
    let scheduler = declared(&rig, hourly().overlap(Overlap::QueueOne)).await;
    for hour in 1..=3 {
        rig.clock.set(hours(hour));
        scheduler.run_once().await.unwrap();
    }
    assert_eq!((dues(&rig).await, record(&rig).await.held_due), (vec![hours(1)], Some(hours(3))), "the newest waits");
    rig.clock.advance(HOUR / 2);
    assert_eq!(scheduler.run_once().await.unwrap().enqueued, 0, "the job still lives");
    finish_one(&rig).await;
    assert_eq!(scheduler.run_once().await.unwrap().enqueued, 1);
    assert_eq!((dues(&rig).await, record(&rig).await.held_due), (vec![hours(1), hours(3)], None));
    assert_eq!(scheduler.run_once().await.unwrap().enqueued, 0, "once");
}

#[tokio::test]
async fn jitter_puts_a_job_off_within_its_bound_and_not_its_due_time() {
    let rig = sqlite().await;
    let most = Duration::from_secs(60);
    let scheduler = declared(&rig, hourly().jitter(most).overlap(Overlap::Allow)).await;
    for hour in 1..=20 {
        rig.clock.set(hours(hour));
        scheduler.run_once().await.unwrap();
    }
    assert_eq!(dues(&rig).await, (1..=20).map(hours).collect::<Vec<_>>());
    let jobs = rig.list(ListQuery { limit: 200, ..ListQuery::default() }).await;
    let put_off: Vec<_> =
        jobs.iter().map(|job| job.run_at.as_ms() - job.payload.get().parse::<i64>().unwrap()).collect();
    assert!(put_off.iter().all(|ms| (0..=60_000).contains(ms)), "{put_off:?}");
    assert!(put_off.iter().any(|ms| *ms > 30_000) && put_off.iter().any(|ms| *ms < 30_000), "{put_off:?}");
    assert!(jobs.iter().any(|job| job.state == JobState::Scheduled));
}

#[tokio::test]
async fn an_interval_below_a_second_fires_each_of_its_due_times() {
    let rig = sqlite().await;
    let quarter = Plan::every(Duration::from_millis(250)).unwrap().overlap(Overlap::Allow);
    let scheduler = declared(&rig, quarter).await;
    for _ in 0..3 {
        rig.clock.advance(Duration::from_secs(1));
        assert_eq!(scheduler.run_once().await.unwrap().enqueued, 4);
    }
    assert_eq!(dues(&rig).await, (1..=12).map(|n| START.after(MS * 250 * n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_unique_key_of_the_job_itself_keeps_a_second_one_away_and_says_so() {
    let rig = sqlite().await;
    let job = |due| Ok(poll(due)?.unique("accounts.sync:item_1"));
    let schedule = Schedule::new("poll", hourly().overlap(Overlap::Allow), job).unwrap();
    let scheduler = node(&rig, Arc::clone(&rig.store), vec![schedule]);
    scheduler.declare().await.unwrap();
    for (hour, expected) in [(1, (1, 0)), (2, (0, 1))] {
        rig.clock.set(hours(hour));
        let report = scheduler.run_once().await.unwrap();
        assert_eq!((report.enqueued, report.skipped), expected);
    }
    assert_eq!(fired(&rig).await, [Fired::SkippedOverlap, Fired::Enqueued]);
    assert!(history(&rig).await[0].note.contains("unique key"));
}

#[tokio::test]
async fn a_job_that_can_not_be_made_stops_its_own_schedule_only_and_fires_when_it_can() {
    let rig = sqlite().await;
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = Arc::clone(&broken);
    let fragile = move |due| match switch.load(std::sync::atomic::Ordering::SeqCst) {
        true => Err(PayloadError::TooLarge { kind: "test.job".into(), bytes: 2, limit: 1 }),
        false => poll(due),
    };
    let schedules =
        vec![Schedule::new("a.fragile", hourly(), fragile).unwrap(), Schedule::new("b.sound", hourly(), poll).unwrap()];
    let scheduler = node(&rig, Arc::clone(&rig.store), schedules);
    scheduler.declare().await.unwrap();
    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    rig.clock.set(hours(1));
    let report = scheduler.run_once().await.unwrap();
    assert_eq!((report.failed, report.enqueued), (1, 1));
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    let report = scheduler.run_once().await.unwrap();
    assert_eq!((report.failed, report.enqueued), (0, 1));
    assert_eq!(dues(&rig).await, [hours(1), hours(1)]);
}

#[tokio::test]
async fn a_scheduler_that_could_never_enqueue_does_not_start() {
    let rig = sqlite().await;
    let queue = |names: &[&str]| {
        let names = names.iter().map(|name| rig::named(name)).collect();
        tidemill::queue::Queue::new(Arc::clone(&rig.store), names, rig.clock.clone(), rig.entropy.clone())
    };
    let schedule = || Schedule::new("poll", hourly(), poll).unwrap();
    let new =
        |names: &[&str], schedules| Scheduler::new(queue(names), schedules, rig.clock.clone(), rig.entropy.clone());
    let unknown = new(&["other"], vec![schedule()]).unwrap_err();
    assert!(matches!(unknown, ScheduleError::Job { source: EnqueueError::UnknownQueue { .. }, .. }), "{unknown}");
    let twice = new(&["work"], vec![schedule(), schedule()]).unwrap_err();
    assert!(matches!(&twice, ScheduleError::Duplicate(name) if name == "poll"), "{twice}");
}

#[tokio::test]
async fn what_becomes_of_due_times_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let counted = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let rig = sqlite().await;
    let scheduler = declared(&rig, hourly()).await;
    rig.clock.set(hours(3).after(Duration::from_secs(120)));
    scheduler.run_once().await.unwrap();
    rig.clock.set(hours(4));
    scheduler.run_once().await.unwrap();
    let text = counted.render();
    for line in [
        "tidemill_schedule_ticks_total{schedule=\"poll\",outcome=\"missed\"} 2",
        "tidemill_schedule_ticks_total{schedule=\"poll\",outcome=\"enqueued\"} 1",
        "tidemill_schedule_ticks_total{schedule=\"poll\",outcome=\"skipped\"} 1",
        "tidemill_schedule_late_seconds{schedule=\"poll\"} 120",
    ] {
        assert!(text.contains(line), "{line}\nin\n{text}");
    }
}
