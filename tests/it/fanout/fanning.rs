//! From one event to a delivery and a job for each endpoint that asked for it, once.

use std::collections::BTreeSet;

use serde_json::json;
use tidemill::fanout::{Deliver, Event, PageRequest, endpoints, fan_out, history};
use tidemill::job::JobError;
use tidemill::queue::Queue;
use tidemill::{on_pool, on_tx};

use super::receiver::{Receiver, status};
use super::stage::{Stage, event, turn};

const URL: &str = "http://127.0.0.1:9/";

#[tokio::test]
async fn an_event_that_does_not_fit_its_declared_schema_goes_to_the_dead_letters_and_nowhere_else() {
    let stage = Stage::new().await;
    stage.endpoint("http://127.0.0.1:9/", &["*"]).await;
    let said = tidemill::fanout::event_types::Declaration {
        description: "An invoice was paid.".into(),
        schema: Some(serde_json::json!({ "required": ["invoice"] })),
        example: None,
    };
    tidemill::fanout::event_types::declare(&stage.state, "invoice.paid", said).await.unwrap();
    let refused = stage.fan_out(&event("evt_1", "invoice.paid")).await.unwrap_err();
    assert!(
        matches!(&refused, tidemill::job::JobError::Dead { error } if error.to_string().contains("`invoice` is missing"))
    );
    assert!(stage.deliveries(|_| true).await.is_empty());
}

#[tokio::test]
async fn running_it_twice_makes_one_delivery_and_one_job_for_each_endpoint() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        stage.endpoint(URL, &["invoice.*"]).await;
    }
    let event = event("evt_1", "invoice.paid");
    stage.fan_out(&event).await.unwrap();
    stage.fan_out(&event).await.unwrap();
    assert_eq!((stage.deliveries(|_| true).await.len(), stage.jobs().await.len()), (3, 3));
    let messages = history::messages(stage.state.db(), None, &PageRequest::default()).await.unwrap().items;
    assert_eq!((messages.len(), messages[0].event_id.as_str()), (1, "evt_1"));
    assert!(messages[0].fanned_at.is_some());
}

#[tokio::test]
async fn only_enabled_endpoints_of_the_tenant_that_asked_for_the_type_get_it() {
    let stage = Stage::new().await;
    let exact = stage.endpoint(URL, &["invoice.paid"]).await;
    let by_wildcard = stage.endpoint(URL, &["customer.created", "invoice.*"]).await;
    stage.endpoint(URL, &["customer.*"]).await;
    let disabled = stage.endpoint(URL, &["*"]).await;
    endpoints::disable(&stage.state, &disabled.endpoint.id, "not now").await.unwrap();
    let new = endpoints::NewEndpoint {
        tenant: "other".into(),
        url: URL.into(),
        event_types: vec!["*".into()],
        ..endpoints::NewEndpoint::default()
    };
    endpoints::create(&stage.state, new).await.unwrap();

    stage.fan_out(&event("evt_1", "invoice.paid")).await.unwrap();
    let got: BTreeSet<_> = stage.deliveries(|_| true).await.into_iter().map(|d| d.endpoint_id).collect();
    assert_eq!(got, [exact.endpoint.id, by_wildcard.endpoint.id].into());
}

#[tokio::test]
async fn a_run_that_died_between_rows_and_jobs_is_finished_by_the_next() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        stage.endpoint(URL, &["*"]).await;
    }
    // This queue refuses every job, so the run ends where a crash would have ended it.
    let deaf = Queue::new(stage.queue.store().clone(), BTreeSet::new(), stage.clock.clone(), stage.entropy.clone());
    let event = event("evt_1", "invoice.paid");
    fan_out(&stage.state, &deaf, &event, stage.clock.now(), |spec| spec).await.unwrap_err();
    assert_eq!((stage.deliveries(|_| true).await.len(), stage.jobs().await.len()), (3, 0));

    stage.fan_out(&event).await.unwrap();
    assert_eq!((stage.deliveries(|_| true).await.len(), stage.jobs().await.len()), (3, 3));
}

#[tokio::test]
async fn more_endpoints_than_a_batch_holds_all_get_their_job() {
    let stage = Stage::new().await;
    let mut tx = stage.state.db().begin().await.unwrap();
    for n in 0..1_201 {
        on_tx!(&mut tx, conn => {
            sqlx::query(
                "insert into endpoints
                   (id, tenant, url, description, event_types, state, declared, created_at, updated_at)
                 values ($1, 'acme', $2, '', '[\"*\"]', 'enabled', 0, 0, 0)",
            )
            .bind(format!("ep_{n:032x}"))
            .bind(URL)
            .execute(conn)
            .await
            .unwrap()
        });
    }
    tx.commit().await.unwrap();
    stage.fan_out(&event("evt_1", "invoice.paid")).await.unwrap();
    assert_eq!((stage.deliveries(|_| true).await.len(), stage.jobs().await.len()), (1_201, 1_201));
}

#[tokio::test]
async fn an_event_that_is_through_stays_as_it_was_published_first() {
    let stage = Stage::new().await;
    stage.endpoint(URL, &["*"]).await;
    let first = event("evt_1", "invoice.paid");
    stage.fan_out(&first).await.unwrap();
    stage.endpoint(URL, &["*"]).await;
    stage.fan_out(&Event { payload: json!("another"), ..first }).await.unwrap();

    assert_eq!(stage.deliveries(|_| true).await.len(), 1, "an endpoint that came later gets no earlier event");
    let message = history::messages(stage.state.db(), Some("acme"), &PageRequest::default()).await.unwrap().items;
    assert!(message[0].body.contains("1200"));
}

#[tokio::test]
async fn the_same_event_id_of_another_tenant_is_another_event() {
    let stage = Stage::new().await;
    stage.fan_out(&event("evt_1", "invoice.paid")).await.unwrap();
    stage.fan_out(&Event { tenant: "other".into(), ..event("evt_1", "invoice.paid") }).await.unwrap();
    let messages = history::messages(stage.state.db(), None, &PageRequest::default()).await.unwrap().items;
    assert_eq!(messages.len(), 2);
}

#[tokio::test]
async fn a_malformed_event_goes_to_the_dead_letters_at_once() {
    let stage = Stage::new().await;
    let outcome = stage.fan_out(&event("evt_1", "invoice..paid")).await;
    assert!(matches!(outcome, Err(JobError::Dead { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_run_that_died_before_its_last_word_enqueues_nothing_twice() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let (done, waiting) = (stage.endpoint(&receiver.url(), &["*"]).await, stage.endpoint(URL, &["*"]).await);
    let event = event("evt_1", "invoice.paid");
    stage.fan_out(&event).await.unwrap();
    let delivered = stage.deliveries(|d| d.endpoint_id == done.endpoint.id).await.remove(0);
    let job = Deliver { message: delivered.message_id, endpoint: delivered.endpoint_id };
    stage.deliver(&job, turn(1)).await.unwrap();
    for record in stage.jobs().await {
        // The delivered one's job is over, so that its unique key alone would let another in.
        if record.payload.get().contains(&done.endpoint.id) {
            stage.queue.store().cancel(record.id, "over").await.unwrap();
        }
    }
    on_pool!(stage.state.db().write(), pool => {
        sqlx::query("update messages set fanned_at = null").execute(pool).await.unwrap()
    });

    stage.fan_out(&event).await.unwrap();
    let jobs = stage.jobs().await;
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    assert_eq!(jobs.iter().filter(|j| j.payload.get().contains(&waiting.endpoint.id)).count(), 1);
}
