//! Webhooks in: list, show, redeliver, over what an application keeps.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tidemill::admin::{Inbound, InboundContent, Inbox, InboxFilter, InboxPage, InboxPlace};
use tidemill::ingress::{RawBody, WebhookReceived};

use super::{House, START};

const EVENTS: &str = "/api/v1/webhooks/events";

/// An application that keeps webhooks in memory, newest first.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<(Inbound, InboundContent)>>);

#[async_trait]
impl Inbox for Kept {
    fn states(&self) -> &'static [&'static str] {
        &["received", "applied"]
    }

    async fn list(
        &self,
        filter: &InboxFilter,
        place: Option<&InboxPlace>,
        limit: u32,
    ) -> Result<InboxPage, sqlx::Error> {
        let all: Vec<Inbound> = self.0.lock().unwrap().iter().map(|(webhook, _)| webhook.clone()).collect();
        let begin = place.map_or(0, |place| all.iter().position(|w| InboxPlace::after(w) == *place).unwrap() + 1);
        let mut items: Vec<Inbound> = all.into_iter().skip(begin).filter(|webhook| filter.fits(webhook)).collect();
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(InboxPlace::after);
        Ok(InboxPage { items, next })
    }

    async fn find(&self, source: &str, event_id: &str) -> Result<Option<Inbound>, sqlx::Error> {
        let all = self.0.lock().unwrap();
        let found = all.iter().find(|(webhook, _)| webhook.source == source && webhook.event_id == event_id);
        Ok(found.map(|(webhook, _)| webhook.clone()))
    }

    async fn content(&self, source: &str, event_id: &str) -> Result<Option<InboundContent>, sqlx::Error> {
        let all = self.0.lock().unwrap();
        let found = all.iter().find(|(webhook, _)| webhook.source == source && webhook.event_id == event_id);
        Ok(found.map(|(_, content)| content.clone()))
    }
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Keeps webhooks `evt/0`, `evt/1`, …, each a second younger than the one before.
fn keep(house: &House, n: u64) {
    let mut all = house.inbox.0.lock().unwrap();
    for n in 0..n {
        let webhook = Inbound {
            source: "stripe".into(),
            event_id: format!("evt/{n}"),
            event_type: if n % 2 == 0 { "invoice.paid" } else { "invoice.failed" }.into(),
            received_at: START.after(Duration::from_secs(n)),
            verified_with: Some("env:STRIPE_WEBHOOK_SECRET".into()),
            queue: Some("reports".into()),
            handle_as: Some("some.kind".into()),
            job: None,
            state: if n == 0 { "received" } else { "applied" }.into(),
            finished_at: None,
            duplicates: n,
            differing: 0,
            last_duplicate_at: None,
            redeliveries: 0,
            body_bytes: 5,
        };
        let headers = [("traceparent".to_owned(), TRACE.to_owned())].into();
        all.insert(0, (webhook, InboundContent { headers, body: RawBody::new(vec![0, 159, 146, 150, 255].into()) }));
    }
}

fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|w| w["event_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn webhooks_are_listed_by_page_and_filter_without_what_they_brought() {
    let house = House::new().await;
    keep(&house, 5);
    let page = house.ask_as(&house.viewer, "GET", &format!("{EVENTS}?limit=2"), None).await;
    assert_eq!(ids(&page.json()), ["evt/4", "evt/3"], "{page:?}");
    assert!(!page.text.contains("body\"") && !page.text.contains("traceparent"), "{page:?}");
    let next = page.json()["next"].as_str().unwrap().to_owned();
    let page = house.ask("GET", &format!("{EVENTS}?limit=2&cursor={next}"), None).await.json();
    assert_eq!(ids(&page), ["evt/2", "evt/1"]);
    for (query, expected) in [
        ("source=plaid", vec![]),
        ("type=invoice.failed", vec!["evt/3", "evt/1"]),
        ("state=received", vec!["evt/0"]),
        ("since=2026-01-02T03:04:08Z&until=2026-01-02T03:04:09Z", vec!["evt/3"]),
    ] {
        let page = house.ask("GET", &format!("{EVENTS}?{query}"), None).await;
        assert_eq!((page.status, ids(&page.json())), (StatusCode::OK, expected.iter().map(|s| (*s).into()).collect()));
    }
    for (query, field) in
        [("state=lost", "state"), ("since=yesterday", "since"), ("cursor=x", "cursor"), ("tpye=a", "tpye")]
    {
        let reply = house.ask("GET", &format!("{EVENTS}?{query}"), None).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {reply:?}");
        assert_eq!(reply.json()["field"], field, "{reply:?}");
    }
}

#[tokio::test]
async fn what_a_webhook_brought_is_shown_to_operators_only() {
    let house = House::new().await;
    keep(&house, 1);
    let path = format!("{EVENTS}/stripe/evt%2F0");
    let seen = house.ask_as(&house.viewer, "GET", &path, None).await;
    assert_eq!((seen.status, &seen.json()["content_shown"]), (StatusCode::OK, &json!(false)), "{seen:?}");
    assert_eq!(
        (&seen.json()["content"], &seen.json()["webhook"]["verified_with"]),
        (&Value::Null, &json!("env:STRIPE_WEBHOOK_SECRET"))
    );
    let seen = house.ask_as(&house.operator, "GET", &path, None).await;
    assert_eq!(seen.json()["content"]["body"], json!({ "base64": "AJ+Slv8=" }), "{seen:?}");
    assert_eq!(seen.headers["cache-control"], "no-store");
    let none = house.ask("GET", &format!("{EVENTS}/stripe/evt_of_nobody"), None).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND, "{none:?}");
}

#[tokio::test]
async fn a_redelivery_is_a_new_job_with_what_was_kept_and_a_row_in_the_audit_log() {
    let house = House::new().await;
    keep(&house, 1);
    let path = format!("{EVENTS}/stripe/evt%2F0/redeliver");
    assert_eq!(house.ask_as(&house.viewer, "POST", &path, None).await.status, StatusCode::FORBIDDEN);
    let reply = house.ask_as(&house.operator, "POST", &path, None).await;
    assert_eq!((reply.status, &reply.json()["duplicate"]), (StatusCode::ACCEPTED, &json!(false)), "{reply:?}");
    let id = reply.json()["job"].as_str().unwrap().to_owned();
    let job = house.store.get(id.parse().unwrap()).await.unwrap().unwrap();
    let payload: WebhookReceived = serde_json::from_str(job.payload.get()).unwrap();
    assert_eq!((payload.source.as_str(), payload.event_id.as_str(), payload.received_at), ("stripe", "evt/0", START));
    assert_eq!(payload.body.as_bytes(), [0, 159, 146, 150, 255]);
    assert_eq!(payload.verified_with.as_deref(), Some("env:STRIPE_WEBHOOK_SECRET"));
    assert_eq!((payload.handle_as.as_deref(), job.queue.as_str()), (Some("some.kind"), "reports"));
    assert_eq!((job.correlation_id.as_deref(), job.traceparent.as_deref()), (Some("evt/0"), Some(TRACE)));
    assert!(job.enqueued_by.starts_with("api:") && job.tags.contains(&"redelivery".to_owned()), "{job:?}");

    let again = house.ask_as(&house.operator, "POST", &path, None).await.json();
    assert_eq!((&again["job"], &again["duplicate"]), (&json!(id), &json!(true)), "one at a time");
    house.ask("POST", &format!("/api/v1/jobs/{id}/cancel"), None).await;
    let later = house.ask_as(&house.operator, "POST", &path, None).await.json();
    assert_ne!(later["job"], json!(id), "and as often as somebody wants");

    let log = house.ask("GET", "/api/v1/audit", None).await.json();
    let rows: Vec<_> = log["items"].as_array().unwrap().iter().filter(|r| r["action"] == "webhook.redeliver").collect();
    assert_eq!(rows.len(), 3);
    assert_eq!((&rows[2]["subject"], &rows[2]["after"]["job"]), (&json!("webhook:stripe/evt/0"), &json!(id)));
    let none = house.ask("POST", &format!("{EVENTS}/stripe/evt_of_nobody/redeliver"), None).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_process_that_receives_nothing_has_no_sources_to_show() {
    let house = House::new().await;
    let reply = house.ask_as(&house.viewer, "GET", "/api/v1/webhooks/sources", None).await;
    assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!({ "items": [], "next": null })));
}
