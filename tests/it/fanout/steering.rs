//! What a receiver's answers do to its endpoint: rest, slow down, disable; and an endpoint's own schedule.

use std::time::Duration;

use tidemill::config::fanout::FanoutConfig;
use tidemill::fanout::endpoints::{self, EndpointState};
use tidemill::fanout::history::DeliveryState;
use tidemill::fanout::{Rate, Sending, SendingError, sending, set_sending};

use super::receiver::{Receiver, Reply, status};
use super::stage::{START, Stage, config, is_cancelled, snoozed, turn, wait_ms};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn steer(code: u16, word: &'static str) -> Reply {
    Reply::Status(code, word, String::new())
}

#[tokio::test]
async fn an_endpoint_has_its_own_schedule() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500)]).await);
    let (created, _) = stage.one_delivery(&receiver.url()).await;
    let own = Sending { retry_delays_ms: Some(vec![7_000, 9_000]), ..Sending::default() };
    stage.set(&created.endpoint.id, own.clone()).await;
    assert_eq!(sending(stage.state.db(), &created.endpoint.id).await.unwrap(), own);

    let job = stage.another(&created.endpoint.id).await;
    let of_it = stage.jobs().await.into_iter().find(|j| j.payload.get().contains(&job.message)).unwrap();
    assert_eq!(of_it.max_attempts, 3);
    assert_eq!(wait_ms(stage.deliver(&job, turn(1)).await), 7_000);
    assert_eq!(wait_ms(stage.deliver(&job, turn(2)).await), 9_000);
}

#[tokio::test]
async fn settings_out_of_range_are_refused_by_name() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let (created, _) = stage.one_delivery(&receiver.url()).await;
    let rate = |limit, window_ms| Sending { rate: Some(Rate { limit, window_ms }), ..Sending::default() };
    let table = [
        (Sending { max_concurrency: Some(0), ..Sending::default() }, "sending.max_concurrency"),
        (Sending { max_concurrency: Some(1_001), ..Sending::default() }, "sending.max_concurrency"),
        (Sending { retry_delays_ms: Some(vec![u64::MAX]), ..Sending::default() }, "sending.retry_delays_ms"),
        (rate(0, 1_000), "sending.rate.limit"),
        (rate(1, 999), "sending.rate.window_ms"),
    ];
    let db = stage.state.db();
    for (wrong, named) in table {
        let refused = set_sending(db, &created.endpoint.id, &wrong, START).await.unwrap_err();
        assert!(matches!(refused, SendingError::Invalid { field, .. } if field == named), "{refused}");
    }
    assert_eq!(sending(db, &created.endpoint.id).await.unwrap(), Sending::default());
    let nobody = set_sending(db, "ep_0", &Sending::default(), START).await;
    assert!(matches!(nobody, Err(SendingError::NoSuchEndpoint(_))));
}

#[tokio::test]
async fn five_failures_open_the_breaker_for_a_minute_and_one_probe_closes_it() {
    let stage = Stage::new().await;
    let mut script = vec![status(500); 6];
    script.push(status(200));
    let receiver = Receiver::start(script).await;
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    let other = stage.another(&created.endpoint.id).await;
    for number in 1..=5 {
        stage.deliver(&first, turn(number)).await.unwrap_err();
    }
    let (wait, why) = snoozed(stage.deliver(&other, turn(1)).await);
    assert!(why.contains("breaker") && wait >= 60 * SECOND && wait < 62 * SECOND, "{wait:?} {why}");
    // Another process learns it from the store.
    let elsewhere = stage.again(config());
    let stop = tokio_util::sync::CancellationToken::new();
    let outcome = tidemill::fanout::deliver(&elsewhere, &stage.queue, &other, turn(1), None, &stop).await;
    assert!(snoozed(outcome).1.contains("breaker"));
    assert_eq!(receiver.seen().len(), 5, "nothing is sent while it is open");

    stage.clock.advance(60 * SECOND);
    // The probe fails: open again at once.
    stage.deliver(&other, turn(1)).await.unwrap_err();
    assert_eq!(receiver.seen().len(), 6);
    snoozed(stage.deliver(&first, turn(6)).await);
    stage.clock.advance(60 * SECOND);
    stage.deliver(&other, turn(2)).await.unwrap();
    stage.deliver(&first, turn(6)).await.unwrap();
    assert_eq!(stage.delivery(&other).await.attempts, 2, "put off is not tried");
}

#[tokio::test]
async fn while_the_probe_is_under_way_nothing_else_is_sent() {
    let stage = Stage::new().await;
    let receiver = Receiver::start([vec![status(500); 5], vec![Reply::Silence]].concat()).await;
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    let others = [stage.another(&created.endpoint.id).await, stage.another(&created.endpoint.id).await];
    for number in 1..=5 {
        stage.deliver(&first, turn(number)).await.unwrap_err();
    }
    stage.clock.advance(60 * SECOND);
    let asked = async {
        while receiver.seen().len() < 6 {
            tokio::task::yield_now().await;
        }
        for job in &others {
            assert!(snoozed(stage.deliver(job, turn(1)).await).1.contains("breaker"));
        }
    };
    tokio::select! {
        probe = stage.deliver(&first, turn(6)) => panic!("the probe came back: {probe:?}"),
        () = asked => {}
    }
    assert_eq!(receiver.seen().len(), 6);
}

#[tokio::test]
async fn a_429_or_a_503_that_names_a_time_slows_the_whole_endpoint_down() {
    let table = [
        (429, "retry-after: 120\r\n", Some(120)),
        (503, "retry-after: 120\r\n", Some(120)),
        (429, "retry-after: 315360000\r\n", Some(3_600)),
        (429, "", Some(5)),
        (503, "", None),
        (500, "retry-after: 120\r\n", None),
    ];
    for (code, header, expected) in table {
        let stage = Stage::new().await;
        let receiver = Receiver::start(vec![Reply::Status(code, header, String::new()), status(200)]).await;
        let (created, first) = stage.one_delivery(&receiver.url()).await;
        let other = stage.another(&created.endpoint.id).await;
        stage.deliver(&first, turn(1)).await.unwrap_err();
        if let Some(seconds) = expected {
            let (wait, _) = snoozed(stage.deliver(&other, turn(1)).await);
            assert_eq!(wait.as_secs(), seconds, "{code} {header}");
            stage.clock.advance(wait);
        }
        stage.deliver(&other, turn(1)).await.unwrap();
    }
}

#[tokio::test]
async fn the_receiver_steers_its_sender_by_a_header_of_its_reply() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(vec![steer(500, "webhook-delivery: abort-message\r\n"), status(200)]).await;
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    assert!(is_cancelled(&stage.deliver(&job, turn(1)).await));
    let delivery = stage.delivery(&job).await;
    assert_eq!((delivery.state, delivery.last_status), (DeliveryState::Cancelled, Some(500)));
    assert!(delivery.last_error.unwrap().contains("abort-message"));
    let next = stage.another(&created.endpoint.id).await;
    stage.deliver(&next, turn(1)).await.unwrap();

    for (code, state) in [(500, DeliveryState::Cancelled), (200, DeliveryState::Succeeded)] {
        let receiver = Receiver::start(vec![steer(code, "webhook-delivery: disable\r\n")]).await;
        let (created, job) = stage.one_delivery(&receiver.url()).await;
        let _ = stage.deliver(&job, turn(1)).await;
        assert_eq!(stage.delivery(&job).await.state, state);
        let endpoint = endpoints::get(stage.state.db(), &created.endpoint.id).await.unwrap();
        assert_eq!(endpoint.state, EndpointState::Disabled);
        assert!(endpoint.reason.unwrap().contains("disable"));
    }

    let receiver = Receiver::start(vec![steer(500, "webhook-delivery: whatever\r\n")]).await;
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    assert_eq!(wait_ms(stage.deliver(&job, turn(1)).await), 1_000, "an unknown word steers nothing");
    assert_eq!(endpoints::get(stage.state.db(), &created.endpoint.id).await.unwrap().state, EndpointState::Enabled);
}

/// A breaker that stays shut, so that the days go by quickly.
async fn patient() -> Stage {
    Stage::with(FanoutConfig { breaker_failures: 1_000, retry_delays_ms: vec![1_000; 50], ..config() }).await
}

#[tokio::test]
async fn five_days_without_an_answer_disable_an_endpoint_and_its_backlog_is_kept() {
    let (stage, receiver) = (patient().await, Receiver::start(vec![status(500)]).await);
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    let waiting = stage.another(&created.endpoint.id).await;
    let enabled = async || endpoints::get(stage.state.db(), &created.endpoint.id).await.unwrap().reason.is_none();
    for number in 1..=5 {
        stage.deliver(&job, turn(number)).await.unwrap_err();
        assert!(enabled().await, "after {} days", number - 1);
        stage.clock.advance(24 * HOUR);
    }
    stage.deliver(&job, turn(6)).await.unwrap_err();
    let endpoint = endpoints::get(stage.state.db(), &created.endpoint.id).await.unwrap();
    assert!(endpoint.reason.unwrap().contains(&START.to_string()), "it says since when");

    assert!(is_cancelled(&stage.deliver(&waiting, turn(1)).await));
    let kept = stage.delivery(&waiting).await;
    assert_eq!((kept.state, kept.attempts), (DeliveryState::Cancelled, 0));
    assert!(kept.last_error.unwrap().contains("disabled"));

    // Enabled again, it has five days again.
    endpoints::enable(&stage.state, &created.endpoint.id).await.unwrap();
    let again = stage.another(&created.endpoint.id).await;
    stage.deliver(&again, turn(1)).await.unwrap_err();
    assert!(enabled().await);
}

#[tokio::test]
async fn one_success_or_a_long_silence_begins_the_five_days_anew() {
    let (stage, receiver) = (patient().await, Receiver::start(vec![status(500), status(200), status(500)]).await);
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    let second = stage.another(&created.endpoint.id).await;
    stage.deliver(&first, turn(1)).await.unwrap_err();
    for (job, number, pause) in
        [(&first, 2, 40 * HOUR), (&second, 1, 40 * HOUR), (&second, 2, 40 * HOUR), (&second, 3, 40 * HOUR)]
    {
        stage.clock.advance(pause);
        let _ = stage.deliver(job, turn(number)).await;
    }
    // 160 hours after the first failure, 80 after the first one that no success has followed.
    let reason = async || endpoints::get(stage.state.db(), &created.endpoint.id).await.unwrap().reason;
    assert_eq!(reason().await, None);
    // Nothing was sent for ten days: that nobody asked is no failure.
    stage.clock.advance(240 * HOUR);
    stage.deliver(&second, turn(4)).await.unwrap_err();
    assert_eq!(reason().await, None);
}
