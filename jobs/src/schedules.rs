//! The table of schedules: what runs by the clock, how often, and what happens when the clock was not watched.
//!
//! A schedule whose integration is off is left out; its jobs stay registered and say why they can't run.

use std::time::Duration;

use tidemill::clock::Timestamp;
use tidemill::config::schedules::SchedulesConfig;
use tidemill::fanout::Mend;
use tidemill::job::{JobSpec, PayloadError};
use tidemill::schedule::{CatchUp, InvalidPlan, Plan, Schedule};
use tidemill::store::Overlap;

use crate::app::{App, Integration};
use crate::handlers::accounts_sync_all::AccountsSyncAll;
use crate::handlers::maintenance_prune::MaintenancePrune;
use crate::handlers::market_poll::MarketPoll;
use crate::handlers::reconcile_stripe::ReconcileStripe;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The schedule's name: the kind of its job.
    pub name: &'static str,
    /// When, in UTC.
    pub when: When,
    /// What happens to due times that passed unseen.
    pub catch_up: CatchUp,
    /// What happens while the last job lives.
    pub overlap: Overlap,
    /// Jobs are put off by up to this, so that not everybody asks at the full minute.
    pub jitter: Duration,
    /// What must be on.
    pub needs: Option<Integration>,
    job: fn(Timestamp) -> Result<JobSpec, PayloadError>,
}

/// When a schedule is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As cron text.
    Cron(&'static str),
    /// At this distance.
    Every(Duration),
}

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// The table.
pub const TABLE: [Line; 5] = [
    Line {
        name: "market.poll",
        when: When::Every(minutes(15)),
        catch_up: CatchUp::Latest,
        overlap: Overlap::Skip,
        jitter: Duration::from_secs(10),
        needs: Some(Integration::GpuMarket),
        job: |_| JobSpec::of(&MarketPoll {}),
    },
    Line {
        name: "accounts.sync_all",
        when: When::Every(minutes(60)),
        catch_up: CatchUp::Latest,
        overlap: Overlap::Skip,
        jitter: minutes(2),
        needs: Some(Integration::Plaid),
        job: |_| JobSpec::of(&AccountsSyncAll {}),
    },
    Line {
        name: "reconcile.stripe",
        // After the day's last webhooks, before anybody reads the report.
        when: When::Cron("10 3 * * *"),
        // Each run is a window of its own: a missed one is made up for, as long as Stripe's data has not moved on.
        catch_up: CatchUp::All { within: Duration::from_secs(3 * 24 * 3600) },
        overlap: Overlap::Allow,
        jitter: Duration::ZERO,
        needs: Some(Integration::Stripe),
        job: ReconcileStripe::due,
    },
    Line {
        name: "maintenance.prune",
        when: When::Cron("25 * * * *"),
        catch_up: CatchUp::Skip,
        overlap: Overlap::Skip,
        jitter: Duration::ZERO,
        needs: None,
        job: |_| JobSpec::of(&MaintenancePrune {}),
    },
    Line {
        name: "webhook.mend",
        when: When::Every(minutes(5)),
        catch_up: CatchUp::Skip,
        overlap: Overlap::Skip,
        jitter: Duration::ZERO,
        needs: None,
        job: |_| JobSpec::of(&Mend {}),
    },
];

/// The schedules of every integration that is on.
///
/// # Errors
/// When a line of the table makes no sense; a test sees to it that none does.
pub fn schedules(app: &App) -> Result<Vec<Schedule>, InvalidPlan> {
    TABLE.iter().filter(|line| line.needs.is_none_or(|i| app.has(i))).map(Line::schedule).collect()
}

/// What the configuration says of schedules, less those whose integration is off: a plan for one of them is no mistake.
pub fn plans(config: &SchedulesConfig, app: &App) -> SchedulesConfig {
    let off = |name: &str| TABLE.iter().any(|line| line.name == name && line.needs.is_some_and(|i| !app.has(i)));
    SchedulesConfig(config.0.iter().filter(|(name, _)| !off(name)).map(|(n, plan)| (n.clone(), plan.clone())).collect())
}

impl Line {
    /// The job for one due time.
    ///
    /// # Errors
    /// When its payload is none; a test sees to it that it is one.
    pub fn spec(&self, due: Timestamp) -> Result<JobSpec, PayloadError> {
        (self.job)(due)
    }

    fn schedule(&self) -> Result<Schedule, InvalidPlan> {
        let plan = match self.when {
            When::Cron(text) => Plan::cron(text, "UTC")?,
            When::Every(interval) => Plan::every(interval)?,
        };
        let plan = plan.catch_up(self.catch_up).overlap(self.overlap).jitter(self.jitter);
        Schedule::new(self.name, plan, self.job)
    }
}
