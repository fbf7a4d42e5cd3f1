//! Webhooks in: list, show, redeliver.

use serde::Serialize;

use super::{Desk, Ordered};
use crate::admin::inbox::{Inbound, InboundContent, InboxFilter, InboxPlace};
use crate::admin::page::{Ask, Paged, Place};
use crate::admin::{AtLeast, May, Operator, Refusal, Role, Viewer};
use crate::ingress::{SenderReport, WebhookReceived};
use crate::job::{JobSpec, JobState, QueueName};
use crate::queue::EnqueueError;

/// One webhook with everything an operator asks next.
#[derive(Debug, Serialize)]
pub struct InboundOnDesk {
    /// The webhook.
    pub webhook: Inbound,
    /// The state of its job; none when the job is not kept any more.
    pub job_state: Option<JobState>,
    /// True: the asker's role may see what it brought.
    pub content_shown: bool,
    /// What it brought.
    pub content: Option<InboundContent>,
}

impl Desk {
    /// A page of webhooks, newest first, without what they brought. It may hold fewer than asked for and have a next one.
    ///
    /// # Errors
    /// When the filter or the cursor is none, or the database did not answer.
    pub async fn inbox(
        &self,
        _by: &May<impl AtLeast<Viewer>>,
        filter: &InboxFilter,
        ask: &Ask,
    ) -> Result<Paged<Inbound>, Refusal> {
        let states = self.inbox.states();
        if let Some(state) = filter.state.as_deref().filter(|state| !states.contains(state)) {
            let value = state.chars().take(80).collect();
            return Err(Refusal::Invalid { field: "state", value, allowed: states.join(", ") });
        }
        let place = ask.cursor.as_ref().map(|place| place.key::<InboxPlace>()).transpose()?;
        let page = self.inbox.list(filter, place.as_ref(), ask.limit.get()).await?;
        Ok(Paged { items: page.items, next: page.next.map(|place| Place::after(place).to_string()) })
    }

    /// One webhook; what it brought is for operators.
    ///
    /// # Errors
    /// When it is not kept (any more).
    pub async fn inbound(
        &self,
        by: &May<impl AtLeast<Viewer>>,
        source: &str,
        event_id: &str,
    ) -> Result<InboundOnDesk, Refusal> {
        let webhook = self.kept(source, event_id).await?;
        let content_shown = by.role() >= Role::Operator;
        let content = if content_shown { self.inbox.content(source, event_id).await? } else { None };
        let job_state = match webhook.job {
            Some(job) => self.store().get(job).await?.map(|job| job.state),
            None => None,
        };
        Ok(InboundOnDesk { webhook, job_state, content_shown, content })
    }

    /// Has a webhook processed again, by a new job with what was kept of it. While such a job lives, another is not made.
    ///
    /// # Errors
    /// When it is not kept (any more), or the store did not take the job.
    pub async fn redeliver(
        &self,
        by: &May<impl AtLeast<Operator>>,
        source: &str,
        event_id: &str,
    ) -> Result<Ordered, Refusal> {
        let webhook = self.kept(source, event_id).await?;
        let content = self.inbox.content(source, event_id).await?.ok_or_else(|| gone(source, event_id))?;
        let trace = content.headers.get("traceparent").cloned();
        let again = WebhookReceived {
            source: webhook.source,
            event_id: webhook.event_id,
            event_type: webhook.event_type,
            handle_as: webhook.handle_as,
            received_at: webhook.received_at,
            verified_with: webhook.verified_with,
            headers: content.headers,
            body: content.body,
        };
        let mut spec = JobSpec::of(&again)
            .map_err(EnqueueError::from)?
            .unique(&format!("redeliver:{}:{}", again.source, again.event_id))
            .correlation(&again.event_id)
            .by(&by.actor().enqueuer())
            .tag("redelivery");
        spec.traceparent = trace.map(Into::into);
        // A queue that is gone since then is no reason to refuse: the kind has one of its own.
        if let Some(queue) = webhook.queue.and_then(|name| name.parse::<QueueName>().ok())
            && self.queue.names().contains(&queue)
        {
            spec = spec.on(queue);
        }
        let subject = format!("webhook:{}/{}", again.source, again.event_id);
        self.enqueue(by.actor(), "webhook.redeliver", subject, spec, None).await
    }

    /// How each source of webhooks does, as this process sees it; nothing where it receives none.
    pub fn senders(&self, _by: &May<impl AtLeast<Viewer>>) -> Vec<SenderReport> {
        self.senders.as_ref().map_or_else(Vec::new, |senders| senders.reports(self.clock.now()))
    }

    async fn kept(&self, source: &str, event_id: &str) -> Result<Inbound, Refusal> {
        self.inbox.find(source, event_id).await?.ok_or_else(|| gone(source, event_id))
    }
}

fn gone(source: &str, event_id: &str) -> Refusal {
    let clipped = |text: &str| text.chars().filter(|c| !c.is_control()).take(80).collect();
    Refusal::NoSuchWebhook { source_name: clipped(source), event_id: clipped(event_id) }
}
