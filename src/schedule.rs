//! Schedules: jobs that the clock asks for.
//!
//! A [`Schedule`] is declared in the code: a name, a [`Plan`] (when, and what to do when that could not be kept) and the
//! job to enqueue. The [`Scheduler`] decides due times by the store's clock and hands each to
//! [`Store::tick`](crate::store::Store::tick), which enqueues exactly once per (schedule, due time) in the whole cluster; so
//! any number of nodes may run it, and no leader is needed. Operators pause, resume, run and change schedules at run time.
//!
//! **When clocks are changed** (cron only): a local time that does not exist runs once, at the first instant after the gap,
//! and several in one gap are one run; a local time that exists twice runs once, the first time.

mod cadence;
mod catch_up;
mod cron_text;
mod error;
mod local_time;
mod plan;
mod round;
mod scheduler;
mod span;
mod wake;

pub use cadence::Cadence;
pub use catch_up::{CatchUp, ON_TIME};
pub use error::{InvalidPlan, ScheduleError};
pub use plan::Plan;
pub use round::Report;
pub use scheduler::{ScheduleView, Scheduler};

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::config::schedules::SchedulesConfig;
use crate::job::{JobSpec, PayloadError};

const NAME_MAX: usize = 100;

type MakeJob = Arc<dyn Fn(Timestamp) -> Result<JobSpec, PayloadError> + Send + Sync>;

/// A schedule as the code declares it. Cheap to clone.
#[derive(Clone)]
pub struct Schedule {
    name: Arc<str>,
    plan: Plan,
    job: MakeJob,
}

impl Schedule {
    /// At each due time of `plan` the job that `job` makes for it is enqueued, by `schedule:<name>`. A `run_at` or unique key
    /// that `job` sets is kept.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use tidemill::job::{JobKind, JobSpec};
    /// use tidemill::schedule::{Plan, Schedule};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Poll {}
    /// impl JobKind for Poll {
    ///     const KIND: &'static str = "market.poll";
    ///     const QUEUE: &'static str = "medium_priority";
    /// }
    ///
    /// let plan = Plan::cron("*/15 9-17 * * mon-fri", "Europe/Berlin")?;
    /// let schedule = Schedule::new("market.poll", plan, |_due| JobSpec::of(&Poll {}))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the name is none.
    pub fn new(
        name: &str,
        plan: Plan,
        job: impl Fn(Timestamp) -> Result<JobSpec, PayloadError> + Send + Sync + 'static,
    ) -> Result<Self, InvalidPlan> {
        let fits = (1..=NAME_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
        if !fits {
            return Err(InvalidPlan::new("name", name, "1 to 100 of a-z, 0-9, `.`, `_` and `-`, like `market.poll`"));
        }
        Ok(Self { name: name.into(), plan, job: Arc::new(job) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its plan, as the code and the configuration say.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The same schedule on another plan.
    #[must_use]
    pub fn on(mut self, plan: Plan) -> Self {
        self.plan = plan;
        self
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").field("name", &self.name).field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// The schedules with what the configuration puts in place of their plans.
///
/// # Errors
/// When the configuration names a schedule that there is not, or a plan that makes no sense.
pub fn configured(schedules: Vec<Schedule>, config: &SchedulesConfig) -> Result<Vec<Schedule>, ScheduleError> {
    if let Some(name) = config.0.keys().find(|name| schedules.iter().all(|s| s.name() != name.as_str())) {
        let known = schedules.iter().map(Schedule::name).collect::<Vec<_>>().join(", ");
        return Err(ScheduleError::NoSuch { name: name.clone(), known });
    }
    let changed = schedules.into_iter().map(|schedule| match config.0.get(schedule.name()) {
        None => Ok(schedule),
        Some(text) => match schedule.plan.changed(text) {
            Ok(plan) => Ok(schedule.on(plan)),
            Err(source) => Err(ScheduleError::Invalid { schedule: schedule.name().to_owned(), source }),
        },
    });
    changed.collect()
}
