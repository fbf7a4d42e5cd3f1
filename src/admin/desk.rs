//! The operators' desk: everything a person may look at or change, for the HTTP routes and the command line alike.
//!
//! Each function wants a [`May`] as proof of the role it needs. Each change goes through one function that
//! writes the audit log around it. The store is private to this module: there is no way around either.

mod deliveries;
mod event_types;
mod events;
mod inbox;
mod jobs;
mod keys;
mod once;
mod portal;
mod queues;
mod recoveries;
mod schedules;
mod secrets;
mod webhooks;
mod workers;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use deliveries::{MessageInFull, MessageOnDesk};
pub use events::{EventDraft, Published};
pub use inbox::InboundOnDesk;
pub use jobs::{JobOnDesk, Ordered};
pub(super) use once::Begun;
pub use queues::{Purged, Toggled};
pub use webhooks::EndpointPatch;

use super::page::{Ask, Paged};
use super::{Actor, Admin, ApiKeys, AtLeast, AuditEntry, Inbox, May, Refusal};
use crate::audit::{AuditLog, Change};
use crate::clock::{Clock, Entropy};
use crate::data::Database;
use crate::fanout::FanoutState;
use crate::ingress::Senders;
use crate::portal::Links;
use crate::queue::Queue;
use crate::schedule::Scheduler;
use crate::store::Store;
use crate::worker::Registry;

/// How long idempotency keys and their replies are kept where nothing is said.
const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 3600);

/// What operators work with.
#[derive(Debug)]
pub struct Desk {
    queue: Queue,
    kinds: Arc<Registry>,
    scheduler: Scheduler,
    fanout: Arc<FanoutState>,
    keys: ApiKeys,
    audit: AuditLog,
    inbox: Arc<dyn Inbox>,
    senders: Option<Arc<Senders>>,
    links: Option<Links>,
    clock: Clock,
    entropy: Entropy,
    idempotency_ttl: Duration,
}

/// What a desk is made of.
#[derive(Debug)]
pub struct DeskParts {
    /// The road in, and the store behind it.
    pub queue: Queue,
    /// Orders are checked against these.
    pub kinds: Arc<Registry>,
    /// Schedules.
    pub scheduler: Scheduler,
    /// Webhooks out.
    pub fanout: Arc<FanoutState>,
    /// Webhooks in, as the application keeps them.
    pub inbox: Arc<dyn Inbox>,
    /// Keys and audit log.
    pub db: Database,
    /// For times in both.
    pub clock: Clock,
    /// For secrets, and ids.
    pub entropy: Entropy,
}

impl Desk {
    /// A desk of these parts.
    pub fn new(parts: DeskParts) -> Self {
        let DeskParts { queue, kinds, scheduler, fanout, inbox, db, clock, entropy } = parts;
        let audit = AuditLog::new(db.clone(), clock.clone());
        let keys = ApiKeys::new(db, clock.clone(), entropy.clone());
        Self {
            queue,
            kinds,
            scheduler,
            fanout,
            keys,
            audit,
            inbox,
            senders: None,
            links: None,
            clock,
            entropy,
            idempotency_ttl: IDEMPOTENCY_TTL,
        }
    }

    /// Keeps idempotency keys and their replies for so long; a day where nothing is said.
    #[must_use]
    pub fn idempotent_for(mut self, ttl: Duration) -> Self {
        self.idempotency_ttl = ttl;
        self
    }

    /// Shows how the senders of webhooks do, where this process receives them.
    #[must_use]
    pub fn hearing(mut self, senders: Arc<Senders>) -> Self {
        self.senders = Some(senders);
        self
    }

    /// Makes links to the consumers' page, where that is served.
    #[must_use]
    pub fn linking(mut self, links: impl Into<Option<Links>>) -> Self {
        self.links = links.into();
        self
    }

    /// A page of the audit log, newest first.
    ///
    /// # Errors
    /// When the cursor is none or the database did not answer.
    pub async fn audit(&self, _by: &May<impl AtLeast<Admin>>, ask: &Ask) -> Result<Paged<AuditEntry>, Refusal> {
        let below = ask.cursor.as_ref().map(|place| place.key::<i64>()).transpose()?;
        let rest = self.audit.list(below, ask.limit.get() + 1).await?;
        Ok(ask.of_rest(rest, |entry| entry.id))
    }

    /// The keys, for the gate; making and revoking them wants a proof and goes through the desk.
    pub(super) fn api_keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// The store, for the metrics.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.queue.store()
    }

    /// The one road of every change: the row is written, the change is made, its outcome is written.
    async fn change<T>(
        &self,
        by: &Actor,
        action: &'static str,
        subject: String,
        before: Option<Value>,
        after: impl FnOnce(&T) -> Value,
        act: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        self.audit.around(Change { by, action, subject, before }, after, act).await
    }
}
