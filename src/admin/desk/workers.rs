//! Workers: list, drain.

use serde_json::{Value, json};

use super::Desk;
use crate::admin::page::{Ask, Paged};
use crate::admin::{AtLeast, May, Operator, Refusal, Viewer};
use crate::job::Incarnation;
use crate::store::WorkerRecord;

impl Desk {
    /// A page of the live workers, in the order of their ids.
    ///
    /// # Errors
    /// When the cursor is none or the store did not answer.
    pub async fn workers(&self, _by: &May<impl AtLeast<Viewer>>, ask: &Ask) -> Result<Paged<WorkerRecord>, Refusal> {
        ask.of_all(self.store().workers().await?, |worker| worker.id)
    }

    /// Asks a worker to take no more jobs; it hears it with its next beat.
    ///
    /// # Errors
    /// When no such worker lives.
    pub async fn drain(&self, by: &May<impl AtLeast<Operator>>, id: Incarnation) -> Result<(), Refusal> {
        let workers = self.store().workers().await?;
        let worker = workers.into_iter().find(|w| w.id == id).ok_or(Refusal::NoSuchWorker(id))?;
        let before = json!({ "label": worker.label, "draining": worker.draining });
        let act = async { Ok(self.store().drain_worker(id).await?) };
        let after = |_: &()| Value::from("draining");
        self.change(by.actor(), "worker.drain", format!("worker:{id}"), Some(before), after, act).await
    }
}
