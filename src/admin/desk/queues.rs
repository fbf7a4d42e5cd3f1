//! Queues: counts, pause, resume, purge.

use serde::Serialize;
use serde_json::json;

use super::Desk;
use crate::admin::page::{Ask, Paged};
use crate::admin::{Admin, AtLeast, May, Operator, Refusal, Viewer};
use crate::job::QueueName;
use crate::store::{BATCH_MAX, QueueCounts, StoreError};

/// One purge takes at most so many batches; the reply says when there is more.
const PURGE_BATCHES: u32 = 100;

/// What a switch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Toggled {
    /// The switch's position now.
    pub paused: bool,
    /// False: it stood so before.
    pub changed: bool,
}

/// What a purge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// Waiting jobs that are cancelled now.
    pub cancelled: u64,
    /// True: ask again for the rest.
    pub more: bool,
}

impl Desk {
    /// All queues with their counters, in the order of their names.
    ///
    /// # Errors
    /// When the cursor is none or the store did not answer.
    pub async fn queues(&self, _by: &May<impl AtLeast<Viewer>>, ask: &Ask) -> Result<Paged<QueueCounts>, Refusal> {
        ask.of_all(self.store().counts().await?.queues, |q| q.queue.clone())
    }

    /// Gives out no more jobs of `queue`; what runs goes on.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn pause(&self, by: &May<impl AtLeast<Operator>>, queue: &QueueName) -> Result<Toggled, Refusal> {
        let before = self.counters(queue).await?;
        let act = async {
            let changed = self.store().pause(queue).await?;
            Ok(Toggled { paused: true, changed })
        };
        let after = |done: &Toggled| json!({ "paused": done.paused });
        let before = Some(json!({ "paused": before.paused }));
        self.change(by.actor(), "queue.pause", format!("queue:{queue}"), before, after, act).await
    }

    /// Gives them out again.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn resume(&self, by: &May<impl AtLeast<Operator>>, queue: &QueueName) -> Result<Toggled, Refusal> {
        let before = self.counters(queue).await?;
        let act = async {
            let changed = self.store().resume(queue).await?;
            Ok(Toggled { paused: false, changed })
        };
        let after = |done: &Toggled| json!({ "paused": done.paused });
        let before = Some(json!({ "paused": before.paused }));
        self.change(by.actor(), "queue.resume", format!("queue:{queue}"), before, after, act).await
    }

    /// Cancels the waiting (ready and scheduled) jobs of `queue`; what runs goes on.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn purge(&self, by: &May<impl AtLeast<Admin>>, queue: &QueueName) -> Result<Purged, Refusal> {
        let before = self.counters(queue).await?;
        let act = self.purge_in_batches(queue);
        let before = Some(json!({ "ready": before.ready, "scheduled": before.scheduled }));
        let after = |done: &Purged| json!({ "cancelled": done.cancelled, "more": done.more });
        self.change(by.actor(), "queue.purge", format!("queue:{queue}"), before, after, act).await
    }

    async fn purge_in_batches(&self, queue: &QueueName) -> Result<Purged, Refusal> {
        let batch = u32::try_from(BATCH_MAX).unwrap_or(u32::MAX);
        let mut cancelled = 0;
        for _ in 0..PURGE_BATCHES {
            let n = self.store().purge(queue, batch).await?;
            cancelled += u64::from(n);
            if n < batch {
                return Ok(Purged { cancelled, more: false });
            }
        }
        Ok(Purged { cancelled, more: true })
    }

    async fn counters(&self, queue: &QueueName) -> Result<QueueCounts, Refusal> {
        let all = self.store().counts().await?.queues;
        let found = all.into_iter().find(|q| q.queue == *queue);
        found.ok_or_else(|| StoreError::NoSuchQueue(queue.clone()).into())
    }
}
