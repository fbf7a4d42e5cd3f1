//! The webhooks that came in, as the engine's desk asks for them, and the task that writes down how often they came again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidemill::admin::{Inbound, InboundContent, Inbox, InboxFilter, InboxPage, InboxPlace};
use tidemill::data::Database;
use tidemill::ingress::{Repeats, Senders};
use tokio_util::sync::CancellationToken;

use crate::store::events::Outcome;
use crate::store::inbox;

/// Counts of repeats are written down so often; a crash loses those of so long.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// The last so many events of a source tell how often it speaks.
const VOICES: u32 = 1_000;

/// `webhook_events` behind the desk's contract.
#[derive(Debug)]
pub struct RecordedWebhooks(pub Database);

#[async_trait]
impl Inbox for RecordedWebhooks {
    fn states(&self) -> &'static [&'static str] {
        &Outcome::WORDS
    }

    async fn list(
        &self,
        filter: &InboxFilter,
        place: Option<&InboxPlace>,
        limit: u32,
    ) -> Result<InboxPage, sqlx::Error> {
        inbox::list(&self.0, filter, place, limit).await
    }

    async fn find(&self, source: &str, event_id: &str) -> Result<Option<Inbound>, sqlx::Error> {
        inbox::find(&self.0, source, event_id).await
    }

    async fn content(&self, source: &str, event_id: &str) -> Result<Option<InboundContent>, sqlx::Error> {
        inbox::content(&self.0, source, event_id).await
    }
}

/// Tells the listener when each source spoke last, so that a silence that began before this start is noticed.
///
/// # Errors
/// When the database did not answer.
pub async fn remember_voices(db: &Database, senders: &Senders) -> Result<(), sqlx::Error> {
    for source in senders.names() {
        senders.remember(source, inbox::last_times(db, source, VOICES).await?);
    }
    Ok(())
}

/// Writes the counts down now and then, and a last time when `stop` rings.
pub async fn keep_counts(db: Database, repeats: Arc<Repeats>, stop: CancellationToken) {
    let mut going = true;
    while going {
        going = stop.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await.is_some();
        write_counts(&db, &repeats).await;
    }
}

/// Writes down what was counted since the last time; what the database does not take is counted again the next time.
pub async fn write_counts(db: &Database, repeats: &Repeats) {
    let (counted, untold) = repeats.take();
    if untold > 0 {
        tracing::warn!(untold, "more events came again than are told apart; these are only in the metrics");
    }
    if counted.is_empty() {
        return;
    }
    if let Err(error) = inbox::count_repeats(db, &counted).await {
        tracing::warn!(%error, "how often events came again is not written down yet");
        counted.into_iter().for_each(|repeat| repeats.add(repeat));
    }
}
