//! What a tenant may look at: its own, bound to it in every statement. This and `change` alone reach the tables.
//!
//! A page of any length costs the same few statements: nothing here asks in a loop.

use std::collections::HashMap;
use std::time::Duration;

use super::session::Consumer;
use super::trouble::Trouble;
use crate::data::Database;
use crate::fanout::endpoints::{self, Endpoint, SecretOnFile};
use crate::fanout::event_types::{self, EventType};
use crate::fanout::history::of_tenant::{self, Pulse, Sent};
use crate::fanout::history::{DeliveryAttempt, DeliveryState, Message};
use crate::fanout::{Page, PageRequest};

impl Consumer {
    /// A page of its endpoints, newest first, and how each does.
    pub(super) async fn endpoints(&self, page: &PageRequest) -> Result<Page<(Endpoint, Pulse)>, Trouble> {
        let found = endpoints::list(self.db(), Some(self.tenant()), page).await?;
        // Newest first: the last one has the smallest id.
        let mut pulses = match (found.items.last(), found.items.first()) {
            (Some(oldest), Some(newest)) => {
                of_tenant::pulses(self.db(), self.tenant(), &*oldest.id..=&*newest.id).await?
            }
            _ => HashMap::new(),
        };
        let with_pulse = |endpoint: Endpoint| {
            let pulse = pulses.remove(&endpoint.id).unwrap_or_default();
            (endpoint, pulse)
        };
        Ok(Page { items: found.items.into_iter().map(with_pulse).collect(), next: found.next })
    }

    /// One of its endpoints.
    pub(super) async fn endpoint(&self, id: &str) -> Result<Endpoint, Trouble> {
        Ok(endpoints::get_of(self.db(), self.tenant(), id).await?)
    }

    pub(super) async fn pulse(&self, endpoint: &Endpoint) -> Result<Pulse, Trouble> {
        let id = endpoint.id.as_str();
        let mut pulses = of_tenant::pulses(self.db(), self.tenant(), id..=id).await?;
        Ok(pulses.remove(id).unwrap_or_default())
    }

    /// The secrets of one of its endpoints that sign now, without their texts.
    pub(super) async fn secrets(&self, endpoint: &Endpoint) -> Result<Vec<SecretOnFile>, Trouble> {
        Ok(endpoints::secrets(&self.portal.0.fanout, &endpoint.id).await?)
    }

    /// A page of what it was sent at one endpoint.
    pub(super) async fn deliveries(
        &self,
        endpoint: &Endpoint,
        state: Option<DeliveryState>,
        page: &PageRequest,
    ) -> Result<Page<Sent>, Trouble> {
        Ok(of_tenant::deliveries(self.db(), self.tenant(), &endpoint.id, state, page).await?)
    }

    /// One of its deliveries.
    pub(super) async fn delivery(&self, id: &str) -> Result<Sent, Trouble> {
        of_tenant::delivery(self.db(), self.tenant(), id).await?.ok_or(Trouble::Missing)
    }

    /// The message of one of its deliveries.
    pub(super) async fn message(&self, sent: &Sent) -> Result<Message, Trouble> {
        of_tenant::message(self.db(), self.tenant(), &sent.delivery.message_id).await?.ok_or(Trouble::Missing)
    }

    pub(super) async fn attempts(&self, sent: &Sent, page: &PageRequest) -> Result<Page<DeliveryAttempt>, Trouble> {
        Ok(of_tenant::attempts(self.db(), self.tenant(), &sent.delivery.id, page).await?)
    }

    /// What may be subscribed to; publishers declare it, and it is everybody's.
    pub(super) async fn event_types(&self) -> Result<Vec<EventType>, Trouble> {
        Ok(event_types::list(self.db()).await?)
    }

    /// For how long an old secret still signs beside a new one.
    pub(super) fn overlap(&self) -> Duration {
        Duration::from_millis(self.portal.0.fanout.config().rotation_overlap_ms)
    }

    pub(super) fn tenant(&self) -> &str {
        self.session().tenant()
    }

    fn db(&self) -> &Database {
        self.portal.0.fanout.db()
    }
}
