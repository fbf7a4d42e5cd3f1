//! Limits that limit: a rate and a concurrency that hold over processes, and one endpoint that hangs holds up no other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tidemill::clock::Timestamp;
use tidemill::config::fanout::FanoutConfig;
use tidemill::fanout::history::DeliveryState;
use tidemill::fanout::{Rate, Sending, deliver, register};
use tidemill::job::JobError;
use tidemill::worker::{Registry, Worker, WorkerOptions};
use tokio_util::sync::CancellationToken;

use super::receiver::{Receiver, Reply, status};
use super::stage::{START, Stage, config, event, snoozed, turn};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_rate_holds_within_two_percent_over_a_minute_on_two_nodes() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let created = stage.endpoint(&receiver.url(), &["*"]).await;
    let id = &created.endpoint.id;
    let limit: u32 = 300;
    stage.set(id, Sending { rate: Some(Rate { limit, window_ms: 60_000 }), ..Sending::default() }).await;
    for n in 0..limit + 80 {
        stage.fan_out(&event(&format!("evt_{n}"), "invoice.paid")).await.unwrap();
    }
    let jobs = stage.deliveries(|d| d.endpoint_id == *id).await;
    let nodes = [stage.again(config()), stage.again(config())];
    let stop = CancellationToken::new();
    // Each job comes back when its node has put it off to, as from a queue; both nodes take from it in turn.
    let mut due: BinaryHeap<Reverse<(Timestamp, usize)>> = (0..jobs.len()).map(|n| Reverse((START, n))).collect();
    let (mut sent, mut looks) = (0, 0);
    while let Some(Reverse((at, n))) = due.pop() {
        if at > START.after(MINUTE) {
            break;
        }
        stage.clock.set(at.max(stage.clock.now()));
        looks += 1;
        let job = tidemill::fanout::Deliver { message: jobs[n].message_id.clone(), endpoint: id.clone() };
        match deliver(&nodes[looks % 2], &stage.queue, &job, turn(1), None, &stop).await {
            Ok(_) => sent += 1,
            Err(JobError::Snooze { after, .. }) => due.push(Reverse((at.after(after), n))),
            Err(other) => panic!("{other:?}"),
        }
    }
    let (least, most) = (limit * 98 / 100, limit * 102 / 100);
    assert!((least..=most).contains(&sent), "{sent} in a minute, not {least} to {most}");
    assert_eq!(receiver.seen().len(), sent as usize);
    assert!(looks < 5 * sent as usize, "{looks} looks for {sent} POSTs");
}

#[tokio::test]
async fn an_endpoint_gets_no_more_posts_at_once_than_it_may_from_two_nodes_together() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![Reply::Silence]).await);
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    let id = &created.endpoint.id;
    stage.set(id, Sending { max_concurrency: Some(2), ..Sending::default() }).await;
    let (second, third) = (stage.another(id).await, stage.another(id).await);
    let (here, elsewhere, stop) = (stage.again(config()), stage.again(config()), CancellationToken::new());
    let both_hang = async {
        while receiver.seen().len() < 2 {
            tokio::task::yield_now().await;
        }
        for node in [&here, &elsewhere] {
            let (_, why) = snoozed(deliver(node, &stage.queue, &third, turn(1), None, &stop).await);
            assert!(why.contains("under way"), "{why}");
        }
    };
    tokio::select! {
        one = deliver(&here, &stage.queue, &first, turn(1), None, &stop) => panic!("{one:?}"),
        two = deliver(&elsewhere, &stage.queue, &second, turn(1), None, &stop) => panic!("{two:?}"),
        () = both_hang => {}
    }
    assert_eq!(receiver.seen().len(), 2);
    // Both were cut off: their leases end with their lines, at the latest by their own deadline.
    stage.clock.advance(Duration::from_secs(41));
    tokio::select! {
        outcome = deliver(&here, &stage.queue, &third, turn(1), None, &stop) => panic!("{outcome:?}"),
        () = async { while receiver.seen().len() < 3 { tokio::task::yield_now().await } } => {}
    }
}

async fn worker(stage: &Stage, settings: FanoutConfig, places: usize) -> Worker {
    let mut registry = Registry::new();
    register(&mut registry, Arc::new(stage.again(settings))).unwrap();
    let options = WorkerOptions {
        pools: [("notifications".parse().unwrap(), places)].into(),
        label: "test".into(),
        lease: Duration::from_secs(3_600),
        beat_every: Duration::from_secs(1),
    };
    let (clock, entropy) = (stage.clock.clone(), stage.entropy.clone());
    Worker::start(stage.queue.clone(), Arc::new(registry), clock, entropy, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_hanging_endpoints_than_the_pool_has_places_hold_up_nobody() {
    const PLACES: usize = 2;
    const HANGING: usize = 6;
    let settings = FanoutConfig { timeout_ms: 60_000, max_concurrency: 1, ..config() };
    let stage = Stage::with(settings.clone()).await;
    let (hanging, healthy) = (Receiver::start(vec![Reply::Silence]).await, Receiver::start(vec![status(200)]).await);
    for _ in 0..HANGING {
        stage.endpoint(&hanging.url(), &["*"]).await;
    }
    stage.endpoint(&healthy.url(), &["*"]).await;
    let worker = worker(&stage, settings, PLACES).await;
    stage.queue.enqueue(event("evt_1", "invoice.paid").into_spec().unwrap()).await.unwrap();
    let (began, mut pace) = (std::time::Instant::now(), tokio::time::interval(Duration::from_millis(10)));
    // Those that hang are under way still, outside of the places.
    while healthy.seen().is_empty() || hanging.seen().len() < HANGING || worker.running() != HANGING {
        pace.tick().await;
        let got = (healthy.seen().len(), hanging.seen().len());
        assert!(began.elapsed() < Duration::from_secs(40), "those that hang hold up the others: {got:?}");
    }
    worker.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hanging_endpoint_of_ten_holds_its_own_places_and_delays_nobody() {
    const EACH: usize = 20;
    const AT_ONCE: usize = 3;
    // The pool has fewer places than the hanging endpoint has deliveries.
    const PLACES: usize = 12;
    let settings = FanoutConfig { timeout_ms: 60_000, max_concurrency: AT_ONCE as u32, ..config() };
    let stage = Stage::with(settings.clone()).await;
    let hanging = Receiver::start(vec![Reply::Silence]).await;
    let mut healthy = Vec::new();
    let stuck = stage.endpoint(&hanging.url(), &["*"]).await;
    for _ in 0..9 {
        let receiver = Receiver::start(vec![status(200)]).await;
        stage.endpoint(&receiver.url(), &["*"]).await;
        healthy.push(receiver);
    }
    let worker = worker(&stage, settings, PLACES).await;
    for n in 0..EACH {
        stage.queue.enqueue(event(&format!("evt_{n}"), "invoice.paid").into_spec().unwrap()).await.unwrap();
    }
    let (began, mut pace) = (std::time::Instant::now(), tokio::time::interval(Duration::from_millis(10)));
    while healthy.iter().any(|receiver| receiver.seen().len() < EACH) {
        pace.tick().await;
        stage.clock.advance(Duration::from_millis(50));
        stage.queue.store().promote(1_000).await.unwrap();
        let got: Vec<_> = healthy.iter().map(|r| r.seen().len()).collect();
        assert!(began.elapsed() < Duration::from_secs(40), "the hanging one holds up the others: {got:?}");
    }
    assert_eq!(hanging.seen().len(), AT_ONCE, "it has its own places and no more");
    let waiting = stage.deliveries(|d| d.endpoint_id == stuck.endpoint.id).await;
    assert!(waiting.iter().all(|d| d.state == DeliveryState::Pending) && waiting.len() == EACH);
    worker.drain(Duration::from_secs(1)).await.unwrap();
}
