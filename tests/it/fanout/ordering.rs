//! Strict order: one delivery of an endpoint at a time, through failures, and the next when the former has settled.

use std::sync::Arc;
use std::time::Duration;

use tidemill::fanout::history::DeliveryState;
use tidemill::fanout::{Deliver, Ordering, Sending, register};
use tidemill::job::JobState;
use tidemill::worker::{Registry, Worker, WorkerOptions};

use super::receiver::{Receiver, Reply, status};
use super::stage::{Stage, config, event, snoozed, turn};
use tidemill::fanout::Turn;

async fn strict(stage: &Stage, receiver: &Receiver) -> String {
    let created = stage.endpoint(&receiver.url(), &["*"]).await;
    stage.set(&created.endpoint.id, Sending { ordering: Ordering::Strict, ..Sending::default() }).await;
    created.endpoint.id
}

/// The job of a delivery, which has its number.
async fn state_of(stage: &Stage, job: &Deliver) -> JobState {
    stage.jobs().await.into_iter().find(|j| j.payload.get().contains(&job.message)).unwrap().state
}

#[tokio::test]
async fn the_next_delivery_waits_until_the_former_has_settled_and_is_woken_then() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(vec![status(500), status(200)]).await;
    let id = strict(&stage, &receiver).await;
    let (first, second) = (stage.another(&id).await, stage.another(&id).await);
    assert!(
        snoozed(stage.deliver(&second, turn(1)).await).1.contains("earlier delivery"),
        "before the first was tried"
    );
    stage.deliver(&first, turn(1)).await.unwrap_err();
    let (wait, _) = snoozed(stage.deliver(&second, turn(1)).await);
    assert!(wait >= Duration::from_secs(1), "after it has failed");
    assert_eq!(receiver.seen().len(), 1);
    stage.deliver(&first, turn(2)).await.unwrap();
    stage.deliver(&second, turn(1)).await.unwrap();
    let ids: Vec<_> = receiver.seen().iter().map(|post| post.header("webhook-id")).collect();
    assert_eq!(ids, [first.message.clone(), first.message.clone(), second.message.clone()]);
    assert_eq!(state_of(&stage, &second).await, JobState::Ready);
}

#[tokio::test]
async fn exhausted_cancelled_and_ended_deliveries_let_the_next_one_go() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500)]).await);
    let id = strict(&stage, &receiver).await;
    let jobs = [stage.another(&id).await, stage.another(&id).await, stage.another(&id).await];
    stage.deliver(&jobs[0], Turn { is_last: true, ..turn(1) }).await.unwrap_err();
    assert_eq!(stage.delivery(&jobs[0]).await.state, DeliveryState::Exhausted);
    // The second one's job was cancelled by hand: nobody will ever try it.
    let second = stage.jobs().await.into_iter().find(|j| j.payload.get().contains(&jobs[1].message)).unwrap();
    stage.queue.store().cancel(second.id, "by hand").await.unwrap();
    assert!(snoozed(stage.deliver(&jobs[2], turn(1)).await).1.contains("earlier"));
    stage.clock.advance(Duration::from_secs(121));
    tidemill::fanout::mend(&stage.state, &stage.queue).await.unwrap();
    stage.deliver(&jobs[2], turn(1)).await.unwrap_err();
    assert_eq!(receiver.seen().len(), 2);
}

#[tokio::test]
async fn the_breakers_one_probe_is_the_first_ones() {
    let stage = Stage::new().await;
    let receiver = Receiver::start([vec![status(500); 5], vec![status(200)]].concat()).await;
    let id = strict(&stage, &receiver).await;
    let (first, second) = (stage.another(&id).await, stage.another(&id).await);
    for number in 1..=5 {
        stage.deliver(&first, turn(number)).await.unwrap_err();
    }
    stage.clock.advance(Duration::from_secs(60));
    // The second one comes back earlier than the first.
    assert!(snoozed(stage.deliver(&second, turn(1)).await).1.contains("earlier"));
    stage.deliver(&first, turn(6)).await.unwrap();
    stage.deliver(&second, turn(1)).await.unwrap();
}

#[tokio::test]
async fn endpoints_without_strict_order_are_passed_by() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500), status(200)]).await);
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    let second = stage.another(&created.endpoint.id).await;
    stage.deliver(&first, turn(1)).await.unwrap_err();
    stage.deliver(&second, turn(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_again_and_again_still_gets_everything_in_order_from_a_worker() {
    const EVENTS: usize = 12;
    let stage = Stage::new().await;
    let script: Vec<Reply> = (0..60).map(|n| status(if n % 3 == 2 { 200 } else { 500 })).collect();
    let receiver = Receiver::start(script).await;
    let id = strict(&stage, &receiver).await;
    let mut order = Vec::new();
    for n in 0..EVENTS {
        stage.fan_out(&event(&format!("evt_{n}"), "invoice.paid")).await.unwrap();
        let new = stage.deliveries(|d| d.endpoint_id == id && !order.contains(&d.message_id)).await.remove(0);
        order.push(new.message_id);
    }
    let mut registry = Registry::new();
    register(&mut registry, Arc::new(stage.again(config()))).unwrap();
    let options = WorkerOptions {
        pools: [("notifications".parse().unwrap(), 8)].into(),
        label: "test".into(),
        lease: Duration::from_secs(3_600),
        beat_every: Duration::from_secs(1),
    };
    let (clock, entropy) = (stage.clock.clone(), stage.entropy.clone());
    let worker = Worker::start(stage.queue.clone(), Arc::new(registry), clock, entropy, options).await.unwrap();
    let (began, mut pace) = (std::time::Instant::now(), tokio::time::interval(Duration::from_millis(10)));
    while !stage.deliveries(|d| d.state != DeliveryState::Succeeded).await.is_empty() {
        pace.tick().await;
        stage.clock.advance(Duration::from_millis(500));
        stage.queue.store().promote(100).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(40), "{:?}", stage.deliveries(|_| true).await);
    }
    worker.drain(Duration::from_secs(5)).await.unwrap();
    let ids: Vec<_> = receiver.seen().iter().map(|post| post.header("webhook-id")).collect();
    // Two failures and a success each, one message after the other.
    let expected: Vec<_> = order.iter().flat_map(|id| [id.clone(), id.clone(), id.clone()]).collect();
    assert_eq!(ids, expected);
}
