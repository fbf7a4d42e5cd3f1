//! `maintenance.prune`: takes away what is no longer kept, in bounded batches, and reports how much it was.
//!
//! Old market data (48 h), recorded webhooks (30 days), settled deliveries and their attempts (30 days), and the queue's
//! finished jobs by each queue's retention. What one run does not finish, the next one does.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::clock::Timestamp;
use tidemill::job::{Done, JobError, JobKind};
use tidemill::store::Store;
use tidemill::worker::{Context, Handler};

use crate::app::App;
use crate::store::{events, inbox, market};

/// Deliveries that are settled, with their attempts and messages, are kept for so long.
const KEEP_DELIVERIES: Duration = Duration::from_secs(30 * 24 * 3600);
/// Rows in one statement: short enough that a writer beside it does not notice.
const BATCH: u32 = 1_000;
/// Batches of each sort in one run.
const MAX_BATCHES: u32 = 50;

/// Prunes once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenancePrune {}

impl JobKind for MaintenancePrune {
    const KIND: &'static str = "maintenance.prune";
    const QUEUE: &'static str = "maintenance";
    const MAX_ATTEMPTS: u32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(300);
}

/// How many rows went; the job's result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of `market_data`.
    pub market_data: u64,
    /// Of `webhook_events`.
    pub webhook_events: u64,
    /// Of `webhook_repeats`.
    pub webhook_repeats: u64,
    /// Attempts, deliveries and messages of webhooks out.
    pub deliveries: u64,
    /// Finished jobs.
    pub jobs: u64,
    /// Expired keys, replies, cache entries and dead workers of the queue's store.
    pub queue_other: u64,
    /// Something was left for the next run.
    pub more: bool,
}

impl Handler for MaintenancePrune {
    type State = App;

    async fn run(self, ctx: Context, app: &App) -> Result<Done, JobError> {
        let report = prune(app, ctx.store().as_ref(), ctx.clock().now()).await?;
        Ok(Done::with(report))
    }
}

/// One run.
///
/// # Errors
/// When the database or the store did not do it; what went before stays gone.
pub async fn prune(app: &App, store: &dyn Store, now: Timestamp) -> Result<Report, JobError> {
    let mut report = Report::default();
    let before = now.before(market::KEEP);
    for batch in 1..=MAX_BATCHES {
        let gone = market::prune(&app.db, before, BATCH).await?;
        report.market_data += gone;
        if goes_on(gone, batch, &mut report.more).is_break() {
            break;
        }
    }
    let before = now.before(events::KEEP);
    for batch in 1..=MAX_BATCHES {
        let gone = events::prune(&app.db, before, BATCH).await?;
        report.webhook_events += gone;
        if goes_on(gone, batch, &mut report.more).is_break() {
            break;
        }
    }
    for batch in 1..=MAX_BATCHES {
        let gone = inbox::prune_repeats(&app.db, before, BATCH).await?;
        report.webhook_repeats += gone;
        if goes_on(gone, batch, &mut report.more).is_break() {
            break;
        }
    }
    let before = now.before(KEEP_DELIVERIES);
    for batch in 1..=MAX_BATCHES {
        let gone = tidemill::fanout::prune(&app.db, before, BATCH).await?;
        report.deliveries += gone;
        if goes_on(gone, batch, &mut report.more).is_break() {
            break;
        }
    }
    for batch in 1..=MAX_BATCHES {
        let gone = store.prune(BATCH).await?;
        report.jobs += u64::from(gone.jobs);
        report.queue_other += u64::from(gone.other);
        let full = if gone.more { u64::from(BATCH) } else { 0 };
        if goes_on(full, batch, &mut report.more).is_break() {
            break;
        }
    }
    Ok(report)
}

/// A batch that was not full was the last; a full one at the end of the budget leaves more.
fn goes_on(gone: u64, batch: u32, more: &mut bool) -> std::ops::ControlFlow<()> {
    if gone < u64::from(BATCH) {
        return std::ops::ControlFlow::Break(());
    }
    *more |= batch == MAX_BATCHES;
    std::ops::ControlFlow::Continue(())
}
