//! One round: what has become due on the store's clock, decided.
//!
//! Any number of nodes run rounds side by side; the store's clock says what is due and the store says who was first. A
//! round fires at most [`TICKS_A_ROUND`] due times, shared evenly, so one schedule's backlog holds up no other.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::{error, warn};

use super::catch_up::decide;
use super::scheduler::effective;
use super::{Plan, Schedule, Scheduler};
use crate::clock::Timestamp;
use crate::job::{RunAt, UniqueKey};
use crate::metrics::{SCHEDULE_LATE_SECONDS, SCHEDULE_TICKS};
use crate::queue::EnqueueError;
use crate::store::{BATCH_MAX, Overlap, ScheduleChange, ScheduleRecord, StoreError, Tick, Ticked};

/// No round fires more; also the most schedules that one program may declare.
pub(super) const TICKS_A_ROUND: usize = BATCH_MAX;

/// What one round did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Jobs enqueued.
    pub enqueued: u32,
    /// Due times left out because the last job still lives.
    pub skipped: u32,
    /// Due times held back until the last job ends.
    pub held: u32,
    /// Due times left out because they had passed unseen.
    pub missed: u32,
    /// Due times that another node had decided.
    pub decided_elsewhere: u32,
    /// Schedules that could not be fired: no valid plan, or no valid job.
    pub failed: u32,
    /// True when there was more than one round may do: call again at once.
    pub more: bool,
    /// The store's clock at the beginning.
    pub now: Timestamp,
    /// The next due time of all schedules.
    pub next_due: Option<Timestamp>,
}

impl Scheduler {
    /// One round: decides what has become due on the store's clock.
    ///
    /// # Errors
    /// When the store did not take it; what was decided before stays decided, the rest is for the next round.
    pub async fn run_once(&self) -> Result<Report, StoreError> {
        let records = self.store().schedules().await?;
        let now = self.store().now().await?;
        let mut report = Report { now, ..Report::default() };
        let mut active = Vec::new();
        for record in &records {
            let Some(schedule) = self.inner.schedules.get(&record.name) else { continue };
            match effective(schedule, record) {
                Ok(_) if record.paused => {}
                Ok(plan) => {
                    self.decide(schedule, &plan, record, &mut report).await?;
                    active.push(plan);
                }
                Err(invalid) => self.failed(&record.name, &invalid, &mut report),
            }
        }
        report.next_due = active.iter().filter_map(|plan| plan.cadence.next_after(now)).min();
        let mut seen = self.inner.seen();
        seen.active = active;
        seen.report = Some(report.clone());
        drop(seen);
        Ok(report)
    }

    async fn decide(
        &self,
        schedule: &Schedule,
        plan: &Plan,
        record: &ScheduleRecord,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        if let Some(due) = record.held_due
            && !self.fire(schedule, plan, due, Overlap::QueueOne, report).await?
        {
            return Ok(());
        }
        let quota = (TICKS_A_ROUND / self.inner.schedules.len().max(1)).max(1);
        let decision = decide(plan, record.cursor, report.now, quota);
        report.more |= decision.more;
        if let Some((cursor, missed)) = decision.leave_out {
            let change = ScheduleChange::SkipTo { from: record.cursor, cursor, missed };
            if !self.store().change_schedule(&record.name, change, "the scheduler, by its catch-up policy").await? {
                // Another node has moved on; what is left is seen when the record is read again.
                return Ok(());
            }
            warn!(schedule = %record.name, missed, until = %cursor, "due times were missed and are left out");
            report.missed = report.missed.saturating_add(missed);
            count(&record.name, "missed", missed.into());
        }
        for due in decision.fire {
            if !self.fire(schedule, plan, due, plan.overlap, report).await? {
                break;
            }
        }
        Ok(())
    }

    /// Hands one due time to the store. False: its job can't be made, so the due time stays undecided.
    async fn fire(
        &self,
        schedule: &Schedule,
        plan: &Plan,
        due: Timestamp,
        overlap: Overlap,
        report: &mut Report,
    ) -> Result<bool, StoreError> {
        let name = &schedule.name;
        let tick = match self.tick(schedule, plan, due, overlap) {
            Ok(tick) => tick,
            Err(invalid) => {
                self.failed(name, &invalid, report);
                return Ok(false);
            }
        };
        self.inner.seen().failing.remove(name);
        let queue = tick.job.spec.queue.clone();
        let ticked = self.store().tick(tick).await?;
        self.inner.queue.ticked(&queue, ticked);
        match ticked {
            Ticked::Enqueued(_) => {
                report.enqueued += 1;
                count(name, "enqueued", 1);
                let late = metrics::gauge!(SCHEDULE_LATE_SECONDS, "schedule" => name.to_string());
                late.set(report.now.since(due).as_secs_f64());
            }
            Ticked::SkippedOverlap(_) => {
                report.skipped += 1;
                count(name, "skipped", 1);
            }
            Ticked::Held => {
                report.held += 1;
                count(name, "held", 1);
            }
            Ticked::AlreadyDecided => report.decided_elsewhere += 1,
            // Paused since the records were read; the due time is not decided and resuming starts afresh.
            Ticked::Paused => return Ok(false),
        }
        Ok(true)
    }

    fn tick(&self, schedule: &Schedule, plan: &Plan, due: Timestamp, overlap: Overlap) -> Result<Tick, EnqueueError> {
        let name = &schedule.name;
        let mut spec = (schedule.job)(due)?.by(&format!("schedule:{name}"));
        if spec.run_at == RunAt::Now {
            spec.run_at = RunAt::At(due.after(self.draw(plan.jitter)));
        }
        if spec.unique.is_none() {
            let key = format!("schedule:{name}:{}", due.as_ms()).into();
            spec.unique = Some(UniqueKey { key, keep_for: Duration::ZERO });
        }
        let job = self.inner.queue.admit(spec)?;
        Ok(Tick { schedule: Arc::clone(name), due, job, overlap, manual: false })
    }

    fn draw(&self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.inner.entropy.below(most.saturating_add(1)))
    }

    fn failed(&self, name: &Arc<str>, why: &dyn std::error::Error, report: &mut Report) {
        report.failed += 1;
        count(name, "failed", 1);
        if self.inner.seen().failing.insert(Arc::clone(name)) {
            error!(schedule = %name, error = %why, "a schedule can't fire and waits until that is mended");
        }
    }
}

fn count(schedule: &str, outcome: &'static str, n: u64) {
    metrics::counter!(SCHEDULE_TICKS, "schedule" => schedule.to_owned(), "outcome" => outcome).increment(n);
}
