//! `webhook.received`: records a verified webhook, and passes it to the job that understands its source.
//!
//! The body is kept in `webhook_events`, byte for byte, and everything after this carries only its id.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tidemill::ingress::WebhookReceived;
use tidemill::job::{Done, JobError, JobId, JobKind};
use tidemill::worker::{Context, Handler};

use super::stripe_event::{self, StripeEvent};
use crate::app::App;
use crate::store::events::{self, Outcome};

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
        receive(app, &self.0, Taker::of(&ctx)).await
    }
}

/// The job that takes a webhook.
#[derive(Clone, Copy, Debug)]
pub struct Taker<'a> {
    /// Its id.
    pub job: JobId,
    /// Where it runs.
    pub queue: &'a str,
}

impl<'a> Taker<'a> {
    fn of(ctx: &'a Context) -> Self {
        Self { job: ctx.job_id(), queue: ctx.queue_name().as_str() }
    }
}

/// Records one, and decides who is next.
///
/// # Errors
/// When the database did not take it.
pub async fn receive(app: &App, webhook: &WebhookReceived, by: Taker<'_>) -> Result<Done, JobError> {
    let headers = serde_json::to_string(&webhook.headers).map_err(JobError::dead)?;
    let event = events::Received {
        source: &webhook.source,
        event_id: &webhook.event_id,
        event_type: &webhook.event_type,
        received_at: webhook.received_at,
        verified_with: webhook.verified_with.as_deref(),
        headers: &headers,
        body: webhook.body.as_bytes(),
        queue: by.queue,
        handle_as: webhook.handle_as.as_deref(),
        job: by.job,
    };
    let new = events::record(&app.db, event).await?;
    if !new && events::reopen(&app.db, event.source, event.event_id, by.job).await? {
        tracing::info!(source = event.source, event.id = event.event_id, "a webhook is processed again");
    }
    let done = Done::with(json!({ "source": event.source, "event": event.event_id, "new": new }));
    // Also when it was recorded before: the attempt that recorded it may have died before it came to this.
    match event.source {
        stripe_event::SOURCE => Ok(done.then(StripeEvent::spec(event.event_id).map_err(JobError::dead)?)),
        // Whoever handles it has the last word on it.
        _ if webhook.handle_as.is_some() => Ok(done),
        _ => {
            let mut tx = app.db.begin().await?;
            events::finish(&mut tx, event.source, event.event_id, Outcome::Ignored, app.clock.now()).await?;
            tx.commit().await?;
            Ok(done)
        }
    }
}
