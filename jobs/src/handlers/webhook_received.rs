//! `webhook.received`: records a verified webhook, and passes it to the job that understands its source.
//!
//! The body is kept in `webhook_events`, byte for byte, and everything after this carries only its id.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tidemill::ingress::WebhookReceived;
use tidemill::job::{Done, JobError, JobKind, JobSpec, QueueName};
use tidemill::worker::{Context, Handler};

use super::stripe_event::{self, StripeEvent};
use crate::app::App;
use crate::store::events;

/// What the listener enqueued: the engine's payload, run here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Received(pub WebhookReceived);

impl JobKind for Received {
    const KIND: &'static str = WebhookReceived::KIND;
    const QUEUE: &'static str = WebhookReceived::QUEUE;
    const MAX_ATTEMPTS: u32 = WebhookReceived::MAX_ATTEMPTS;
    const TIMEOUT: std::time::Duration = WebhookReceived::TIMEOUT;
    const MAX_PAYLOAD_BYTES: usize = WebhookReceived::MAX_PAYLOAD_BYTES;
}

impl Handler for Received {
    type State = App;

    async fn run(self, ctx: Context, app: &App) -> Result<Done, JobError> {
        let done = receive(app, &self.0).await?;
        Ok(match next(&self.0, ctx.queue_name()) {
            Some(next) => done.then(next),
            None => done,
        })
    }
}

/// The payload of the kinds that a source's `kinds` name: an event that is recorded; its body stays in `webhook_events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The source's name.
    pub source: String,
    /// The sender's id.
    pub event_id: String,
    /// The sender's word for what happened.
    pub event_type: String,
}

/// The job that the source's `kinds` name for this event, on the queue that the source has.
pub fn next(webhook: &WebhookReceived, queue: &QueueName) -> Option<JobSpec> {
    let WebhookReceived { source, event_id, event_type, .. } = webhook.clone();
    let payload = serde_json::to_string(&Recorded { source, event_id, event_type }).ok()?;
    Some(JobSpec::raw(queue.clone(), webhook.handle_as.as_deref()?, payload))
}

/// Records one, and decides who is next.
///
/// # Errors
/// When the database did not take it.
pub async fn receive(app: &App, webhook: &WebhookReceived) -> Result<Done, JobError> {
    let event = events::Received {
        source: &webhook.source,
        event_id: &webhook.event_id,
        event_type: &webhook.event_type,
        received_at: webhook.received_at,
        body: webhook.body.as_bytes(),
    };
    let new = events::record(&app.db, event).await?;
    let done = Done::with(json!({ "source": event.source, "event": event.event_id, "new": new }));
    // Also when it was recorded before: the attempt that recorded it may have died before it came to this.
    match event.source {
        // What the source's `kinds` say goes before what is known here.
        stripe_event::SOURCE if webhook.handle_as.is_none() => {
            Ok(done.then(StripeEvent::spec(event.event_id).map_err(JobError::dead)?))
        }
        _ => Ok(done),
    }
}
