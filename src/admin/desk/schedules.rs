//! Schedules: list, history, pause, resume, another plan, run now. What a plan means, [`schedule`](crate::schedule) knows.

use serde_json::{Value, json};

use super::Desk;
use crate::admin::page::{Ask, Paged};
use crate::admin::{AtLeast, May, Operator, Refusal, Viewer};
use crate::job::JobId;
use crate::schedule::ScheduleView;
use crate::store::{HistoryEntry, ScheduleChange, StoreError, Ticked};

impl Desk {
    /// A page of the schedules with the plans they follow, in the order of their names.
    ///
    /// # Errors
    /// When the cursor is none or the store did not answer.
    pub async fn schedules(&self, _by: &May<impl AtLeast<Viewer>>, ask: &Ask) -> Result<Paged<ScheduleView>, Refusal> {
        ask.of_all(self.scheduler.list().await?, |schedule| schedule.record.name.to_string())
    }

    /// What happened to a schedule, newest first, at most 100 entries.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn schedule_history(
        &self,
        _by: &May<impl AtLeast<Viewer>>,
        name: &str,
    ) -> Result<Vec<HistoryEntry>, Refusal> {
        self.view(name).await?;
        Ok(self.store().schedule_history(name).await?)
    }

    /// Stops a schedule; due times pass without a job.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn pause_schedule(&self, by: &May<impl AtLeast<Operator>>, name: &str) -> Result<ScheduleView, Refusal> {
        self.change_schedule(by, "schedule.pause", name, ScheduleChange::Pause).await
    }

    /// Lets it fire again, from now on.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn resume_schedule(&self, by: &May<impl AtLeast<Operator>>, name: &str) -> Result<ScheduleView, Refusal> {
        self.change_schedule(by, "schedule.resume", name, ScheduleChange::Resume).await
    }

    /// Puts a plan in place of the declared one; `None` goes back to the declared one.
    ///
    /// # Errors
    /// When there is no such schedule or the plan makes no sense.
    pub async fn change_plan(
        &self,
        by: &May<impl AtLeast<Operator>>,
        name: &str,
        plan: Option<Value>,
    ) -> Result<ScheduleView, Refusal> {
        if let Some(text) = &plan {
            self.scheduler.validate_override(name, text)?;
        }
        let before = described(&self.view(name).await?);
        let act = async {
            self.scheduler.change_plan(name, plan, &by.actor().name).await?;
            self.view(name).await
        };
        self.change(by.actor(), "schedule.plan", format!("schedule:{name}"), Some(before), described, act).await
    }

    /// Enqueues its job now, whatever its plan says.
    ///
    /// # Errors
    /// When there is no such schedule or its job can't be enqueued.
    pub async fn run_schedule(&self, by: &May<impl AtLeast<Operator>>, name: &str) -> Result<JobId, Refusal> {
        self.view(name).await?;
        let act = async {
            match self.scheduler.run_now(name, &by.actor().enqueuer()).await? {
                Ticked::Enqueued(job) => Ok(job),
                Ticked::AlreadyDecided | Ticked::SkippedOverlap(_) | Ticked::Held => {
                    Err(Refusal::NotFired { schedule: name.to_owned(), why: "it was run in this very moment" })
                }
                Ticked::Paused => Err(Refusal::NotFired { schedule: name.to_owned(), why: "it is paused" }),
            }
        };
        let after = |job: &JobId| json!({ "job": job });
        self.change(by.actor(), "schedule.run", format!("schedule:{name}"), None, after, act).await
    }

    async fn change_schedule(
        &self,
        by: &May<impl AtLeast<Operator>>,
        action: &'static str,
        name: &str,
        change: ScheduleChange,
    ) -> Result<ScheduleView, Refusal> {
        let before = described(&self.view(name).await?);
        let act = async {
            self.store().change_schedule(name, change, &by.actor().name).await?;
            self.view(name).await
        };
        self.change(by.actor(), action, format!("schedule:{name}"), Some(before), described, act).await
    }

    async fn view(&self, name: &str) -> Result<ScheduleView, Refusal> {
        let found = self.scheduler.list().await?.into_iter().find(|s| &*s.record.name == name);
        found.ok_or_else(|| StoreError::NoSuchSchedule(name.chars().take(80).collect()).into())
    }
}

fn described(schedule: &ScheduleView) -> Value {
    json!({ "paused": schedule.record.paused, "overridden": schedule.record.overridden })
}
