//! The fan-out's side: keeps messages and opens deliveries, each once.

use serde::Serialize;

use super::super::Event;
use super::super::endpoints::{Wish, wanting};
use super::super::fan_out::{Batch, Opened};
use super::super::history::DeliveryState;
use super::content::Content;
use crate::clock::{Entropy, Timestamp};
use crate::data::{Tx, Write};
use crate::on_tx;

/// Endpoints looked at in one transaction, and jobs enqueued in one call.
pub(in super::super) const BATCH: usize = 500;

/// What receivers get, in the shape that Standard Webhooks recommends.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: Timestamp,
    data: &'a serde_json::Value,
}

/// A part of a fan-out to be written: the message, and a pending delivery for each matching endpoint among the next
/// [`BATCH`] after `after`; all of it again without effect.
pub(in super::super) struct OpenBatch {
    pub(in super::super) event: Event,
    pub(in super::super) at: Timestamp,
    pub(in super::super) after: String,
    pub(in super::super) now: Timestamp,
    pub(in super::super) entropy: Entropy,
}

impl OpenBatch {
    fn new_id(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.entropy.uuid_at(self.now).simple())
    }
}

impl Write for OpenBatch {
    type Output = Batch;
    type Error = anyhow::Error;

    async fn write(&self, tx: &mut Tx) -> anyhow::Result<Batch> {
        let event = &self.event;
        let Kept { message, fanned_at, content } = keep_message(tx, self).await?;
        if fanned_at.is_some() {
            return Ok(Batch { message, pending: Vec::new(), last: None, fanned: true, content });
        }
        let (page, last) = wanting(tx, event, &self.after, BATCH).await?;
        let mut pending = Vec::new();
        for endpoint in page {
            let new = self.new_id("dlv_");
            let opened = open_delivery(tx, new, &message, &endpoint, &event.tenant, self.now).await?;
            // A paused endpoint's deliveries get their jobs when it is resumed.
            if let Some(delivery) = opened.filter(|_| !endpoint.is_paused()) {
                pending.push(Opened { delivery, endpoint: endpoint.id, retry_delays_ms: endpoint.retry_delays_ms });
            }
        }
        Ok(Batch { message, pending, last, fanned: false, content })
    }
}

/// A message that is in the database now.
pub(in super::super) struct Kept {
    pub(in super::super) message: String,
    pub(in super::super) fanned_at: Option<i64>,
    /// What it says, if this was what wrote it.
    pub(in super::super) content: Option<Content>,
}

pub(in super::super) async fn keep_message(tx: &mut Tx, it: &OpenBatch) -> anyhow::Result<Kept> {
    let (event, at) = (&it.event, it.at);
    let body = Body { id: &event.id, event_type: &event.event_type, timestamp: at, data: &event.payload };
    let body = serde_json::to_string(&body)?;
    let new_id = it.new_id("msg_");
    on_tx!(tx, conn => {
        // Zero rows: it was kept before, and what was kept first stands.
        let inserted = sqlx::query(
            "insert into messages (id, tenant, event_id, event_type, body, created_at) values ($1, $2, $3, $4, $5, $6)
             on conflict (tenant, event_id) do nothing",
        )
        .bind(new_id)
        .bind(&event.tenant)
        .bind(&event.id)
        .bind(&event.event_type)
        .bind(&body)
        .bind(at.as_ms())
        .execute(&mut *conn)
        .await?
        .rows_affected();
        let (message, fanned_at) = sqlx::query_as("select id, fanned_at from messages where tenant = $1 and event_id = $2")
            .bind(&event.tenant)
            .bind(&event.id)
            .fetch_one(conn)
            .await?;
        let content =
            (inserted == 1).then(|| Content { body: body.into(), event_type: event.event_type.as_str().into() });
        Ok(Kept { message, fanned_at, content })
    })
}

/// The delivery whose job is still to be enqueued: it is new, or an earlier run died before its first attempt.
pub(in super::super) async fn open_delivery(
    tx: &mut Tx,
    id: String,
    message: &str,
    endpoint: &Wish,
    tenant: &str,
    now: Timestamp,
) -> Result<Option<String>, sqlx::Error> {
    on_tx!(tx, conn => {
        let inserted = sqlx::query(
            "insert into deliveries
               (id, message_id, endpoint_id, tenant, state, attempts, epoch, created_at, updated_at)
             values ($1, $2, $3, $4, 'pending', 0, 0, $5, $5)
             on conflict (message_id, endpoint_id) do nothing",
        )
        .bind(&id)
        .bind(message)
        .bind(&endpoint.id)
        .bind(tenant)
        .bind(now.as_ms())
        .execute(&mut *conn)
        .await?
        .rows_affected();
        if inserted == 1 {
            if endpoint.ordering.as_deref() == Some("strict") {
                sqlx::query("insert into delivery_order (endpoint_id, delivery_id) values ($1, $2)")
                    .bind(&endpoint.id)
                    .bind(&id)
                    .execute(conn)
                    .await?;
            }
            return Ok(Some(id));
        }
        let (id, state): (String, String) =
            sqlx::query_as("select id, state from deliveries where message_id = $1 and endpoint_id = $2")
                .bind(message)
                .bind(&endpoint.id)
                .fetch_one(conn)
                .await?;
        Ok((state == DeliveryState::Pending.as_str()).then_some(id))
    })
}

/// Says that every endpoint has its delivery and every delivery its job. False: another run has said so.
pub(in super::super) struct CloseMessage {
    pub(in super::super) message: String,
    pub(in super::super) now: Timestamp,
}

impl Write for CloseMessage {
    type Output = bool;
    type Error = sqlx::Error;

    async fn write(&self, tx: &mut Tx) -> Result<bool, sqlx::Error> {
        let rows = on_tx!(tx, conn => {
            sqlx::query("update messages set fanned_at = $2 where id = $1 and fanned_at is null")
                .bind(&self.message)
                .bind(self.now.as_ms())
                .execute(conn)
                .await?
                .rows_affected()
        });
        Ok(rows == 1)
    }
}
