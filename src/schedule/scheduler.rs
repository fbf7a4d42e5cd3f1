//! What a program knows of its schedules, and what operators may ask of them.
//!
//! Rounds, which decide due times, are in [`round`](super::round); the loop that runs them in [`wake`](super::wake).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;

use super::plan::read_override;
use super::round::TICKS_A_ROUND;
use super::{InvalidPlan, Plan, Report, Schedule, ScheduleError};
use crate::clock::{Clock, Entropy, Timestamp};
use crate::config::schedules::PlanText;
use crate::queue::{EnqueueError, Queue};
use crate::store::{Overlap, ScheduleChange, ScheduleDeclaration, ScheduleRecord, Store, StoreError, Tick, Ticked};

/// Decides when schedules fire. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scheduler {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) queue: Queue,
    pub(super) schedules: BTreeMap<Arc<str>, Schedule>,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    seen: Mutex<Seen>,
}

/// What the last round saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Plans that may fire, for [`wake`](super::wake).
    pub(super) active: Vec<Plan>,
    /// What the last round that the store answered did.
    pub(super) report: Option<Report>,
    /// Schedules that could not be fired; logged once, not with every round.
    pub(super) failing: BTreeSet<Arc<str>>,
}

/// A schedule as operators see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleView {
    /// What the store keeps.
    #[serde(flatten)]
    pub record: ScheduleRecord,
    /// The plan it follows now; none when this program does not declare it or [`problem`](Self::problem) says why.
    pub plan: Option<PlanText>,
    /// Why it can't fire.
    pub problem: Option<String>,
    /// When it is due next; none while it is paused.
    pub next_due: Option<Timestamp>,
}

impl Scheduler {
    /// Schedules that enqueue through `queue`. Each one's job is made once to see that it can be enqueued.
    ///
    /// # Errors
    /// When two have one name, there are too many, or a job can't be enqueued.
    pub fn new(queue: Queue, schedules: Vec<Schedule>, clock: Clock, entropy: Entropy) -> Result<Self, ScheduleError> {
        if schedules.len() > TICKS_A_ROUND {
            return Err(ScheduleError::TooMany { count: schedules.len(), max: TICKS_A_ROUND });
        }
        let mut by_name = BTreeMap::new();
        for schedule in schedules {
            let name = Arc::clone(&schedule.name);
            let job = (schedule.job)(clock.now()).map_err(EnqueueError::from).and_then(|spec| queue.admit(spec));
            job.map_err(|source| ScheduleError::Job { schedule: name.to_string(), source })?;
            if by_name.insert(Arc::clone(&name), schedule).is_some() {
                return Err(ScheduleError::Duplicate(name.to_string()));
            }
        }
        let seen = Mutex::default();
        Ok(Self { inner: Arc::new(Inner { queue, schedules: by_name, clock, entropy, seen }) })
    }

    /// How many schedules this program declares.
    pub fn declared(&self) -> usize {
        self.inner.schedules.len()
    }

    /// Makes the schedules known to the store. One whose times have changed starts afresh at now: what would have been due
    /// by the new plan before today was never missed.
    ///
    /// # Errors
    /// When the store did not take it.
    pub async fn declare(&self) -> Result<(), StoreError> {
        for record in self.store().schedules().await? {
            let Some(schedule) = self.inner.schedules.get(&record.name) else { continue };
            let new = effective(schedule, &record).ok();
            let same = new.zip(effective_before(&record)).is_some_and(|(new, old)| new.cadence == old.cadence);
            if !same {
                self.start_afresh(&record.name, "declared anew").await?;
            }
        }
        let declarations = self.inner.schedules.values().map(|schedule| ScheduleDeclaration {
            name: Arc::clone(&schedule.name),
            declared: schedule.plan.to_json(),
        });
        self.store().declare_schedules(declarations.collect()).await
    }

    /// Enqueues a schedule's job now, whatever its plan says; the plan goes on as if nothing had happened. `by` is kept as
    /// the one who asked.
    ///
    /// # Errors
    /// When there is no such schedule, its job can't be enqueued, or the store did not take it.
    pub async fn run_now(&self, name: &str, by: &str) -> Result<Ticked, ScheduleError> {
        let schedule = self.find(name)?;
        let due = self.store().now().await?;
        let not_enqueued = |source| ScheduleError::Job { schedule: name.to_owned(), source };
        let spec = (schedule.job)(due).map_err(|e| not_enqueued(e.into()))?;
        let job = self.inner.queue.admit(spec.by(by)).map_err(not_enqueued)?;
        let tick = Tick { schedule: Arc::clone(&schedule.name), due, job, overlap: Overlap::Allow, manual: true };
        let queue = tick.job.spec.queue.clone();
        let ticked = self.store().tick(tick).await?;
        self.inner.queue.ticked(&queue, ticked);
        Ok(ticked)
    }

    /// Says what plan a schedule would follow with `text` put in place of what the code declares: an object with one or more of
    /// `cron`, `every`, `time_zone`, `catch_up`, `catch_up_window`, `overlap`, `jitter`.
    ///
    /// # Errors
    /// When there is no such schedule, or the plan makes no sense.
    pub fn validate_override(&self, name: &str, text: &Value) -> Result<Plan, ScheduleError> {
        let declared = &self.find(name)?.plan;
        let plan = read_override(text).and_then(|text| declared.changed(&text));
        plan.map_err(|source| ScheduleError::Invalid { schedule: name.to_owned(), source })
    }

    /// Puts `text` in place of what the code declares, or with `None` takes an earlier override back. Validated first. What is
    /// due by the old plan is decided, then the new one counts from now.
    ///
    /// # Errors
    /// As [`Scheduler::validate_override`], or when the store did not take it.
    pub async fn change_plan(&self, name: &str, text: Option<Value>, by: &str) -> Result<Plan, ScheduleError> {
        let schedule = self.find(name)?;
        let plan = match &text {
            Some(text) => self.validate_override(name, text)?,
            None => schedule.plan.clone(),
        };
        self.run_once().await?;
        let record = self.store().schedules().await?.into_iter().find(|record| &*record.name == name);
        let same = record.is_some_and(|r| effective(schedule, &r).is_ok_and(|old| old.cadence == plan.cadence));
        if !same {
            self.start_afresh(name, by).await?;
        }
        self.store().change_schedule(name, ScheduleChange::Override(text), by).await?;
        Ok(plan)
    }

    /// All schedules in the store, with the plans they follow.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn list(&self) -> Result<Vec<ScheduleView>, StoreError> {
        let now = self.store().now().await?;
        let records = self.store().schedules().await?;
        Ok(records.into_iter().map(|record| self.view(record, now)).collect())
    }

    fn view(&self, record: ScheduleRecord, now: Timestamp) -> ScheduleView {
        let plan = match self.inner.schedules.get(&record.name) {
            None => Err("this program does not declare it".to_owned()),
            Some(schedule) => {
                effective(schedule, &record).map_err(|invalid| format!("its override is wrong: {invalid}"))
            }
        };
        match plan {
            Ok(plan) => {
                let next_due = if record.paused { None } else { plan.cadence.next_after(now) };
                ScheduleView { record, plan: Some(plan.describe()), problem: None, next_due }
            }
            Err(problem) => ScheduleView { record, plan: None, problem: Some(problem), next_due: None },
        }
    }

    /// What this node's last round did; its [`now`](Report::now) tells how long it has been silent. `None` before the first.
    pub fn last_round(&self) -> Option<Report> {
        self.inner.seen().report.clone()
    }

    /// Moves the cursor to now.
    async fn start_afresh(&self, name: &str, by: &str) -> Result<(), StoreError> {
        let cursor = self.store().now().await?;
        loop {
            let records = self.store().schedules().await?;
            let Some(record) = records.iter().find(|r| &*r.name == name && r.cursor < cursor) else { return Ok(()) };
            let change = ScheduleChange::SkipTo { from: record.cursor, cursor, missed: 0 };
            // False: a round elsewhere moved it in between, each time further towards now.
            if self.store().change_schedule(name, change, by).await? {
                return Ok(());
            }
        }
    }

    fn find(&self, name: &str) -> Result<&Schedule, ScheduleError> {
        self.inner.schedules.get(name).ok_or_else(|| ScheduleError::NoSuch {
            name: name.to_owned(),
            known: self.inner.schedules.keys().map(|name| &**name).collect::<Vec<_>>().join(", "),
        })
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.inner.queue.store()
    }
}

impl Inner {
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        // Each value is replaced whole, so a panic elsewhere leaves none half written.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The plan to follow now: the code's, with what an operator has put in its place.
pub(super) fn effective(schedule: &Schedule, record: &ScheduleRecord) -> Result<Plan, InvalidPlan> {
    match &record.overridden {
        None => Ok(schedule.plan.clone()),
        Some(text) => schedule.plan.changed(&read_override(text)?),
    }
}

/// The plan that an earlier program, or this one at its last start, had the store keep.
fn effective_before(record: &ScheduleRecord) -> Option<Plan> {
    let declared = Plan::read(&read_override(&record.declared).ok()?).ok()?;
    match &record.overridden {
        None => Some(declared),
        Some(text) => declared.changed(&read_override(text).ok()?).ok(),
    }
}
