//! Schedules: list, history, pause, resume, override, run.

use serde_json::{Value, json};

use super::Desk;
use crate::admin::page::{Ask, Paged};
use crate::admin::{AtLeast, May, Operator, Refusal, Viewer};
use crate::store::{HistoryEntry, ScheduleChange, ScheduleRecord, StoreError};

impl Desk {
    /// A page of the schedules, in the order of their names.
    ///
    /// # Errors
    /// When the cursor is none or the store did not answer.
    pub async fn schedules(
        &self,
        _by: &May<impl AtLeast<Viewer>>,
        ask: &Ask,
    ) -> Result<Paged<ScheduleRecord>, Refusal> {
        ask.of_all(self.store().schedules().await?, |schedule| schedule.name.to_string())
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
        self.schedule(name).await?;
        Ok(self.store().schedule_history(name).await?)
    }

    /// Stops a schedule; due times pass without a job.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn pause_schedule(
        &self,
        by: &May<impl AtLeast<Operator>>,
        name: &str,
    ) -> Result<ScheduleRecord, Refusal> {
        self.change_schedule(by, "schedule.pause", name, ScheduleChange::Pause).await
    }

    /// Lets it fire again, from now on.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn resume_schedule(
        &self,
        by: &May<impl AtLeast<Operator>>,
        name: &str,
    ) -> Result<ScheduleRecord, Refusal> {
        self.change_schedule(by, "schedule.resume", name, ScheduleChange::Resume).await
    }

    async fn change_schedule(
        &self,
        by: &May<impl AtLeast<Operator>>,
        action: &'static str,
        name: &str,
        change: ScheduleChange,
    ) -> Result<ScheduleRecord, Refusal> {
        let before = described(&self.schedule(name).await?);
        let act = async {
            self.store().change_schedule(name, change, &by.actor().name).await?;
            self.schedule(name).await
        };
        self.change(by.actor(), action, format!("schedule:{name}"), Some(before), described, act).await
    }

    async fn schedule(&self, name: &str) -> Result<ScheduleRecord, Refusal> {
        let found = self.store().schedules().await?.into_iter().find(|s| &*s.name == name);
        found.ok_or_else(|| StoreError::NoSuchSchedule(name.chars().take(80).collect()).into())
    }
}

fn described(schedule: &ScheduleRecord) -> Value {
    json!({ "paused": schedule.paused, "overridden": schedule.overridden })
}
