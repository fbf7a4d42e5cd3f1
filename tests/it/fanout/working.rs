//! The whole way through the real queue and a real worker: publish, fan out, deliver, retry, die.

use std::sync::Arc;
use std::time::Duration;

use tidemill::fanout::history::DeliveryState;
use tidemill::fanout::{FanoutState, endpoints, register};
use tidemill::job::{DeadReason, JobRecord, JobState};
use tidemill::store::Enqueued;
use tidemill::worker::{Registry, Worker, WorkerOptions};
use tokio::time::{Instant, interval};

use super::receiver::{Receiver, status};
use super::stage::{Stage, config, event};

const PATIENCE: Duration = Duration::from_secs(20);

async fn worker(stage: &Stage) -> Worker {
    let state: FanoutState = stage.again(config());
    let mut registry = Registry::new();
    register(&mut registry, Arc::new(state)).unwrap();
    let options = WorkerOptions {
        pools: [("notifications".parse().unwrap(), 4)].into(),
        label: "test".into(),
        lease: Duration::from_secs(3_600),
        beat_every: Duration::from_secs(1),
    };
    let (clock, entropy) = (stage.clock.clone(), stage.entropy.clone());
    Worker::start(stage.queue.clone(), Arc::new(registry), clock, entropy, options).await.unwrap()
}

/// Moves the clock over every wait and looks again, until all deliveries are as wanted.
async fn until(stage: &Stage, wanted: &[DeliveryState]) {
    let (began, mut pace) = (Instant::now(), interval(Duration::from_millis(10)));
    loop {
        pace.tick().await;
        stage.clock.advance(Duration::from_secs(5));
        stage.queue.store().promote(100).await.unwrap();
        let mut states: Vec<_> = stage.deliveries(|_| true).await.into_iter().map(|d| d.state).collect();
        states.sort_by_key(|s| s.as_str());
        if states == wanted && stage.jobs().await.iter().all(|j| j.state.is_finished()) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "deliveries are {states:?}, not {wanted:?}: {:?}", stage.jobs().await);
    }
}

async fn job_to(stage: &Stage, endpoint: &endpoints::Created) -> JobRecord {
    let jobs = stage.jobs().await;
    jobs.into_iter().find(|j| j.payload.get().contains(&endpoint.endpoint.id)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_event_reaches_every_endpoint_and_each_delivery_ends_as_its_receiver_answers() {
    let stage = Stage::new().await;
    let good = Receiver::start(vec![status(200)]).await;
    let shaky = Receiver::start(vec![status(500), status(503), status(200)]).await;
    let broken = Receiver::start(vec![status(500)]).await;
    let gone = Receiver::start(vec![status(410)]).await;
    let mut made = Vec::new();
    for receiver in [&good, &shaky, &broken, &gone] {
        made.push(stage.endpoint(&receiver.url(), &["invoice.*"]).await);
    }
    let worker = worker(&stage).await;
    let published = event("evt_1", "invoice.paid");
    let first = stage.queue.enqueue(published.clone().into_spec().unwrap()).await.unwrap();

    use DeliveryState::{Cancelled, Exhausted, Succeeded};
    until(&stage, &[Cancelled, Exhausted, Succeeded, Succeeded]).await;
    assert_eq!([&good, &shaky, &broken, &gone].map(|r| r.seen().len()), [1, 3, 4, 1]);
    for (endpoint, receiver) in made.iter().zip([&good, &shaky, &broken, &gone]) {
        assert!(receiver.seen().iter().all(|post| post.verified_by(endpoint.secret.reveal()) == [0]));
    }
    let [good, shaky, broken, gone] = [0, 1, 2, 3].map(|n| job_to(&stage, &made[n]));
    assert_eq!(good.await.state, JobState::Completed);
    assert_eq!(shaky.await.attempt, 3);
    let broken = broken.await;
    assert_eq!((broken.state, broken.dead_reason), (JobState::Dead, Some(DeadReason::Exhausted)));
    assert_eq!((gone.await.state, broken.tenant.as_deref()), (JobState::Cancelled, Some("acme")));
    assert_eq!(&*broken.enqueued_by, format!("job:{}", first.job()));

    let again = stage.queue.enqueue(published.into_spec().unwrap()).await.unwrap();
    assert_eq!(again, Enqueued::Duplicate(first.job()));
    worker.drain(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_delivery_that_an_operator_retries_is_delivered() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(vec![status(500), status(500), status(500), status(500), status(200)]).await;
    let created = stage.endpoint(&receiver.url(), &["*"]).await;
    let worker = worker(&stage).await;
    stage.queue.enqueue(event("evt_1", "invoice.paid").into_spec().unwrap()).await.unwrap();
    until(&stage, &[DeliveryState::Exhausted]).await;

    stage.queue.store().retry(job_to(&stage, &created).await.id).await.unwrap();
    until(&stage, &[DeliveryState::Succeeded]).await;
    assert_eq!(receiver.seen().len(), 5);
    worker.drain(PATIENCE).await.unwrap();
}
