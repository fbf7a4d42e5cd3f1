//! Retention of what was sent: old and settled goes, in bounded steps; nothing that may still be tried.

use std::time::Duration;

use tidemill::fanout::history::{self, DeliveryFilter, DeliveryState};
use tidemill::fanout::{PageRequest, prune};

use super::receiver::{Receiver, status};
use super::stage::{Stage, turn};

#[tokio::test]
async fn what_is_old_and_settled_goes_in_bounded_steps_and_the_rest_stays() {
    let stage = Stage::new().await;
    let good = Receiver::start(vec![status(200)]).await;
    let bad = Receiver::start(vec![status(500)]).await;
    for _ in 0..3 {
        let (created, job) = stage.one_delivery(&good.url()).await;
        stage.deliver(&job, turn(1)).await.unwrap();
        tidemill::fanout::endpoints::delete(stage.state.db(), &created.endpoint.id).await.unwrap();
    }
    let (_, waiting) = stage.one_delivery(&bad.url()).await;
    stage.clock.advance(Duration::from_secs(3600));
    stage.deliver(&waiting, turn(1)).await.unwrap_err();
    let (_, recent) = stage.one_delivery(&good.url()).await;
    stage.deliver(&recent, turn(1)).await.unwrap();

    let before = stage.clock.now();
    let db = stage.state.db();
    let mut steps = Vec::new();
    loop {
        let taken = prune(db, before, 2).await.unwrap();
        assert!(taken <= 2);
        steps.push(taken);
        if taken < 2 {
            break;
        }
    }
    assert_eq!(steps.iter().sum::<u64>(), 9, "three attempts, deliveries and messages: {steps:?}");
    // The recent receiver's endpoint matched nothing else, and the failed delivery is still to be tried.
    let left: Vec<_> = stage.deliveries(|_| true).await.into_iter().map(|d| d.state).collect();
    assert_eq!(left.iter().filter(|s| **s == DeliveryState::Failed).count(), 1);
    assert_eq!(stage.attempts(&waiting).await.len(), 1);
    assert_eq!(stage.attempts(&recent).await.len(), 1);
    stage.deliver(&waiting, turn(2)).await.unwrap_err();
}

#[tokio::test]
async fn a_delivery_without_a_job_is_marked_and_goes_a_week_later() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500), status(200)]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    let (_, alive) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    let db = stage.state.db();
    stage.clock.advance(Duration::from_secs(3600));
    assert_eq!(prune(db, stage.clock.now(), 100).await.unwrap(), 0);
    let delivery = stage.delivery(&job).await;
    assert_eq!(delivery.state, DeliveryState::Cancelled);
    assert!(delivery.last_error.unwrap().contains("abandoned"));

    // This one's job had only been waiting in a paused queue.
    stage.deliver(&alive, turn(1)).await.unwrap();
    assert_eq!(stage.delivery(&alive).await.state, DeliveryState::Succeeded);

    stage.clock.advance(Duration::from_secs(7 * 24 * 3600 + 1));
    // Attempts, deliveries (the first endpoint wants the second message too) and messages.
    assert_eq!(prune(db, stage.clock.now(), 100).await.unwrap(), 2 + 3 + 2);
    assert!(stage.deliveries(|_| true).await.is_empty());
}

#[tokio::test]
async fn deliveries_are_found_by_message_endpoint_tenant_and_state() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let (created, first) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&first, turn(1)).await.unwrap();
    stage.fan_out(&super::stage::event("evt_2", "invoice.paid")).await.unwrap();

    let count = async |filter: DeliveryFilter| {
        history::deliveries(stage.state.db(), &filter, &PageRequest::default()).await.unwrap().items.len()
    };
    let none = DeliveryFilter::default;
    assert_eq!(count(none()).await, 2);
    assert_eq!(count(DeliveryFilter { message: Some(first.message.clone()), ..none() }).await, 1);
    assert_eq!(count(DeliveryFilter { endpoint: Some(created.endpoint.id.clone()), ..none() }).await, 2);
    assert_eq!(count(DeliveryFilter { tenant: Some("acme".into()), ..none() }).await, 2);
    assert_eq!(count(DeliveryFilter { tenant: Some("other".into()), ..none() }).await, 0);
    let pending = DeliveryFilter { state: Some(DeliveryState::Pending), ..none() };
    assert_eq!(count(pending.clone()).await, 1);
    assert_eq!(count(DeliveryFilter { endpoint: Some(created.endpoint.id), ..pending.clone() }).await, 1);
    assert_eq!(count(DeliveryFilter { tenant: Some("other".into()), ..pending }).await, 0);
    let message = history::message(stage.state.db(), &first.message).await.unwrap().unwrap();
    assert_eq!(message.event_type, "invoice.paid");
}
