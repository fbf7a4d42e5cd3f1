//! Who holds a job, and how it is taken away: cancellation, zombies, blocked threads, wake-up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::job::{JobSpec, JobState};
use tidemill::store::{Cancel, StoreError};

use super::handlers::{Act, Stage, registry};
use super::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_cancelled_through_its_token() {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    let worker = rig.worker().await;
    let id = rig.enqueue(JobSpec::of(&Act::HeedStop).unwrap()).await;
    rig.until(|| async { stage.starts() == 1 }).await;
    assert_eq!(rig.store.cancel(id, "wrong amount").await.unwrap(), Cancel::Requested);
    rig.reaches(id, JobState::Cancelled).await;
    assert_eq!(stage.starts(), 1);
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_declared_dead_stops_its_handlers_and_goes_on_as_a_new_one() {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    let worker = rig.worker().await;
    let first = worker.incarnation();
    let id = rig.enqueue(JobSpec::of(&Act::HeedStop).unwrap()).await;
    rig.until(|| async { stage.starts() == 1 }).await;
    // Somebody signs it off behind its back, as a rescue by another process would.
    rig.store.sign_off(first).await.unwrap();
    rig.until(|| async { worker.incarnation() != first }).await;
    rig.until(|| async { stage.starts() == 2 }).await;
    let job = rig.job(id).await;
    assert_eq!((job.state, job.holder), (JobState::Running, Some(worker.incarnation())));
    let old = rig.store.claim(&"fast".parse().unwrap(), first, 1, Duration::ZERO).await;
    assert!(matches!(old, Err(StoreError::DeadIncarnation(dead)) if dead == first), "{old:?}");
    worker.drain(Duration::ZERO).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_life_that_the_store_does_not_take_at_first_claims_as_soon_as_it_does() {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    let worker = rig.worker().await;
    let outside = rig.outside();
    let refuse_newcomers = "create trigger newcomers before insert on workers
        when not exists (select 1 from workers where incarnation = new.incarnation)
        begin select raise(abort, 'not now'); end";
    outside.execute_batch(refuse_newcomers).unwrap();
    rig.store.sign_off(worker.incarnation()).await.unwrap();
    rig.until(|| async { rig.store.counts().await.unwrap().lease_refusals > 0 }).await;
    // The claim loops ask again meanwhile, and must not settle for a life that the store does not know.
    for _ in 0..20 {
        rig.store.health().await.unwrap();
    }
    outside.execute_batch("drop trigger newcomers").unwrap();
    let id = rig.enqueue(JobSpec::of(&Act::Finish).unwrap()).await;
    rig.reaches(id, JobState::Completed).await;
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_block_every_thread_cost_nobody_a_lease() {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    let worker = rig.worker().await;
    let neighbour = rig.enqueue(JobSpec::of(&Act::WaitForGo).unwrap()).await;
    rig.until(|| async { stage.starts() == 1 }).await;
    let blocked = u64::try_from((rig.lease * 2).as_millis()).unwrap();
    for _ in 0..2 {
        rig.enqueue(JobSpec::of(&Act::Block(blocked)).unwrap()).await;
    }
    // Two of two threads block for twice the lease: only the heartbeat's own thread can keep it.
    rig.until(|| async { stage.ends() == 2 }).await;
    let job = rig.job(neighbour).await;
    assert_eq!((job.state, job.epoch, job.crashes), (JobState::Running, 1, 0));
    stage.go.notify_one();
    rig.reaches(neighbour, JobState::Completed).await;
    assert_eq!(rig.store.counts().await.unwrap().lease_refusals, 0);
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_starts_a_new_job_within_a_few_milliseconds() {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    let worker = rig.worker().await;
    let mut waits = Vec::new();
    for n in 1..=50 {
        let begun = Instant::now();
        rig.enqueue(JobSpec::of(&Act::WaitForGo).unwrap()).await;
        while stage.starts() < n {
            tokio::task::yield_now().await;
        }
        waits.push(begun.elapsed());
        stage.go.notify_one();
        rig.until(|| async { stage.ends() == n }).await;
    }
    waits.sort();
    // Under a millisecond in a release build on a quiet machine (docs/performance.md); polling would take a hundred.
    assert!(waits[25] < Duration::from_millis(20), "median {:?}", waits[25]);
    worker.drain(Duration::from_secs(5)).await.unwrap();
    rig.end().await;
}
