//! Events that a person or a script publishes at the command line: under an id of their own or a new one, once for each key.
//!
//! Over HTTP the whole request is done once under its key, and the id is the client's. Here a key may stand for the id: a
//! second run of the same command, also after a kill, is the same event.

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::once::Begun;
use super::{Desk, Ordered};
use crate::admin::idempotency::{Fingerprint, IdempotencyKey};
use crate::admin::{AtLeast, May, Operator, Refusal};
use crate::fanout::Event;
use crate::job::JobId;
use crate::queue::EnqueueError;
use crate::store::RememberedReply;

/// An event that shall be published.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDraft {
    /// The publisher's id for it; without one it gets a new one, `evt_…`.
    pub id: Option<String>,
    /// Its type.
    pub event_type: String,
    /// Whose event it is.
    pub tenant: String,
    /// What receivers get as `data`.
    pub payload: Value,
}

/// An event that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its id.
    pub event: String,
    /// The job that brings it to its endpoints.
    pub job: JobId,
    /// An event of this id was published before; nothing was sent twice.
    pub duplicate: bool,
    /// The same command was carried out before under its key: this is that answer.
    pub replayed: bool,
}

impl Desk {
    /// Publishes an event; with `key` once, however often the same draft comes with it.
    ///
    /// # Errors
    /// As [`Desk::publish`], and when the key is none, is in use, or came with another draft.
    pub async fn publish_draft(
        &self,
        by: &May<impl AtLeast<Operator>>,
        draft: EventDraft,
        key: Option<&str>,
    ) -> Result<Published, Refusal> {
        let Some(key) = key else {
            let new = || JobId::new(self.clock.now(), &self.entropy);
            return self.publish_under(by, draft.named(new), None).await;
        };
        let key = IdempotencyKey::plain(key).map_err(|_| Refusal::Invalid {
            field: "idempotency_key",
            value: key.chars().filter(|c| !c.is_control()).take(80).collect(),
            allowed: "1 to 255 printable ASCII characters".to_owned(),
        })?;
        let EventDraft { id, event_type, tenant, payload } = &draft;
        let said = json!([id, event_type, tenant, payload]).to_string();
        let fingerprint = Fingerprint::of(&Method::POST, "publish", said.as_bytes());
        // A key belongs to the first draft that can be published: one that can't only sees what is known of the key, since what
        // it was refused for (a schema) may be newer than the answer.
        let refusal = self.refusal(&draft).await;
        let begun = match &refusal {
            None => self.begin(by.actor(), &key, &fingerprint).await?,
            Some(_) => self.look(by.actor(), &key, &fingerprint).await?,
        };
        let job = match (begun, refusal) {
            (Begun::Run(_), Some(refusal)) => return Err(refusal),
            (Begun::Run(job), None) => job,
            (Begun::Done(reply), _) => {
                // What another sort of request has left under this key is no answer to this one.
                let before: Published = serde_json::from_slice(&reply.body).map_err(|_| Refusal::KeyReused)?;
                return Ok(Published { replayed: true, ..before });
            }
            (Begun::Busy, _) => return Err(Refusal::KeyBusy),
            (Begun::Mismatch, _) => return Err(Refusal::KeyReused),
        };
        let published = self.publish_under(by, draft.named(|| job), Some(job)).await;
        match &published {
            Ok(published) => {
                let (status, content_type) = (202, "application/json".to_owned());
                let body = json!(published).to_string().into_bytes();
                self.finish(by.actor(), &key, RememberedReply { status, content_type, body }).await;
            }
            // The same command may try again at once; what may have been published after all has the same id then.
            Err(_) => self.give_back(by.actor(), &key).await,
        }
        published
    }

    /// Why this draft can't be published now.
    async fn refusal(&self, draft: &EventDraft) -> Option<Refusal> {
        let event = draft.clone().named(|| JobId::new(self.clock.now(), &self.entropy));
        if let Err(refusal) = self.check_event(&event).await {
            return Some(refusal);
        }
        let admitted = event.into_spec().map_err(EnqueueError::from).and_then(|spec| self.queue.admit(spec));
        admitted.err().map(Refusal::from)
    }

    async fn publish_under(
        &self,
        by: &May<impl AtLeast<Operator>>,
        event: Event,
        job: Option<JobId>,
    ) -> Result<Published, Refusal> {
        let id = event.id.clone();
        let Ordered { job, duplicate } = self.publish_as(by, event, job).await?;
        Ok(Published { event: id, job, duplicate, replayed: false })
    }
}

impl EventDraft {
    /// The event, with a name made of `number` where it has none.
    fn named(self, number: impl FnOnce() -> JobId) -> Event {
        let Self { id, event_type, tenant, payload } = self;
        let id = id.unwrap_or_else(|| format!("evt_{}", number().to_string().replace('-', "")));
        Event { id, event_type, tenant, payload }
    }
}
