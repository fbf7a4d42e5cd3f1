//! What a process knows of an endpoint from the last delivery never outlives a change that another process has made: it
//! counts from the next delivery on.

use std::time::Duration;

use tidemill::clock::Entropy;
use tidemill::data::Database;
use tidemill::fanout::endpoints::{self, EndpointChange, Rotation};
use tidemill::fanout::history::DeliveryState;
use tidemill::fanout::{Deliver, FanoutState, Ordering, Rate, Sending, set_sending};
use tidemill::job::Done;

use super::receiver::{Receiver, Reply, status};
use super::stage::{Stage, config, is_cancelled, sealer, snoozed, turn};

/// An endpoint that two deliveries went to, so that this process knows it, a third that waits, and another process.
struct Known {
    stage: Stage,
    receiver: Receiver,
    endpoint: String,
    secret: String,
    waiting: Deliver,
    elsewhere: FanoutState,
}

impl Known {
    async fn new() -> Self {
        Self::answering(vec![status(200)]).await
    }

    async fn answering(script: Vec<Reply>) -> Self {
        let (stage, receiver) = (Stage::new().await, Receiver::start(script).await);
        let (created, first) = stage.one_delivery(&receiver.url()).await;
        let endpoint = created.endpoint.id.clone();
        stage.deliver(&first, turn(1)).await.unwrap();
        let second = stage.another(&endpoint).await;
        stage.deliver(&second, turn(1)).await.unwrap();
        assert_eq!(receiver.seen().len(), 2);
        let waiting = stage.another(&endpoint).await;
        let db = Database::open(&stage.folder().join("data.db")).await.unwrap();
        let clock = stage.clock.clone();
        let elsewhere = FanoutState::new(db, config(), sealer(1), clock, Entropy::seeded(8)).unwrap();
        let secret = created.secret.reveal().to_owned();
        Self { stage, receiver, endpoint, secret, waiting, elsewhere }
    }

    async fn deliver(&self) -> Result<Done, tidemill::job::JobError> {
        self.stage.deliver(&self.waiting, turn(1)).await
    }

    async fn change(&self, change: EndpointChange) {
        endpoints::update(&self.elsewhere, &self.endpoint, change).await.unwrap();
    }

    async fn set(&self, to: Sending) {
        set_sending(self.elsewhere.db(), &self.endpoint, &to, self.stage.clock.now()).await.unwrap();
    }

    /// Nothing was sent, and no line was opened.
    async fn nothing_came(&self, state: DeliveryState) {
        assert_eq!(self.receiver.seen().len(), 2);
        assert_eq!(self.stage.delivery(&self.waiting).await.state, state);
        assert!(self.stage.attempts(&self.waiting).await.is_empty());
    }
}

#[tokio::test]
async fn an_endpoint_that_another_process_has_paused_gets_nothing_more() {
    let known = Known::new().await;
    endpoints::pause(&known.elsewhere, &known.endpoint, "audit").await.unwrap();
    assert!(is_cancelled(&known.deliver().await));
    known.nothing_came(DeliveryState::Pending).await;
}

#[tokio::test]
async fn an_endpoint_that_another_process_has_disabled_or_deleted_gets_nothing_more() {
    let known = Known::new().await;
    endpoints::disable(&known.elsewhere, &known.endpoint, "fraud").await.unwrap();
    assert!(is_cancelled(&known.deliver().await));
    known.nothing_came(DeliveryState::Cancelled).await;

    let known = Known::new().await;
    endpoints::delete(known.elsewhere.db(), &known.endpoint).await.unwrap();
    assert!(is_cancelled(&known.deliver().await));
    known.nothing_came(DeliveryState::Cancelled).await;
}

#[tokio::test]
async fn an_edit_by_another_process_is_in_the_next_post() {
    let known = Known::new().await;
    let moved = Receiver::start(vec![status(200)]).await;
    let headers = [("x-shard".to_owned(), "7".to_owned())].into();
    let prefix = Some("X-Acme".to_owned());
    known
        .change(EndpointChange {
            url: Some(moved.url()),
            headers: Some(headers),
            header_prefix: prefix,
            ..EndpointChange::default()
        })
        .await;
    known.deliver().await.unwrap();
    assert_eq!((known.receiver.seen().len(), moved.seen().len()), (2, 1));
    let post = moved.seen().remove(0);
    assert_eq!(post.header("x-shard"), "7");
    assert_eq!(post.header("x-acme-signature"), post.header("webhook-signature"));
    assert_eq!(post.verified_by(&known.secret), [0]);
}

#[tokio::test]
async fn a_rotation_by_another_process_signs_the_next_post_and_what_ran_out_signs_no_more() {
    let known = Known::new().await;
    let overlap = Rotation { overlap: Some(Duration::from_secs(3_600)), ..Rotation::default() };
    let new = endpoints::rotate_secret(&known.elsewhere, &known.endpoint, overlap).await.unwrap();
    known.deliver().await.unwrap();
    let post = known.receiver.seen().remove(2);
    assert_eq!((post.verified_by(new.reveal()), post.verified_by(&known.secret)), (vec![0], vec![1]));

    let next = known.stage.another(&known.endpoint).await;
    known.stage.clock.advance(Duration::from_secs(3_601));
    known.stage.deliver(&next, turn(1)).await.unwrap();
    let post = known.receiver.seen().remove(3);
    assert_eq!(post.header("webhook-signature").split(' ').count(), 1);
    assert_eq!(post.verified_by(new.reveal()), [0]);

    let next = known.stage.another(&known.endpoint).await;
    let at_once = Rotation { overlap: Some(Duration::ZERO), ..Rotation::default() };
    let last = endpoints::rotate_secret(&known.elsewhere, &known.endpoint, at_once).await.unwrap();
    known.stage.deliver(&next, turn(1)).await.unwrap();
    let post = known.receiver.seen().remove(4);
    assert!(post.verified_by(new.reveal()).is_empty(), "what was taken back signs no more");
    assert_eq!(post.verified_by(last.reveal()), [0]);
}

#[tokio::test]
async fn limits_and_order_that_another_process_has_set_hold_for_the_next_delivery() {
    let known = Known::new().await;
    known.set(Sending { rate: Some(Rate { limit: 1, window_ms: 60_000 }), ..Sending::default() }).await;
    let next = known.stage.another(&known.endpoint).await;
    known.deliver().await.unwrap();
    let (_, why) = snoozed(known.stage.deliver(&next, turn(1)).await);
    assert!(why.contains("rate"), "{why}");
    assert_eq!(known.receiver.seen().len(), 3);

    let known = Known::new().await;
    known.set(Sending { ordering: Ordering::Strict, ..Sending::default() }).await;
    let (first, second) = (known.stage.another(&known.endpoint).await, known.stage.another(&known.endpoint).await);
    let (_, why) = snoozed(known.stage.deliver(&second, turn(1)).await);
    assert!(why.contains("earlier"), "{why}");
    known.stage.deliver(&first, turn(1)).await.unwrap();
    known.stage.deliver(&second, turn(1)).await.unwrap();
}

#[tokio::test]
async fn a_trouble_that_another_process_has_seen_ends_with_the_next_success() {
    let known = Known::answering(vec![status(200), status(200), status(500), status(200)]).await;
    // The failure is logged by the other process; this one still knows a healthy endpoint.
    let stop = tokio_util::sync::CancellationToken::new();
    let failing = known.stage.another(&known.endpoint).await;
    let failed = tidemill::fanout::deliver(&known.elsewhere, &known.stage.queue, &failing, turn(1), None, &stop).await;
    assert!(failed.is_err());
    let troubled = || async {
        tidemill::on_pool!(known.stage.state.db().read(), pool => {
            sqlx::query_scalar::<_, i64>("select count(*) from endpoint_trouble").fetch_one(pool).await.unwrap()
        })
    };
    assert_eq!(troubled().await, 1);
    known.deliver().await.unwrap();
    assert_eq!(troubled().await, 0, "five days are counted from the first failure without a success since");
}

#[tokio::test]
async fn an_attempt_that_has_to_begin_anew_takes_no_second_token_of_the_rate() {
    let known = Known::new().await;
    known.set(Sending { rate: Some(Rate { limit: 2, window_ms: 60_000 }), ..Sending::default() }).await;
    known.deliver().await.unwrap();
    let last = known.stage.another(&known.endpoint).await;
    known.stage.clock.advance(Duration::from_secs(30));
    let headers = [("x-new".to_owned(), "1".to_owned())].into();
    known.change(EndpointChange { headers: Some(headers), ..EndpointChange::default() }).await;
    known.stage.deliver(&last, turn(1)).await.unwrap();
    assert_eq!(known.receiver.seen().last().unwrap().header("x-new"), "1");

    let beyond = known.stage.another(&known.endpoint).await;
    let (_, why) = snoozed(known.stage.deliver(&beyond, turn(1)).await);
    assert!(why.contains("rate limit"), "{why}");
}
