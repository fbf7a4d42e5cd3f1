//! "Why is this job not running?": each answer once, and the first obstacle is the one that is named.

use std::time::Duration;

use tidemill::job::{JobState, Priority};
use tidemill::store::{QueueSettings, RateLimit, WhyNot};

use super::rig::{LEASE, MS, Rig, complete, id_of, job, settings, work};

async fn why(rig: &Rig, job: tidemill::job::JobId) -> WhyNot {
    rig.store.explain(job).await.expect("explain")
}

pub(crate) async fn a_running_job_runs(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    let since = rig.clock.now();
    rig.clock.advance(MS);
    assert_eq!(why(rig, id_of(&claimed)).await, WhyNot::Running { holder: worker, since });
}

pub(crate) async fn a_finished_job_is_finished(rig: &mut Rig) {
    let id = rig.finished(job(), complete()).await;
    assert_eq!(why(rig, id).await, WhyNot::Finished { state: JobState::Completed });
    let id = rig.put(job()).await;
    rig.store.cancel(id, "x").await.expect("cancel");
    assert_eq!(why(rig, id).await, WhyNot::Finished { state: JobState::Cancelled });
}

pub(crate) async fn a_scheduled_job_is_not_due(rig: &mut Rig) {
    let id = rig.put(job().after(MS * 9)).await;
    assert_eq!(why(rig, id).await, WhyNot::NotDue { run_at: rig.clock.now().after(MS * 9) });
}

pub(crate) async fn a_job_of_a_paused_queue_waits_for_the_resume(rig: &mut Rig) {
    rig.worker().await;
    let id = rig.put(job()).await;
    rig.store.pause(&work()).await.expect("pause");
    assert_eq!(why(rig, id).await, WhyNot::QueuePaused);
}

pub(crate) async fn a_job_without_a_live_worker_waits_for_one(rig: &mut Rig) {
    let id = rig.put(job()).await;
    assert_eq!(why(rig, id).await, WhyNot::NoWorker);
    let worker = rig.worker().await;
    assert_ne!(why(rig, id).await, WhyNot::NoWorker);
    rig.clock.advance(LEASE + MS);
    rig.rescue().await;
    assert_eq!(why(rig, id).await, WhyNot::NoWorker, "{worker} is dead");
    let mut beat = tidemill::store::Beat {
        incarnation: tidemill::job::Incarnation::new(&rig.entropy),
        label: "other".into(),
        queues: vec![super::rig::named("other")],
        running: 0,
        lease: LEASE,
        worker_now: rig.clock.now(),
    };
    rig.store.heartbeat(beat.clone()).await.expect("beat");
    assert_eq!(why(rig, id).await, WhyNot::NoWorker, "one that serves other queues does not help");
    beat.queues.push(work());
    rig.store.heartbeat(beat).await.expect("beat");
    assert_ne!(why(rig, id).await, WhyNot::NoWorker);
}

pub(crate) async fn a_job_of_a_used_up_queue_waits_for_the_next_window(rig: &mut Rig) {
    let rate = Some(RateLimit::FixedWindow { limit: 1, window_ms: 1_000 });
    rig.store.declare_queues(vec![QueueSettings { rate, ..settings("work") }]).await.expect("declare");
    let start = rig.clock.now();
    rig.clock.advance(MS * 300);
    rig.put(job()).await;
    let id = rig.put(job()).await;
    let worker = rig.worker().await;
    assert_eq!(rig.claim(worker, 2).await.len(), 1);
    let until = start.after(Duration::from_secs(1));
    assert_eq!(why(rig, id).await, WhyNot::RateLimited { until });
    rig.clock.advance(MS * 700);
    assert_eq!(why(rig, id).await, WhyNot::Waiting { ahead: 0 });
}

pub(crate) async fn a_waiting_job_counts_those_before_it(rig: &mut Rig) {
    rig.worker().await;
    let last = rig.put(job().priority(Priority::LAST)).await;
    let first = rig.put(job()).await;
    for _ in 0..4 {
        rig.put(job()).await;
    }
    assert_eq!(why(rig, first).await, WhyNot::Waiting { ahead: 0 });
    assert_eq!(why(rig, last).await, WhyNot::Waiting { ahead: 5 });
}

pub(crate) async fn counting_those_before_stops_at_a_thousand(rig: &mut Rig) {
    rig.worker().await;
    for _ in 0..3 {
        let jobs = (0..400).map(|_| rig.new_job(job())).collect();
        rig.store.enqueue(jobs).await.expect("enqueue");
    }
    rig.clock.advance(MS);
    let last = rig.put(job()).await;
    assert_eq!(why(rig, last).await, WhyNot::Waiting { ahead: 1_000 });
}
