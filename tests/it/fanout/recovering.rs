//! Sending again: what was failed, missed, or everything; through a death in the middle; and no more than was asked for.

use std::time::Duration;

use tidemill::fanout::endpoints;
use tidemill::fanout::history::DeliveryState;
use tidemill::fanout::recovery::{self, NewRecovery, Recovery, RecoveryError, RecoveryState, What, recover};
use tidemill::job::{JobError, Priority};
use tidemill::on_pool;

use super::receiver::{Receiver, status};
use super::stage::{START, Stage, event, turn};

const URL: &str = "http://127.0.0.1:9/hook";

async fn begin(stage: &Stage, endpoint: &str, what: What) -> Recovery {
    let new = NewRecovery { endpoint: endpoint.into(), what, since: START };
    recovery::start(&stage.state, &stage.queue, new).await.unwrap()
}

async fn work(stage: &Stage, id: &str) -> Result<Recovery, JobError> {
    recover(&stage.state, &stage.queue, id, |spec| spec, || true).await
}

/// Puts all deliveries into this state, as if their jobs had brought them there, and takes the jobs away.
async fn settle(stage: &Stage, state: &str) {
    on_pool!(stage.state.db().write(), pool => {
        sqlx::query("update deliveries set state = $1, attempts = 1, next_at = null, settled_at = 1, epoch = 9")
            .bind(state)
            .execute(pool)
            .await
            .unwrap();
    });
    for job in stage.jobs().await {
        if !job.state.is_finished() {
            stage.queue.store().cancel(job.id, "it is over").await.unwrap();
        }
    }
}

async fn live_jobs(stage: &Stage) -> Vec<Priority> {
    stage.jobs().await.into_iter().filter(|job| !job.state.is_finished()).map(|job| job.priority).collect()
}

#[tokio::test]
async fn all_that_failed_is_sent_again_after_live_traffic_and_arrives() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500), status(200)]).await);
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    settle(&stage, "exhausted").await;
    stage.clock.advance(Duration::from_secs(60));

    let run = begin(&stage, &created.endpoint.id, What::Failed).await;
    let done = work(&stage, &run.id).await.unwrap();
    assert_eq!((done.state, done.looked_at, done.sent_again, done.progress().0), (RecoveryState::Completed, 1, 1, 100));
    assert_eq!(live_jobs(&stage).await, [Priority::LAST]);
    stage.deliver(&job, turn(1)).await.unwrap();
    assert_eq!(stage.delivery(&job).await.state, DeliveryState::Succeeded);
    let seen = receiver.seen();
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
}

#[tokio::test]
async fn a_run_that_died_after_its_jobs_were_enqueued_goes_on_and_sends_nothing_twice() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(URL, &["*"]).await.endpoint.id;
    for n in 0..450 {
        stage.fan_out(&event(&format!("evt_{n}"), "invoice.paid")).await.unwrap();
    }
    settle(&stage, "exhausted").await;
    stage.clock.advance(Duration::from_secs(60));
    let run = begin(&stage, &endpoint, What::Failed).await;

    // It dies where the last step of its first batch fails: deliveries opened, jobs enqueued, the cursor not moved.
    let block = "create trigger die before update on recoveries begin select raise(abort, 'died'); end";
    on_pool!(stage.state.db().write(), pool => sqlx::query(block).execute(pool).await.unwrap());
    work(&stage, &run.id).await.unwrap_err();
    assert_eq!(live_jobs(&stage).await.len(), 200);
    on_pool!(stage.state.db().write(), pool => sqlx::query("drop trigger die").execute(pool).await.unwrap());
    // One of them is delivered before somebody goes on.
    let one = stage.jobs().await.into_iter().find(|job| !job.state.is_finished()).unwrap();
    stage.queue.store().cancel(one.id, "delivered").await.unwrap();
    let first = stage.deliveries(|d| d.state == DeliveryState::Pending).await.pop().unwrap();
    let message: serde_json::Value = serde_json::from_str(one.payload.get()).unwrap();
    on_pool!(stage.state.db().write(), pool => {
        sqlx::query("update deliveries set state = 'succeeded', settled_at = 1 where message_id = $1")
            .bind(message["message"].as_str().unwrap())
            .execute(pool)
            .await
            .unwrap();
    });
    assert!(first.id.starts_with("dlv_"));

    let done = work(&stage, &run.id).await.unwrap();
    assert_eq!((done.state, done.looked_at), (RecoveryState::Completed, 450));
    assert_eq!(live_jobs(&stage).await.len(), 449, "the delivered one is not opened again");
    assert_eq!(stage.deliveries(|d| d.state == DeliveryState::Pending).await.len(), 449);
}

#[tokio::test]
async fn what_was_missed_while_disabled_is_sent_and_what_is_not_wanted_is_not() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(URL, &["invoice.*"]).await.endpoint.id;
    stage.fan_out(&event("evt_had", "invoice.paid")).await.unwrap();
    settle(&stage, "succeeded").await;
    endpoints::disable(&stage.state, &endpoint, "broken").await.unwrap();
    stage.fan_out(&event("evt_missed", "invoice.paid")).await.unwrap();
    stage.fan_out(&event("evt_other", "order.paid")).await.unwrap();
    let refused = recovery::start(
        &stage.state,
        &stage.queue,
        NewRecovery { endpoint: endpoint.clone(), what: What::Missed, since: START },
    );
    assert!(matches!(refused.await, Err(RecoveryError::NotEnabled(_, "disabled"))));
    endpoints::enable(&stage.state, &endpoint).await.unwrap();
    stage.clock.advance(Duration::from_secs(1));

    let run = begin(&stage, &endpoint, What::Missed).await;
    let done = work(&stage, &run.id).await.unwrap();
    assert_eq!((done.looked_at, done.sent_again), (3, 1));
    let run = begin(&stage, &endpoint, What::Missed).await;
    assert_eq!(work(&stage, &run.id).await.unwrap().sent_again, 0, "once");

    settle(&stage, "succeeded").await;
    let run = begin(&stage, &endpoint, What::All).await;
    assert_eq!(work(&stage, &run.id).await.unwrap().sent_again, 2, "a replay takes what it has too");
}

#[tokio::test]
async fn a_backlog_goes_out_when_its_endpoint_is_resumed() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(URL, &["*"]).await.endpoint.id;
    endpoints::pause(&stage.state, &endpoint, "moving").await.unwrap();
    stage.fan_out(&event("evt_1", "invoice.paid")).await.unwrap();
    assert!(live_jobs(&stage).await.is_empty());
    endpoints::enable(&stage.state, &endpoint).await.unwrap();
    let run = begin(&stage, &endpoint, What::Backlog).await;
    assert_eq!(work(&stage, &run.id).await.unwrap().sent_again, 1);
    assert_eq!(live_jobs(&stage).await.len(), 1);
}

#[tokio::test]
async fn mending_leaves_what_waits_for_a_paused_endpoint_alone() {
    let stage = Stage::new().await;
    let (created, job) = stage.one_delivery(URL).await;
    endpoints::pause(&stage.state, &created.endpoint.id, "moving").await.unwrap();
    stage.fan_out(&event("evt_2", "invoice.paid")).await.unwrap();
    for one in stage.jobs().await {
        stage.queue.store().cancel(one.id, "the endpoint is paused").await.unwrap();
    }
    stage.clock.advance(Duration::from_secs(600));
    tidemill::fanout::mend(&stage.state, &stage.queue).await.unwrap();
    assert_eq!(stage.delivery(&job).await.state, DeliveryState::Pending);
    assert!(live_jobs(&stage).await.is_empty());

    endpoints::enable(&stage.state, &created.endpoint.id).await.unwrap();
    let run = begin(&stage, &created.endpoint.id, What::Backlog).await;
    tidemill::fanout::mend(&stage.state, &stage.queue).await.unwrap();
    assert_eq!(stage.delivery(&job).await.state, DeliveryState::Pending, "the recovery is about to see to it");
    assert_eq!(work(&stage, &run.id).await.unwrap().sent_again, 2);
    assert_eq!(live_jobs(&stage).await.len(), 2, "with new jobs, though the old ones are still kept");
    stage.clock.advance(Duration::from_secs(600));
    tidemill::fanout::mend(&stage.state, &stage.queue).await.unwrap();
    assert_eq!(stage.deliveries(|d| d.state == DeliveryState::Pending).await.len(), 2);
}

#[tokio::test]
async fn a_cancelled_run_opens_nothing_more_and_one_of_a_disabled_endpoint_fails() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(URL, &["*"]).await.endpoint.id;
    stage.fan_out(&event("evt_1", "invoice.paid")).await.unwrap();
    settle(&stage, "exhausted").await;
    let run = begin(&stage, &endpoint, What::Failed).await;
    recovery::cancel(&stage.state, &run.id).await.unwrap();
    assert_eq!(work(&stage, &run.id).await.unwrap().state, RecoveryState::Cancelled);
    assert!(matches!(recovery::cancel(&stage.state, &run.id).await, Err(RecoveryError::Over(..))));

    let run = begin(&stage, &endpoint, What::Failed).await;
    endpoints::disable(&stage.state, &endpoint, "gone").await.unwrap();
    assert_eq!(work(&stage, &run.id).await.unwrap().state, RecoveryState::Failed);
    assert!(live_jobs(&stage).await.is_empty());
    let ahead = NewRecovery { endpoint, what: What::All, since: START.after(Duration::from_secs(3_600)) };
    assert!(matches!(recovery::start(&stage.state, &stage.queue, ahead).await, Err(RecoveryError::Since(_))));
}

#[tokio::test]
async fn a_slice_ends_between_batches_and_the_next_goes_on_there() {
    let stage = Stage::new().await;
    let endpoint = stage.endpoint(URL, &["*"]).await.endpoint.id;
    for n in 0..250 {
        stage.fan_out(&event(&format!("evt_{n}"), "invoice.paid")).await.unwrap();
        stage.clock.advance(Duration::from_millis(10));
    }
    settle(&stage, "cancelled").await;
    let run = begin(&stage, &endpoint, What::Failed).await;
    let batches = std::cell::Cell::new(0);
    let one_batch = || batches.replace(batches.get() + 1) < 1;
    let half = recover(&stage.state, &stage.queue, &run.id, |spec| spec, one_batch).await.unwrap();
    assert_eq!((half.state, half.sent_again), (RecoveryState::Running, 200));
    assert!((79..=81).contains(&half.progress().0), "{:?}", half.progress());
    assert_eq!(work(&stage, &run.id).await.unwrap().sent_again, 250);
}

#[tokio::test]
async fn one_delivery_is_sent_again_though_it_had_succeeded_and_one_that_waits_is_tried_now() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200), status(200)]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, turn(1)).await.unwrap();
    settle(&stage, "succeeded").await;
    let delivery = stage.delivery(&job).await.id;
    let run = recovery::resend(&stage.state, &stage.queue, &delivery).await.unwrap();
    assert_eq!(work(&stage, &run.id).await.unwrap().sent_again, 1);
    assert_eq!(live_jobs(&stage).await, [Priority::FIRST]);
    stage.deliver(&job, turn(1)).await.unwrap();
    assert_eq!((receiver.seen().len(), stage.attempts(&job).await.len()), (2, 2));
    let missing = recovery::resend(&stage.state, &stage.queue, "dlv_none").await;
    assert!(matches!(missing, Err(RecoveryError::NoSuchDelivery(_))));
}

#[tokio::test]
async fn a_test_event_goes_to_one_endpoint_whatever_it_has_subscribed_to() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let picky = stage.endpoint(&receiver.url(), &["order.*"]).await;
    let other = stage.endpoint(URL, &["*"]).await;
    let message = recovery::test(&stage.state, &stage.queue, &picky.endpoint.id, None).await.unwrap();
    let found = stage.deliveries(|_| true).await;
    assert_eq!((found.len(), found[0].endpoint_id.as_str()), (1, picky.endpoint.id.as_str()));
    assert_eq!(live_jobs(&stage).await, [Priority::FIRST]);
    let job = tidemill::fanout::Deliver { message, endpoint: picky.endpoint.id };
    stage.deliver(&job, turn(1)).await.unwrap();
    assert!(receiver.seen()[0].body.contains(r#""type":"webhook.test""#));
    // Nobody else finds it when it looks for what it has missed.
    stage.clock.advance(Duration::from_secs(1));
    let run = begin(&stage, &other.endpoint.id, What::Missed).await;
    assert_eq!(work(&stage, &run.id).await.unwrap().sent_again, 0);
}

#[tokio::test]
async fn what_arrived_before_a_killed_batch_was_counted_is_counted_all_the_same() {
    for what in [What::Failed, What::All] {
        let stage = Stage::new().await;
        let endpoint = stage.endpoint(URL, &["*"]).await.endpoint.id;
        for n in 0..30 {
            stage.fan_out(&event(&format!("evt_{n}"), "invoice.paid")).await.unwrap();
        }
        settle(&stage, "exhausted").await;
        stage.clock.advance(Duration::from_secs(60));
        let run = begin(&stage, &endpoint, what).await;
        let block = "create trigger die before update on recoveries begin select raise(abort, 'died'); end";
        on_pool!(stage.state.db().write(), pool => sqlx::query(block).execute(pool).await.unwrap());
        work(&stage, &run.id).await.unwrap_err();
        assert_eq!(live_jobs(&stage).await.len(), 30);
        // All of them arrive before the run goes on.
        settle(&stage, "succeeded").await;
        on_pool!(stage.state.db().write(), pool => sqlx::query("drop trigger die").execute(pool).await.unwrap());
        let done = work(&stage, &run.id).await.unwrap();
        assert_eq!((done.state, done.looked_at, done.sent_again), (RecoveryState::Completed, 30, 30), "{what:?}");
        assert_eq!(live_jobs(&stage).await.len(), 0, "{what:?}: nothing is sent twice");
    }
}
