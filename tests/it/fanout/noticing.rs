//! What happens to endpoints is told to those who asked, and to nobody about itself.

use serde_json::Value;
use tidemill::fanout::{Turn, tell};
use tidemill::job::JobRecord;
use tidemill::store::ListQuery;

use super::receiver::{Receiver, status};
use super::stage::{Stage, event, turn};

async fn notices(stage: &Stage) -> Vec<(String, Value)> {
    let page = stage.queue.store().list(ListQuery { limit: 200, ..ListQuery::default() }).await.unwrap();
    let told = |job: JobRecord| {
        let payload: Value = serde_json::from_str(job.payload.get()).unwrap();
        (payload["event_type"].as_str().unwrap_or_default().to_owned(), payload)
    };
    page.jobs.into_iter().filter(|job| &*job.kind == "webhook.fanout").map(told).collect()
}

#[tokio::test]
async fn an_exhausted_message_and_a_failing_endpoint_are_told_once_and_recovery_too() {
    let stage = Stage::new().await;
    let receiver = Receiver::start([500; 5].into_iter().chain([204]).map(status).collect()).await;
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    for n in 1..=4 {
        stage.deliver(&job, turn(n)).await.unwrap_err();
    }
    assert!(notices(&stage).await.is_empty());
    stage.deliver(&job, Turn { is_last: true, ..turn(5) }).await.unwrap_err();
    let mut told = notices(&stage).await;
    told.sort_by(|l, r| l.0.cmp(&r.0));
    let types: Vec<_> = told.iter().map(|(event_type, _)| event_type.as_str()).collect();
    assert_eq!(types, ["endpoint.failing", "message.exhausted"]);
    assert_eq!(told[1].1["payload"]["endpoint"], created.endpoint.id.as_str());
    assert_eq!(told[1].1["payload"]["message"], job.message.as_str());

    stage.fan_out(&event("evt_2", "invoice.paid")).await.unwrap();
    let next = stage.deliveries(|d| d.message_id != job.message).await.remove(0);
    stage.clock.advance(std::time::Duration::from_secs(3_600));
    let next = tidemill::fanout::Deliver { message: next.message_id, endpoint: next.endpoint_id };
    stage.deliver(&next, turn(1)).await.unwrap();
    assert!(notices(&stage).await.iter().any(|(event_type, _)| event_type == "endpoint.recovered"));
    assert_eq!(tell(&stage.state, &stage.queue).await.unwrap(), 0, "nothing is left to be told");
}

#[tokio::test]
async fn a_disabled_endpoint_is_told_to_others_that_asked_by_name_and_never_to_itself() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(410)]).await);
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    let asked = stage.endpoint("http://127.0.0.1:9/", &["endpoint.*"]).await.endpoint.id;
    let itself = stage.endpoint("http://127.0.0.1:9/", &["*", "endpoint.disabled"]).await.endpoint.id;
    stage.endpoint("http://127.0.0.1:9/", &["*"]).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    let (event_type, told) = notices(&stage).await.remove(0);
    assert_eq!(
        (event_type.as_str(), &told["payload"]["endpoint"]),
        ("endpoint.disabled", &Value::from(created.endpoint.id))
    );
    let mut notice: tidemill::fanout::Event = serde_json::from_value(told).unwrap();
    stage.fan_out(&notice).await.unwrap();
    let mut got: Vec<_> =
        stage.deliveries(|d| d.message_id != job.message).await.into_iter().map(|d| d.endpoint_id).collect();
    got.sort();
    let mut wanted = [asked.clone(), itself.clone()];
    wanted.sort();
    assert_eq!(got, wanted, "`*` alone is not enough");

    notice.id = "notice-own".into();
    notice.payload["endpoint"] = Value::from(itself);
    let before = stage.deliveries(|_| true).await.len();
    stage.fan_out(&notice).await.unwrap();
    assert_eq!(stage.deliveries(|_| true).await.len(), before + 1, "all but itself");
}

#[tokio::test]
async fn what_happens_to_a_notice_is_not_told() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500)]).await);
    stage.endpoint(&receiver.url(), &["message.*"]).await;
    let mut notice = event("notice-1", "message.exhausted");
    notice.payload = serde_json::json!({ "endpoint": "ep_other" });
    stage.fan_out(&notice).await.unwrap();
    let found = stage.deliveries(|_| true).await.remove(0);
    let job = tidemill::fanout::Deliver { message: found.message_id, endpoint: found.endpoint_id };
    for n in 1..=4 {
        stage.deliver(&job, turn(n)).await.unwrap_err();
    }
    stage.deliver(&job, Turn { is_last: true, ..turn(5) }).await.unwrap_err();
    assert!(notices(&stage).await.is_empty());
    assert_eq!(tell(&stage.state, &stage.queue).await.unwrap(), 0);
}
