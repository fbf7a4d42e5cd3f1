//! `reconcile.stripe`: compares Stripe's lists with the mirror that webhooks keep.
//!
//! All subscriptions, and the invoices created in the window. What is missing, extra or different is recorded with
//! field and amounts; nothing is repaired here. A run has its window as its name, so a repeated attempt replaces the
//! findings of the one before.

use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidemill::clock::Timestamp;
use tidemill::job::{Done, JobError, JobKind, JobSpec, PayloadError};
use tidemill::worker::{Context, Handler};

use crate::app::App;
use crate::clients::CallError;
use crate::clients::stripe::{Listed, Stripe};
use crate::events;
use crate::reconciliation::Ledger;
use crate::store::billing;
use crate::store::reconciliation::{self as runs, Run, Tally};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Invoices change for some days after they are made; each is compared on several days.
const DEFAULT_DAYS: u32 = 7;
const MAX_DAYS: u32 = 366;
/// 2,000 pages of 100 objects: beyond it the comparison belongs into smaller windows.
const MAX_PAGES: usize = 2_000;
const MIRROR_PAGE: u32 = 500;

/// Compares the days before `until`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileStripe {
    /// The window ends here; left out: when the job was enqueued.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// How many days it has, 1 to 366; left out: 7.
    #[serde(default)]
    pub days: Option<u32>,
}

impl JobKind for ReconcileStripe {
    const KIND: &'static str = "reconcile.stripe";
    const QUEUE: &'static str = "reports";
    const MAX_ATTEMPTS: u32 = 5;
    const TIMEOUT: Duration = Duration::from_secs(30 * 60);
}

impl ReconcileStripe {
    /// The job for the days before `due`; one for each `due`.
    ///
    /// # Errors
    /// Never in fact; a payload of two numbers fits.
    pub fn due(due: Timestamp) -> Result<JobSpec, PayloadError> {
        let key = format!("reconcile.stripe:{}", due.as_ms());
        Ok(JobSpec::of(&Self { until: Some(due), days: None })?.unique(&key))
    }
}

/// What a run found; the job's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The run's name, the key to its differences.
    pub run: String,
    /// The window's first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
    /// How many objects ended how.
    #[serde(flatten)]
    pub tally: Tally,
    /// Differences kept; all are counted in the tally.
    pub differences: usize,
}

impl Handler for ReconcileStripe {
    type State = App;

    async fn run(self, ctx: Context, app: &App) -> Result<Done, JobError> {
        let days = self.days.unwrap_or(DEFAULT_DAYS);
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(JobError::dead(anyhow!("days is {days}; allowed: 1 to {MAX_DAYS}")));
        }
        let until = self.until.unwrap_or_else(|| ctx.created_at());
        let report = reconcile(app, until.before(DAY * days), until).await?;
        let event = report.told(ctx.tenant())?;
        Ok(Done::with(report).then(event))
    }
}

impl Report {
    /// What is told of it.
    ///
    /// # Errors
    /// Dead, when it is no event.
    pub fn told(&self, tenant: Option<&str>) -> Result<JobSpec, JobError> {
        let id = format!("reconcile:{}", self.run);
        events::publish(id, events::RECONCILE_STRIPE_FINISHED, tenant, json!(self))
    }
}

/// One run.
///
/// # Errors
/// As Stripe's failure is meant, or the database's.
pub async fn reconcile(app: &App, from: Timestamp, until: Timestamp) -> Result<Report, JobError> {
    let stripe = app.stripe()?;
    let name = format!("stripe:{}:{}", from.as_ms(), until.as_ms());
    let began = app.clock.now();
    runs::begin(&app.db, Run { id: &name, system: "stripe", from, until }, began).await?;
    let mut ledger = Ledger::new(began);
    subscriptions(app, stripe, &mut ledger, until).await?;
    invoices(app, stripe, &mut ledger, (from, until)).await?;
    let (tally, differences) = ledger.close();
    runs::finish(&app.db, &name, tally, &differences, app.clock.now()).await?;
    Ok(Report { run: name, from, until, tally, differences: differences.len() })
}

async fn subscriptions(app: &App, stripe: &Stripe, ledger: &mut Ledger, until: Timestamp) -> Result<(), JobError> {
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = stripe.subscriptions(after.as_deref()).await.map_err(CallError::decision)?;
        // One made after the window's end may not have told us of itself yet.
        for theirs in page.data.iter().filter(|s| s.created_at().is_none_or(|at| at < until)) {
            let ours = billing::subscription(&app.db, &theirs.id).await?;
            ledger.theirs(theirs, ours.as_ref());
        }
        after = next(page.has_more, &page.data)?;
        if after.is_none() {
            return our_subscriptions(app, ledger, until).await;
        }
    }
    Err(too_many("subscriptions"))
}

async fn our_subscriptions(app: &App, ledger: &mut Ledger, until: Timestamp) -> Result<(), JobError> {
    let mut after = String::new();
    loop {
        let rows = billing::subscriptions(&app.db, &after, MIRROR_PAGE).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after.clone_from(&last.id);
        for ours in rows.iter().filter(|row| row.created_at.is_none_or(|at| at < until.as_ms())) {
            ledger.ours::<crate::clients::stripe::Subscription>(ours);
        }
    }
}

async fn invoices(
    app: &App,
    stripe: &Stripe,
    ledger: &mut Ledger,
    (from, until): (Timestamp, Timestamp),
) -> Result<(), JobError> {
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = stripe.invoices(from, until, after.as_deref()).await.map_err(CallError::decision)?;
        for theirs in &page.data {
            let ours = billing::invoice(&app.db, &theirs.id).await?;
            if ours.is_some() || theirs.was_told_of() {
                ledger.theirs(theirs, ours.as_ref());
            }
        }
        after = next(page.has_more, &page.data)?;
        if after.is_none() {
            return our_invoices(app, ledger, (from, until)).await;
        }
    }
    Err(too_many("invoices"))
}

async fn our_invoices(app: &App, ledger: &mut Ledger, window: (Timestamp, Timestamp)) -> Result<(), JobError> {
    let mut after = String::new();
    loop {
        let rows = billing::invoices(&app.db, window, &after, MIRROR_PAGE).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after.clone_from(&last.id);
        for ours in &rows {
            ledger.ours::<crate::clients::stripe::Invoice>(ours);
        }
    }
}

/// Where the next page begins. "There is more" after an empty page would go round for ever.
fn next<T: Listed>(has_more: bool, page: &[T]) -> Result<Option<String>, JobError> {
    match (has_more, page.last()) {
        (false, _) => Ok(None),
        (true, Some(last)) => Ok(Some(last.id().to_owned())),
        (true, None) => Err(JobError::retry(anyhow!("Stripe sent an empty page and says that there is more"))),
    }
}

fn too_many(what: &str) -> JobError {
    JobError::dead(anyhow!("more than {} {what}: compare fewer days at once", MAX_PAGES * 100))
}
