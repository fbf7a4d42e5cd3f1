//! `webhook.received`: records a verified webhook, and passes it to the job that understands its source.
//!
//! The body is kept in `webhook_events`, byte for byte, and everything after this carries only its id.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tidemill::clock::Timestamp;
use tidemill::job::{Done, JobError, JobKind};
use tidemill::worker::{Context, Handler};

use super::stripe_event::{self, StripeEvent};
use crate::app::App;
use crate::store::events;

/// What the listener enqueued.
#[derive(Debug, Serialize, Deserialize)]
pub struct Received {
    source: String,
    event_id: String,
    event_type: Option<String>,
    received_at: Timestamp,
    body: String,
}

impl JobKind for Received {
    const KIND: &'static str = "webhook.received";
    const QUEUE: &'static str = "high_priority";
    const TIMEOUT: Duration = Duration::from_secs(30);
}

impl Handler for Received {
    type State = App;

    async fn run(self, _ctx: Context, app: &App) -> Result<Done, JobError> {
        let event = events::Received {
            source: &self.source,
            event_id: &self.event_id,
            event_type: self.event_type.as_deref().unwrap_or("unknown"),
            received_at: self.received_at,
            body: self.body.as_bytes(),
        };
        receive(app, event).await
    }
}

/// Records one, and decides who is next.
///
/// # Errors
/// When the database did not take it.
pub async fn receive(app: &App, event: events::Received<'_>) -> Result<Done, JobError> {
    let new = events::record(&app.db, event).await?;
    let done = Done::with(json!({ "source": event.source, "event": event.event_id, "new": new }));
    // Also when it was recorded before: the attempt that recorded it may have died before it came to this.
    match event.source {
        stripe_event::SOURCE => Ok(done.then(StripeEvent::spec(event.event_id).map_err(JobError::dead)?)),
        _ => Ok(done),
    }
}
