//! `tidemill webhooks`: list, show, redeliver.

use tidemill::clock::Timestamp;
use tidemill::job::{JobId, JobState};
use tidemill_jobs::cli::Exit;
use tidemill_jobs::store::events::{Received, record};

use super::{House, START};

async fn keep(house: &House, id: &str, received_at: Timestamp) {
    let event = Received {
        source: "stripe",
        event_id: id,
        event_type: "invoice.paid",
        received_at,
        verified_with: Some("env:STRIPE_WEBHOOK_SECRET"),
        headers: r#"{"user-agent": "Stripe/1.0"}"#,
        body: b"{\"id\": \"\x1b[2J\"}",
        queue: "reports",
        handle_as: Some("some.kind"),
        job: JobId::from_bytes([1; 16]),
    };
    let mut tx = house.db.begin().await.unwrap();
    assert!(record(&mut tx, event).await.unwrap());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn webhooks_are_listed_shown_and_redelivered_by_hand() {
    let house = House::new().await;
    keep(&house, "evt_1", START.before(std::time::Duration::from_secs(7_200))).await;
    keep(&house, "evt_2", START).await;
    let listed = house.run("webhooks list").await;
    assert_eq!(listed.exit, Exit::Done, "{listed:?}");
    assert!(listed.out.starts_with("SOURCE") && listed.out.contains("2h 0m ago"), "{listed:?}");
    let page = house.run("webhooks list --json --last 1h --source stripe --type invoice.paid").await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["event_id"]), (1, &"evt_2".into()));

    let shown = house.run("webhooks show stripe evt_1").await.out;
    for part in [
        "state        received",
        "verified     env:STRIPE_WEBHOOK_SECRET",
        "not kept any more",
        "user-agent: Stripe/1.0",
        "0 times the same",
    ] {
        assert!(shown.contains(part), "no `{part}` in\n{shown}");
    }
    assert!(shown.contains("body         {\"id\": ") && !shown.contains('\u{1b}'), "{shown}");

    let again = house.run("webhooks redeliver stripe evt_1 --json").await.json();
    let job = house.store.get(again["job"].as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((&*job.kind, job.queue.as_str()), ("webhook.received", "reports"), "where it ran before");
    assert_eq!((job.state, &*job.enqueued_by), (JobState::Ready, "cli:mia"));
    assert!(house.run("webhooks redeliver stripe evt_1").await.out.contains("already"));
    let wrong = house.run("webhooks list --state lost").await;
    assert!(wrong.exit == Exit::Usage && wrong.complaint.contains("unreadable"), "{wrong:?}");
    assert_eq!(house.run("webhooks show stripe evt_3").await.exit, Exit::NotFound);
}
