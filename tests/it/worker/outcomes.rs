//! What becomes of a job, decision by decision.

use std::sync::Arc;
use std::time::Duration;

use tidemill::job::{DeadReason, JobSpec, JobState};

use super::handlers::{Act, Stage, registry};
use super::rig::Rig;

async fn rig() -> (Arc<Stage>, Rig) {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    (stage, rig)
}

fn spec(act: &Act) -> JobSpec {
    JobSpec::of(act).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_is_completed_with_its_result_and_never_run_again() {
    let (stage, rig) = rig().await;
    let worker = rig.worker().await;
    let id = rig.enqueue(spec(&Act::Finish)).await;
    let job = rig.reaches(id, JobState::Completed).await;
    assert_eq!(job.result.unwrap().get(), "\"done\"");
    assert_eq!((job.attempt, job.epoch, stage.starts()), (1, 1, 1));
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_job_is_tried_again_by_its_policy_until_it_succeeds() {
    let (stage, rig) = rig().await;
    let worker = rig.worker().await;
    let id = rig.enqueue(spec(&Act::FailUntil(3))).await;
    let job = rig.reaches(id, JobState::Completed).await;
    assert_eq!((job.attempt, job.failures.len(), stage.starts()), (3, 2, 3));
    assert_eq!(job.failures[1].error, "attempt 2 fails");
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_every_attempt_is_dead_as_exhausted() {
    let (stage, rig) = rig().await;
    let worker = rig.worker().await;
    let id = rig.enqueue(spec(&Act::FailUntil(99))).await;
    let job = rig.reaches(id, JobState::Dead).await;
    assert_eq!((job.dead_reason, job.attempt, stage.starts()), (Some(DeadReason::Exhausted), 3, 3));
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_named_by_the_other_side_replaces_the_policy() {
    let (_, rig) = rig().await;
    let worker = rig.worker().await;
    let id = rig.enqueue(spec(&Act::FailWithRetryAfter(400))).await;
    let job = rig.reaches(id, JobState::Completed).await;
    let waited = job.started_at.unwrap().since(job.failures[0].at);
    assert!(waited >= Duration::from_millis(400), "tried again after {waited:?}");
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snooze_is_not_an_attempt() {
    let (stage, rig) = rig().await;
    let worker = rig.worker().await;
    let id = rig.enqueue(spec(&Act::Snooze(5))).await;
    let job = rig.reaches(id, JobState::Completed).await;
    assert_eq!((job.attempt, job.epoch, stage.starts()), (1, 2, 2));
    assert!(job.failures.is_empty());
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_error_is_dead_at_once_and_a_job_no_longer_wanted_is_cancelled() {
    let (_, rig) = rig().await;
    let worker = rig.worker().await;
    let dead = rig.enqueue(spec(&Act::GiveUp)).await;
    let cancelled = rig.enqueue(spec(&Act::Cancel)).await;
    let dead = rig.reaches(dead, JobState::Dead).await;
    assert_eq!((dead.dead_reason, dead.attempt), (Some(DeadReason::Permanent), 1));
    assert_eq!(dead.failures[0].error, "no such account");
    rig.reaches(cancelled, JobState::Cancelled).await;
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failed_attempt_and_the_pool_goes_on() {
    let (_, rig) = rig().await;
    let worker = rig.worker().await;
    let panics = rig.enqueue(spec(&Act::Panic)).await;
    let job = rig.reaches(panics, JobState::Dead).await;
    assert_eq!((job.dead_reason, job.attempt, job.crashes), (Some(DeadReason::Exhausted), 3, 0));
    assert_eq!(job.failures[0].error, "it panicked: a bug in a handler");
    let id = rig.enqueue(spec(&Act::Finish)).await;
    rig.reaches(id, JobState::Completed).await;
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_beyond_its_timeout_is_stopped_and_counts_as_failed() {
    let (stage, rig) = rig().await;
    let worker = rig.worker().await;
    let mut slow = spec(&Act::Hang);
    slow.timeout = Duration::from_millis(50);
    slow.max_attempts = 2;
    let id = rig.enqueue(slow).await;
    let job = rig.reaches(id, JobState::Dead).await;
    assert_eq!((job.attempt, job.dead_reason, stage.ends()), (2, Some(DeadReason::Exhausted), 0));
    assert_eq!(job.failures[0].error, "it took longer than its timeout of 50ms");
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_kind_and_a_bad_payload_are_dead_on_first_sight_and_the_queue_moves_on() {
    let (stage, rig) = rig().await;
    let worker = rig.worker().await;
    let unknown = rig.enqueue(JobSpec::raw("fast".parse().unwrap(), "nobody.knows", "{}".into())).await;
    let bad = rig.enqueue(JobSpec::raw("fast".parse().unwrap(), "test.act", "{\"no\":1}".into())).await;
    let good = rig.enqueue(spec(&Act::Finish)).await;
    assert_eq!(rig.reaches(unknown, JobState::Dead).await.dead_reason, Some(DeadReason::UnknownKind));
    let bad = rig.reaches(bad, JobState::Dead).await;
    assert_eq!((bad.dead_reason, bad.attempt), (Some(DeadReason::BadPayload), 1));
    assert!(bad.failures[0].error.contains("does not decode as `test.act`"), "{:?}", bad.failures);
    rig.reaches(good, JobState::Completed).await;
    assert_eq!(stage.starts(), 1);
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_job_comes_to_life_with_its_completion_and_carries_its_cause() {
    let (stage, rig) = rig().await;
    let worker = rig.worker().await;
    let parent = rig.enqueue(spec(&Act::Follow).correlation("evt_1").tenant("t1")).await;
    rig.reaches(parent, JobState::Completed).await;
    rig.until(|| async { stage.ends() == 2 }).await;
    let page = rig.store.list(tidemill::store::ListQuery::default()).await.unwrap();
    let child = page.jobs.iter().find(|job| job.tags == ["child"]).unwrap();
    assert_eq!((child.correlation_id.as_deref(), child.tenant.as_deref()), (Some("evt_1"), Some("t1")));
    assert_eq!(*child.enqueued_by, format!("job:{parent}"));
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_follower_can_not_be_enqueued_is_not_completed() {
    let (_, rig) = rig().await;
    let worker = rig.worker().await;
    let id = rig.enqueue(spec(&Act::FollowNowhere)).await;
    let job = rig.reaches(id, JobState::Dead).await;
    assert!(job.failures[0].error.contains("queue `nowhere` is not configured"), "{:?}", job.failures);
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_no_store_would_take_does_not_hold_up_the_settlements_of_others() {
    let (_, rig) = rig().await;
    let worker = rig.worker().await;
    let id = rig.enqueue(spec(&Act::FollowInNoTime)).await;
    let other = rig.enqueue(spec(&Act::Finish)).await;
    rig.reaches(other, JobState::Completed).await;
    let job = rig.reaches(id, JobState::Dead).await;
    assert!(job.failures[0].error.contains("timeout is 500µs"), "{:?}", job.failures);
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_and_log_lines_are_kept_with_the_job() {
    let (stage, rig) = rig().await;
    let worker = rig.worker().await;
    let id = rig.enqueue(spec(&Act::Report).correlation("c1").tenant("t1")).await;
    let job = rig.reaches(id, JobState::Completed).await;
    assert_eq!(job.progress.unwrap().note, "half way");
    assert_eq!(rig.store.logs(id).await.unwrap()[0].line, "looked at page 1");
    assert_eq!(*stage.seen.lock().unwrap(), ["c1 Some(\"t1\")"]);
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test]
async fn what_a_handler_enqueues_and_what_follows_it_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let counted = recorder.handle();
    // The test runs on one thread, so the recorder of this thread is the process's.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (_, rig) = rig().await;
    let worker = rig.worker().await;
    let parent = rig.enqueue(spec(&Act::Follow)).await;
    rig.reaches(parent, JobState::Completed).await;
    let line = |line: &str| counted.render().lines().any(|l| l == format!("tidemill_enqueued_total{line}"));
    rig.until(async || line(r#"{queue="fast",outcome="child"} 1"#)).await;
    assert!(line(r#"{queue="fast",outcome="inserted"} 1"#), "{}", counted.render());
    let nowhere = rig.enqueue(spec(&Act::FollowNowhere)).await;
    rig.until(async || rig.job(nowhere).await.attempt > 0 && rig.job(nowhere).await.state != JobState::Running).await;
    assert!(line(r#"{queue="fast",outcome="child"} 1"#), "a child that was refused was not enqueued");
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}
