//! `accounts.sync_all`: asks for one `accounts.sync` for every bank connection that works.
//!
//! Safe to repeat: each connection's job is unique while it lives, so a crash in the middle enqueues none twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::job::{Done, JobError, JobKind};
use tidemill::store::Enqueued;
use tidemill::worker::{Context, Handler};

use super::accounts_sync::AccountsSync;
use crate::app::App;
use crate::store::accounts;

const PAGE: u32 = 500;

/// Asks for all of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountsSyncAll {}

impl JobKind for AccountsSyncAll {
    const KIND: &'static str = "accounts.sync_all";
    const QUEUE: &'static str = "medium_priority";
    const TIMEOUT: Duration = Duration::from_secs(120);
}

/// How many were asked for; the job's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Enqueued.
    pub enqueued: usize,
    /// Still waiting or running from before.
    pub already_there: usize,
}

impl Handler for AccountsSyncAll {
    type State = App;

    async fn run(self, ctx: Context, app: &App) -> Result<Done, JobError> {
        app.plaid()?;
        let (mut report, mut after) = (Report::default(), String::new());
        loop {
            let items = accounts::active_items(&app.db, &after, PAGE).await?;
            let Some((last, _)) = items.last() else { return Ok(Done::with(report)) };
            after.clone_from(last);
            let mut specs = Vec::with_capacity(items.len());
            for (item, tenant) in &items {
                let spec = AccountsSync::scheduled(item, tenant).map_err(JobError::dead)?;
                specs.push(spec.correlation(&ctx.correlation_id()).by(&format!("job:{}", ctx.job_id())));
            }
            let outcomes = ctx.queue().enqueue_all(specs).await?;
            report.enqueued += outcomes.iter().filter(|o| o.is_new()).count();
            report.already_there += outcomes.iter().filter(|o| matches!(o, Enqueued::Duplicate(_))).count();
        }
    }
}
