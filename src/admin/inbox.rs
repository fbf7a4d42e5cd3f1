//! What operators may ask about webhooks that came in. The application keeps them in a table of its own, beside what it made
//! of them; the desk reaches it through [`Inbox`] and knows nothing of the table.
//!
//! Imports so stay one way: the application knows the engine and hands it this one piece at start.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::ingress::RawBody;
use crate::job::JobId;

/// The kept webhooks.
#[async_trait]
pub trait Inbox: fmt::Debug + Send + Sync + 'static {
    /// The words that a webhook's state may be.
    fn states(&self) -> &'static [&'static str];

    /// Up to `limit` webhooks that fit, newest first, beginning after `place`. Looks at a bounded number of rows.
    async fn list(
        &self,
        filter: &InboxFilter,
        place: Option<&InboxPlace>,
        limit: u32,
    ) -> Result<InboxPage, sqlx::Error>;

    /// One webhook.
    async fn find(&self, source: &str, event_id: &str) -> Result<Option<Inbound>, sqlx::Error>;

    /// What it brought.
    async fn content(&self, source: &str, event_id: &str) -> Result<Option<InboundContent>, sqlx::Error>;
}

/// Which webhooks; all that is named must fit.
#[derive(Clone, Debug, Default)]
pub struct InboxFilter {
    /// From this source.
    pub source: Option<String>,
    /// Of this type.
    pub event_type: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
}

impl InboxFilter {
    /// True when this webhook fits.
    pub fn fits(&self, webhook: &Inbound) -> bool {
        self.source.as_ref().is_none_or(|s| *s == webhook.source)
            && self.event_type.as_ref().is_none_or(|t| *t == webhook.event_type)
            && self.state.as_ref().is_none_or(|s| *s == webhook.state)
            && self.since.is_none_or(|at| webhook.received_at >= at)
            && self.until.is_none_or(|at| webhook.received_at < at)
    }
}

/// One webhook that came in and was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inbound {
    /// The source's name.
    pub source: String,
    /// The sender's id.
    pub event_id: String,
    /// The sender's word for what happened.
    pub event_type: String,
    /// When the listener took it.
    pub received_at: Timestamp,
    /// The place of the secret that its signature was checked with.
    pub verified_with: Option<String>,
    /// The queue of the job that recorded it.
    pub queue: Option<String>,
    /// The kind of job that the source's `kinds` have for it.
    pub handle_as: Option<String>,
    /// The job that processed it, the last one when it was redelivered.
    pub job: Option<JobId>,
    /// What became of it, in the application's words.
    pub state: String,
    /// When that was decided.
    pub finished_at: Option<Timestamp>,
    /// How often it came again with the same body.
    pub duplicates: u64,
    /// How often its id came with another body: the first one counts, those were not kept.
    pub differing: u64,
    /// When it last came again.
    pub last_duplicate_at: Option<Timestamp>,
    /// How often somebody had it processed again.
    pub redeliveries: u64,
    /// How long its body is.
    pub body_bytes: u64,
}

/// What a webhook brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InboundContent {
    /// The headers that are kept of each.
    pub headers: BTreeMap<String, String>,
    /// The body, byte for byte.
    pub body: RawBody,
}

/// Some webhooks.
#[derive(Clone, Debug, Default)]
pub struct InboxPage {
    /// Newest first.
    pub items: Vec<Inbound>,
    /// Where to go on; none: there are no more.
    pub next: Option<InboxPlace>,
}

/// A place in the list: after the webhook that this names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxPlace {
    /// When it was received.
    pub received_at: Timestamp,
    /// Its source.
    pub source: String,
    /// Its id.
    pub event_id: String,
}

impl InboxPlace {
    /// The place after this one.
    pub fn after(webhook: &Inbound) -> Self {
        let Inbound { received_at, source, event_id, .. } = webhook;
        Self { received_at: *received_at, source: source.clone(), event_id: event_id.clone() }
    }
}

impl fmt::Display for InboxPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.received_at.as_ms(), self.source, self.event_id)
    }
}

impl FromStr for InboxPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '/');
        let (at, source, id) = (parts.next().ok_or(())?, parts.next().ok_or(())?, parts.next().ok_or(())?);
        let received_at = Timestamp::from_ms(at.parse().map_err(drop)?);
        Ok(Self { received_at, source: source.to_owned(), event_id: id.to_owned() })
    }
}
