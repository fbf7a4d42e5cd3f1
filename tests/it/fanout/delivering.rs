//! One delivery: signed, logged, retried by the schedule, ended by success, exhaustion or a receiver that is gone.

use std::time::Duration;

use tidemill::fanout::endpoints::Rotation;
use tidemill::fanout::history::DeliveryState;
use tidemill::fanout::{Turn, deliver, endpoints};
use tidemill::job::JobError;
use tokio_util::sync::CancellationToken;

use super::receiver::{Receiver, Reply, status};
use super::stage::{START, Stage, config, is_cancelled, is_refused, node, turn, wait_ms};

#[tokio::test]
async fn a_message_arrives_signed_and_in_the_recommended_shape() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(204)]).await);
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, turn(1)).await.unwrap();

    let post = receiver.seen().remove(0);
    assert_eq!(post.request_line(), "POST /hook?token=t HTTP/1.1");
    assert_eq!(post.header("content-type"), "application/json");
    assert_eq!(post.header("webhook-id"), job.message);
    assert_eq!(post.header("webhook-timestamp"), (START.as_ms() / 1_000).to_string());
    assert_eq!(post.verified_by(created.secret.reveal()), [0]);
    let body: serde_json::Value = serde_json::from_str(&post.body).unwrap();
    assert_eq!(body["type"], "invoice.paid");
    assert_eq!(body["timestamp"], START.to_string());
    assert_eq!(body["data"]["amount_minor"], 1200);

    let attempt = stage.attempts(&job).await.remove(0);
    assert_eq!((attempt.attempt, attempt.status, attempt.host.as_str()), (1, Some(204), "127.0.0.1"));
    assert_eq!(attempt.address.as_deref(), Some(receiver.address().to_string().as_str()));
    assert_eq!(stage.delivery(&job).await.state, DeliveryState::Succeeded);
}

#[tokio::test]
async fn the_trace_of_the_cause_goes_with_the_post() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(204)]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    deliver(&stage.state, &stage.queue, &job, turn(1), Some(trace), &CancellationToken::new()).await.unwrap();
    assert_eq!(receiver.seen()[0].header("traceparent"), trace);
}

#[tokio::test]
async fn both_secrets_sign_until_the_old_one_runs_out() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500)]).await);
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    let old = created.secret.reveal();
    let new = endpoints::rotate_secret(&stage.state, &job.endpoint, Rotation::default()).await.unwrap();

    stage.deliver(&job, turn(1)).await.unwrap_err();
    stage.clock.advance(Duration::from_secs(24 * 3600 - 1));
    stage.deliver(&job, turn(2)).await.unwrap_err();
    stage.clock.advance(Duration::from_secs(1));
    stage.deliver(&job, turn(3)).await.unwrap_err();

    let seen = receiver.seen();
    for post in &seen[..2] {
        assert_eq!((post.verified_by(new.reveal()), post.verified_by(old)), (vec![0], vec![1]));
    }
    assert_eq!((seen[2].verified_by(new.reveal()), seen[2].verified_by(old)), (vec![0], vec![]));
    assert_eq!(seen[2].header("webhook-signature").split(' ').count(), 1);
}

#[tokio::test]
async fn a_failed_attempt_is_retried_with_the_same_id_and_body_and_both_are_logged() {
    let stage = Stage::new().await;
    let receiver =
        Receiver::start(vec![Reply::Status(500, "", "no".into()), Reply::Status(200, "", "yes".into())]).await;
    let (_, job) = stage.one_delivery(&receiver.url()).await;

    assert_eq!(wait_ms(stage.deliver(&job, turn(1)).await), 1_000);
    let delivery = stage.delivery(&job).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.last_status), (DeliveryState::Failed, 1, Some(500)));
    assert_eq!(delivery.next_at, Some(START.after(Duration::from_secs(1))));

    stage.clock.advance(Duration::from_secs(1));
    stage.deliver(&job, turn(2)).await.unwrap();
    let delivery = stage.delivery(&job).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.next_at), (DeliveryState::Succeeded, 2, None));
    let log: Vec<_> = stage.attempts(&job).await.into_iter().map(|a| (a.attempt, a.status, a.reply)).collect();
    assert_eq!(log, [(1, Some(500), "no".into()), (2, Some(200), "yes".into())]);

    let seen = receiver.seen();
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    assert_eq!(seen[0].body, seen[1].body);
    assert_ne!(seen[0].header("webhook-timestamp"), seen[1].header("webhook-timestamp"));
}

#[tokio::test]
async fn a_delivery_that_succeeded_is_not_posted_again() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, turn(1)).await.unwrap();
    stage.deliver(&job, turn(2)).await.unwrap();
    assert_eq!((receiver.seen().len(), stage.attempts(&job).await.len()), (1, 1));
}

#[tokio::test]
async fn the_waits_follow_the_list_and_the_last_attempt_exhausts_the_delivery() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500)]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    assert_eq!(stage.jobs().await[0].max_attempts, 4);
    let mut waits = Vec::new();
    for number in 1..=3 {
        waits.push(wait_ms(stage.deliver(&job, turn(number)).await));
    }
    assert_eq!(waits, [1_000, 2_000, 4_000]);
    let last = stage.deliver(&job, Turn { is_last: true, ..turn(4) }).await;
    assert!(matches!(last, Err(JobError::Retry { .. })), "{last:?}");
    let delivery = stage.delivery(&job).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.next_at), (DeliveryState::Exhausted, 4, None));
}

#[tokio::test]
async fn an_exhausted_delivery_whose_job_is_revived_goes_on() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500), status(200)]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, Turn { is_last: true, ..turn(1) }).await.unwrap_err();
    stage.deliver(&job, Turn { number: 1, is_last: false, epoch: 2, node: node() }).await.unwrap();
    assert_eq!(stage.delivery(&job).await.state, DeliveryState::Succeeded);
}

#[tokio::test]
async fn a_longer_retry_after_is_followed_up_to_the_cap() {
    let day_ms = 24 * 3600 * 1_000;
    let table = [
        (429, "retry-after: 120\r\n", 120_000),
        (503, "retry-after: 120\r\n", 120_000),
        (503, "retry-after: Thu, 01 Jan 2026 00:10:00 GMT\r\n", 600_000),
        (429, "retry-after: 315360000\r\n", day_ms),
        (429, "retry-after: 99999999999999999999999999\r\n", day_ms),
        (429, "retry-after: 0\r\n", 1_000),
        (429, "retry-after: -5\r\n", 1_000),
        (429, "retry-after: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 1_000),
        (429, "retry-after: soon\r\n", 1_000),
        (429, "retry-after: nan\r\n", 1_000),
        (429, "retry-after:\r\n", 1_000),
        (500, "retry-after: 120\r\n", 1_000),
        (302, "retry-after: 120\r\n", 1_000),
    ];
    let stage = Stage::new().await;
    for (code, header, expected) in table {
        let receiver = Receiver::start(vec![Reply::Status(code, header, String::new())]).await;
        let (_, job) = stage.one_delivery(&receiver.url()).await;
        assert_eq!(wait_ms(stage.deliver(&job, turn(1)).await), expected, "{code} {header}");
    }
}

#[tokio::test]
async fn a_410_disables_the_endpoint_and_cancels_what_is_on_its_way() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(410)]).await);
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    stage.fan_out(&super::stage::event("evt_2", "invoice.paid")).await.unwrap();
    let second = stage.deliveries(|d| d.message_id != first.message).await.remove(0);
    let second = tidemill::fanout::Deliver { message: second.message_id, endpoint: second.endpoint_id };

    assert!(is_cancelled(&stage.deliver(&first, turn(1)).await));
    let endpoint = endpoints::get(stage.state.db(), &created.endpoint.id).await.unwrap();
    assert_eq!(endpoint.state, endpoints::EndpointState::Disabled);
    assert!(endpoint.reason.unwrap().contains("410"));

    assert!(is_cancelled(&stage.deliver(&second, turn(1)).await));
    assert_eq!(receiver.seen().len(), 1);
    for job in [&first, &second] {
        assert_eq!(stage.delivery(job).await.state, DeliveryState::Cancelled);
    }
    assert_eq!(stage.attempts(&first).await[0].status, Some(410));
}

#[tokio::test]
async fn a_delivery_to_a_disabled_or_deleted_endpoint_is_cancelled_without_a_post() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let (disabled, first) = stage.one_delivery(&receiver.url()).await;
    let (deleted, second) = stage.one_delivery(&receiver.url()).await;
    endpoints::disable(&stage.state, &disabled.endpoint.id, "moving house").await.unwrap();
    endpoints::delete(stage.state.db(), &deleted.endpoint.id).await.unwrap();
    for job in [&first, &second] {
        assert!(is_cancelled(&stage.deliver(job, turn(1)).await));
        let delivery = stage.delivery(job).await;
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Cancelled, 0));
    }
    assert!(stage.delivery(&first).await.last_error.unwrap().contains("moving house"));
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn an_attempt_with_a_stale_lease_is_logged_and_changes_nothing() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(vec![status(500), status(500), status(200), status(500)]).await;
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, Turn { number: 2, is_last: false, epoch: 5, node: node() }).await.unwrap_err();
    let before = stage.delivery(&job).await;

    let stale = Turn { number: 1, is_last: true, epoch: 4, node: node() };
    stage.deliver(&job, stale).await.unwrap_err();
    let after = stage.delivery(&job).await;
    assert_eq!((after.state, after.next_at), (DeliveryState::Failed, before.next_at));
    assert_eq!((after.attempts, stage.attempts(&job).await.len()), (2, 2));

    // That the receiver has it is true, whoever says so.
    stage.deliver(&job, stale).await.unwrap();
    assert_eq!(stage.delivery(&job).await.state, DeliveryState::Succeeded);
}

#[tokio::test]
async fn an_endpoint_that_the_rules_no_longer_allow_gets_nothing() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let (_, literal) = stage.one_delivery(&receiver.url()).await;
    let strict = tidemill::config::fanout::FanoutConfig { allow_addresses: Vec::new(), ..config() };
    assert!(is_refused(&strict, &receiver.url()));

    let by_name = format!("http://localhost:{}/", receiver.address().port());
    let open = tidemill::config::fanout::FanoutConfig { ports: vec![receiver.address().port()], ..config() };
    let open = stage.again(tidemill::config::fanout::FanoutConfig {
        allow_addresses: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        ..open
    });
    let new = endpoints::NewEndpoint {
        tenant: "acme".into(),
        url: by_name,
        event_types: vec!["*".into()],
        ..endpoints::NewEndpoint::default()
    };
    let named = endpoints::create(&open, new).await.unwrap();
    stage.fan_out(&super::stage::event("evt_named", "invoice.paid")).await.unwrap();
    let found = stage.deliveries(|d| d.endpoint_id == named.endpoint.id).await.remove(0);
    let named = tidemill::fanout::Deliver { message: found.message_id, endpoint: found.endpoint_id };

    // The name passes the check of its form, so it is the client's resolver that must refuse it.
    let strict =
        stage.again(tidemill::config::fanout::FanoutConfig { ports: vec![receiver.address().port()], ..strict });
    for job in [&literal, &named] {
        deliver(&strict, &stage.queue, job, turn(1), None, &CancellationToken::new()).await.unwrap_err();
        let attempt = stage.attempts(job).await.remove(0);
        assert_eq!(attempt.error_class.as_deref(), Some("refused"), "{attempt:?}");
    }
    assert!(receiver.seen().is_empty());
    deliver(&open, &stage.queue, &named, turn(2), None, &CancellationToken::new()).await.unwrap();
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn a_delivery_whose_message_was_pruned_is_cancelled() {
    let stage = Stage::new().await;
    let job = tidemill::fanout::Deliver { message: "msg_0".into(), endpoint: "ep_0".into() };
    assert!(is_cancelled(&stage.deliver(&job, turn(1)).await));
}

#[tokio::test]
async fn a_post_whose_job_is_stopped_ends_soon_is_logged_and_leaves_the_delivery_as_it_was() {
    let stage = Stage::with(tidemill::config::fanout::FanoutConfig { timeout_ms: 60_000, ..config() }).await;
    let receiver = Receiver::start(vec![Reply::Silence]).await;
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    let stop = CancellationToken::new();
    let started = std::time::Instant::now();
    let stopping = async {
        while receiver.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(deliver(&stage.state, &stage.queue, &job, turn(1), None, &stop), stopping);
    assert!(matches!(outcome, Err(JobError::Retry { .. })), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(stage.attempts(&job).await[0].error_class.as_deref(), Some("stopped"));
    let delivery = stage.delivery(&job).await;
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Pending, 1));
}

#[tokio::test]
async fn a_connection_that_the_receiver_has_closed_is_not_used_again() {
    let closing = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![closing, status(200)]).await);
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    let next = stage.another(&created.endpoint.id).await;
    for job in [&first, &next] {
        stage.deliver(job, turn(1)).await.unwrap();
        assert_eq!(stage.attempts(job).await[0].reused, Some(false));
    }
    let third = stage.another(&created.endpoint.id).await;
    stage.deliver(&third, turn(1)).await.unwrap();
    assert_eq!(stage.attempts(&third).await[0].reused, Some(true), "one that stays open is");
}
