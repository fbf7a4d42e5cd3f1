//! `webhook.received`: records a verified webhook, and passes it to the job that understands its source.
//!
//! The body is kept in `webhook_events`, byte for byte, and everything after this carries only its id.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tidemill::clock::Timestamp;
use tidemill::data::{Tx, Write};
use tidemill::ingress::WebhookReceived;
use tidemill::job::{Done, JobError, JobId, JobKind, JobSpec, QueueName};
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
        let done = receive(app, &self.0, Taker::of(&ctx)).await?;
        Ok(match next(&self.0, ctx.queue_name()) {
            Some(next) => done.then(next),
            None => done,
        })
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

/// What is written of a webhook, in one step: that it came, or that a later job processes it again, and how it ended where
/// nobody handles it.
struct Take {
    webhook: WebhookReceived,
    headers: String,
    job: JobId,
    queue: String,
    /// Nobody handles it.
    ends: bool,
    now: Timestamp,
}

/// What became of a [`Take`].
enum Taken {
    New,
    Again,
    Known,
}

impl Write for Take {
    type Output = Taken;
    type Error = sqlx::Error;

    async fn write(&self, tx: &mut Tx) -> Result<Taken, sqlx::Error> {
        let webhook = &self.webhook;
        let (source, event_id) = (webhook.source.as_str(), webhook.event_id.as_str());
        let event = events::Received {
            source,
            event_id,
            event_type: &webhook.event_type,
            received_at: webhook.received_at,
            verified_with: webhook.verified_with.as_deref(),
            headers: &self.headers,
            body: webhook.body.as_bytes(),
            queue: &self.queue,
            handle_as: webhook.handle_as.as_deref(),
            job: self.job,
        };
        let taken = if events::record(tx, event).await? {
            Taken::New
        } else if events::reopen(tx, source, event_id, self.job).await? {
            Taken::Again
        } else {
            Taken::Known
        };
        if self.ends {
            // False at a repeat: what was said the first time stays.
            events::finish(tx, source, event_id, Outcome::Ignored, self.now).await?;
        }
        Ok(taken)
    }
}

/// Records one, and decides who is next.
///
/// # Errors
/// When the database did not take it.
pub async fn receive(app: &App, webhook: &WebhookReceived, by: Taker<'_>) -> Result<Done, JobError> {
    let (source, event_id) = (webhook.source.as_str(), webhook.event_id.as_str());
    // What the source's `kinds` say goes before what is known here, and whoever handles it has the last word on it.
    let of_stripe = webhook.handle_as.is_none() && source == stripe_event::SOURCE;
    let take = Take {
        webhook: webhook.clone(),
        headers: serde_json::to_string(&webhook.headers).map_err(JobError::dead)?,
        job: by.job,
        queue: by.queue.to_owned(),
        ends: webhook.handle_as.is_none() && !of_stripe,
        now: app.clock.now(),
    };
    let taken = app.db.together(take).await?;
    if matches!(taken, Taken::Again) {
        tracing::info!(source, event.id = event_id, "a webhook is processed again");
    }
    let done = Done::with(json!({ "source": source, "event": event_id, "new": matches!(taken, Taken::New) }));
    // Also when it was recorded before: the attempt that recorded it may have died before it came to this.
    Ok(if of_stripe { done.then(StripeEvent::spec(event_id).map_err(JobError::dead)?) } else { done })
}
