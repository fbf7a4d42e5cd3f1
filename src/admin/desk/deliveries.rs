//! What was sent: messages, deliveries and attempts.

use serde::Serialize;
use serde_json::value::RawValue;

use super::Desk;
use super::webhooks::clipped;
use crate::admin::page::Paged;
use crate::admin::{AtLeast, May, Refusal, Role, Viewer};
use crate::clock::Timestamp;
use crate::fanout::PageRequest;
use crate::fanout::history::{self, Delivery, DeliveryAttempt, DeliveryFilter, HistoryError};

/// A message without its body.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MessageOnDesk {
    /// `msg_…`.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The publisher's id.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// How long its body is.
    pub body_bytes: usize,
    /// When it was published.
    pub created_at: Timestamp,
    /// When every matching endpoint had its delivery.
    pub fanned_at: Option<Timestamp>,
}

/// A message with its body.
#[derive(Debug, Serialize)]
pub struct MessageInFull {
    /// All but the body.
    pub message: MessageOnDesk,
    /// False: whoever asks may not see it.
    pub body_shown: bool,
    /// The bytes that receivers get.
    pub body: Option<Box<RawValue>>,
}

impl From<&history::Message> for MessageOnDesk {
    fn from(m: &history::Message) -> Self {
        Self {
            id: m.id.clone(),
            tenant: m.tenant.clone(),
            event_id: m.event_id.clone(),
            event_type: m.event_type.clone(),
            body_bytes: m.body.len(),
            created_at: m.created_at,
            fanned_at: m.fanned_at,
        }
    }
}

impl Desk {
    /// A page of messages, newest first, without their bodies.
    ///
    /// # Errors
    /// When the cursor is none or the database did not answer.
    pub async fn messages(
        &self,
        _by: &May<impl AtLeast<Viewer>>,
        tenant: Option<&str>,
        page: &PageRequest,
    ) -> Result<Paged<MessageOnDesk>, Refusal> {
        let page = history::messages(self.fanout.db(), tenant, page).await?;
        Ok(Paged { items: page.items.iter().map(MessageOnDesk::from).collect(), next: page.next })
    }

    /// One message; its body is for operators.
    ///
    /// # Errors
    /// When it is not kept (any more).
    pub async fn message(&self, by: &May<impl AtLeast<Viewer>>, id: &str) -> Result<MessageInFull, Refusal> {
        let missing = || HistoryError::NoSuch("message", clipped(id));
        let found = history::message(self.fanout.db(), id).await?.ok_or_else(missing)?;
        let message = MessageOnDesk::from(&found);
        let body_shown = by.role() >= Role::Operator;
        let corrupt = |e: serde_json::Error| HistoryError::Corrupt { id: found.id.clone(), detail: e.to_string() };
        let body = body_shown.then(|| RawValue::from_string(found.body.clone())).transpose().map_err(corrupt)?;
        Ok(MessageInFull { message, body_shown, body })
    }

    /// A page of deliveries, newest first.
    ///
    /// # Errors
    /// When the cursor is none or the database did not answer.
    pub async fn deliveries(
        &self,
        _by: &May<impl AtLeast<Viewer>>,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Paged<Delivery>, Refusal> {
        let page = history::deliveries(self.fanout.db(), filter, page).await?;
        Ok(Paged { items: page.items, next: page.next })
    }

    /// One delivery.
    ///
    /// # Errors
    /// When it is not kept (any more).
    pub async fn delivery(&self, _by: &May<impl AtLeast<Viewer>>, id: &str) -> Result<Delivery, Refusal> {
        Ok(history::delivery(self.fanout.db(), id).await?)
    }

    /// A page of the POSTs of one delivery, newest first; what came back is for operators.
    ///
    /// # Errors
    /// When the cursor is none or the database did not answer.
    pub async fn attempts(
        &self,
        by: &May<impl AtLeast<Viewer>>,
        delivery: &str,
        page: &PageRequest,
    ) -> Result<Paged<DeliveryAttempt>, Refusal> {
        let mut page = history::attempts(self.fanout.db(), delivery, page).await?;
        if by.role() < Role::Operator {
            page.items.iter_mut().for_each(|attempt| attempt.reply.clear());
        }
        Ok(Paged { items: page.items, next: page.next })
    }
}
