//! A clean stop: finish what runs, hand back the rest uncharged, be gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::job::{JobSpec, JobState};

use super::handlers::{Act, Stage, registry};
use super::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_running_jobs_finish_and_claims_no_more() {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    let worker = rig.worker().await;
    let running = rig.enqueue(JobSpec::of(&Act::WaitForGo).unwrap()).await;
    rig.until(|| async { stage.starts() == 1 }).await;
    let drain = worker.drain(Duration::from_secs(20));
    let finish = async {
        rig.until(|| async { rig.store.counts().await.unwrap().queues[0].running == 1 }).await;
        stage.go.notify_one();
    };
    let (drained, ()) = tokio::join!(drain, finish);
    assert_eq!(drained.unwrap(), 0);
    assert_eq!(rig.job(running).await.state, JobState::Completed);
    let late = rig.enqueue(JobSpec::of(&Act::Finish).unwrap()).await;
    assert_eq!(rig.job(late).await.state, JobState::Ready);
    assert!(rig.store.workers().await.unwrap().is_empty());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_worker_drains_waits_for_others_and_not_for_its_last_job() {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    let worker = rig.worker().await;
    let running = rig.enqueue(JobSpec::of(&Act::WaitForGo).unwrap()).await;
    rig.until(|| async { stage.starts() == 1 }).await;
    let drain = worker.drain(Duration::from_secs(20));
    let come = async {
        rig.until(|| async { rig.store.workers().await.unwrap().iter().all(|worker| worker.draining) }).await;
        let late = rig.enqueue(JobSpec::of(&Act::Finish).unwrap()).await;
        // One more round trip: a waiting claim is served in the transaction that brings the job, or in the next.
        rig.store.health().await.unwrap();
        assert_eq!(rig.job(late).await.state, JobState::Ready);
        stage.go.notify_one();
    };
    let (drained, ()) = tokio::join!(drain, come);
    assert_eq!(drained.unwrap(), 0);
    assert_eq!(rig.job(running).await.state, JobState::Completed);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_in_the_grace_is_handed_back_uncharged_at_once() {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    let worker = rig.worker().await;
    let heeds = rig.enqueue(JobSpec::of(&Act::HeedStop).unwrap()).await;
    let hangs = rig.enqueue(JobSpec::of(&Act::Hang).unwrap()).await;
    rig.until(|| async { stage.starts() == 2 }).await;
    let begun = Instant::now();
    let handed_back = worker.drain(Duration::from_millis(100)).await.unwrap();
    assert_eq!(handed_back, 2);
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
    for id in [heeds, hangs] {
        let job = rig.job(id).await;
        assert_eq!((job.state, job.attempt, job.crashes), (JobState::Ready, 0, 0));
        assert!(job.failures.is_empty());
    }
    rig.end().await;
}
