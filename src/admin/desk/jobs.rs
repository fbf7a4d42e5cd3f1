//! Jobs: list, show, order, retry, cancel, delete.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Desk;
use crate::admin::order::Order;
use crate::admin::page::Paged;
use crate::admin::{Actor, Admin, AtLeast, May, Operator, Refusal, Role, Viewer};
use crate::job::{JobId, JobRecord, JobSpec, JobState, QueueName};
use crate::store::{Cancel, ListQuery, LogLine, RetryDead, StoreError, WhyNot};

/// One job with everything an operator asks next.
#[derive(Debug, Serialize)]
pub struct JobOnDesk {
    /// The job; payload and result are null unless they are shown.
    pub job: JobRecord,
    /// True: the asker's role may see payload and result.
    pub payload_shown: bool,
    /// What its handler logged, oldest first.
    pub logs: Vec<LogLine>,
    /// Why it is not running; none when it was pruned in this very moment.
    pub why: Option<WhyNot>,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The job that is kept now.
    pub job: JobId,
    /// True: it was there before, with the same unique key; nothing was enqueued.
    pub duplicate: bool,
}

impl Desk {
    /// A page of jobs in the store's order, without payloads and results.
    ///
    /// # Errors
    /// When the filter names a queue that there is not, or the store did not answer.
    pub async fn jobs(&self, _by: &May<impl AtLeast<Viewer>>, query: ListQuery) -> Result<Paged<JobRecord>, Refusal> {
        if let Some(queue) = &query.queue {
            self.known(queue).await?;
        }
        let page = self.store().list(query).await?;
        Ok(Paged {
            items: page.jobs.into_iter().map(without_content).collect(),
            next: page.next.map(|cursor| cursor.to_string()),
        })
    }

    /// One job, its log lines, and why it is not running.
    ///
    /// # Errors
    /// When there is no such job.
    pub async fn job(&self, by: &May<impl AtLeast<Viewer>>, id: JobId) -> Result<JobOnDesk, Refusal> {
        let job = self.found(id).await?;
        let logs = self.store().logs(id).await?;
        let why = match self.store().explain(id).await {
            Ok(why) => Some(why),
            Err(StoreError::NoSuchJob(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let payload_shown = by.role() >= Role::Operator;
        let job = if payload_shown { job } else { without_content(job) };
        Ok(JobOnDesk { job, payload_shown, logs, why })
    }

    /// Enqueues a job of a known kind.
    ///
    /// # Errors
    /// When the order makes no sense or the store did not take it.
    pub async fn order(&self, by: &May<impl AtLeast<Operator>>, order: Order) -> Result<Ordered, Refusal> {
        self.order_as(by, order, None).await
    }

    /// The same under an id that the request has for its job, so that a second run of it finds the first one's.
    ///
    /// # Errors
    /// As [`Desk::order`].
    pub async fn order_as(
        &self,
        by: &May<impl AtLeast<Operator>>,
        order: Order,
        id: Option<JobId>,
    ) -> Result<Ordered, Refusal> {
        let spec = order.spec(&self.kinds, &by.actor().enqueuer())?;
        let subject = format!("kind:{}", spec.kind);
        self.enqueue(by.actor(), "job.enqueue", subject, spec, id).await
    }

    pub(super) async fn enqueue(
        &self,
        by: &Actor,
        action: &'static str,
        subject: String,
        spec: JobSpec,
        id: Option<JobId>,
    ) -> Result<Ordered, Refusal> {
        // Refused here, it leaves no row: nothing was about to change.
        self.queue.admit(spec.clone())?;
        let act = async {
            let done = match id {
                Some(id) => self.queue.enqueue_as(id, spec).await?,
                None => self.queue.enqueue(spec).await?,
            };
            // Under an id of its own the job is this request's, brought by an earlier run of it.
            Ok(Ordered { job: done.job(), duplicate: !done.is_new() && Some(done.job()) != id })
        };
        let after = |done: &Ordered| json!({ "job": done.job, "duplicate": done.duplicate });
        self.change(by, action, subject, None, after, act).await
    }

    /// Brings a dead job back, or a scheduled one forward.
    ///
    /// # Errors
    /// When there is no such job or its state does not allow it.
    pub async fn retry(&self, by: &May<impl AtLeast<Operator>>, id: JobId) -> Result<RetryDead, Refusal> {
        let before = self.found(id).await?.state;
        let act = async { Ok(self.store().retry(id).await?) };
        let after = |_: &RetryDead| state(JobState::Ready);
        self.change(by.actor(), "job.retry", format!("job:{id}"), Some(state(before)), after, act).await
    }

    /// Cancels a job, or asks its holder to.
    ///
    /// # Errors
    /// When there is no such job or it is finished.
    pub async fn cancel(&self, by: &May<impl AtLeast<Operator>>, id: JobId, reason: &str) -> Result<Cancel, Refusal> {
        if reason.len() > 255 || reason.chars().any(char::is_control) {
            let value = reason.chars().filter(|c| !c.is_control()).take(80).collect();
            let allowed = "at most 255 bytes without control characters".to_owned();
            return Err(Refusal::Invalid { field: "reason", value, allowed });
        }
        let before = self.found(id).await?.state;
        let reason = if reason.is_empty() { format!("cancelled by {}", by.actor().name) } else { reason.to_owned() };
        let act = async { Ok(self.store().cancel(id, &reason).await?) };
        let after = |done: &Cancel| match done {
            Cancel::Cancelled => state(JobState::Cancelled),
            Cancel::Requested => json!({ "state": JobState::Running, "cancel_requested": true }),
        };
        self.change(by.actor(), "job.cancel", format!("job:{id}"), Some(state(before)), after, act).await
    }

    /// Takes a finished job away.
    ///
    /// # Errors
    /// When there is no such job or it is not finished.
    pub async fn delete(&self, by: &May<impl AtLeast<Admin>>, id: JobId) -> Result<(), Refusal> {
        let job = self.found(id).await?;
        let before = json!({ "state": job.state, "queue": job.queue, "kind": job.kind });
        let act = async { Ok(self.store().delete(id).await?) };
        self.change(by.actor(), "job.delete", format!("job:{id}"), Some(before), |_: &()| Value::from("deleted"), act)
            .await
    }

    async fn known(&self, queue: &QueueName) -> Result<(), Refusal> {
        let all = self.store().counts().await?.queues;
        if all.iter().any(|q| q.queue == *queue) {
            return Ok(());
        }
        let allowed = all.iter().map(|q| q.queue.as_str()).collect::<Vec<_>>().join(", ");
        Err(Refusal::Invalid { field: "queue", value: queue.to_string(), allowed })
    }

    async fn found(&self, id: JobId) -> Result<JobRecord, Refusal> {
        self.store().get(id).await?.ok_or_else(|| StoreError::NoSuchJob(id).into())
    }
}

fn state(state: JobState) -> Value {
    json!({ "state": state })
}

fn without_content(mut job: JobRecord) -> JobRecord {
    job.payload = RawValue::NULL.to_owned();
    job.result = None;
    job
}
