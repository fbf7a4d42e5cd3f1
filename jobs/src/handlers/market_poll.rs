//! `market.poll`: asks the GPU market what GPUs cost, and keeps the answer for 48 hours.
//!
//! Conditional requests, checked and normalised rows, one transaction for a batch and its ETag. A failure is noted with
//! the source, so that readers ([`latest`](crate::store::market::latest)) know that what they get is the last good data.

use std::collections::BTreeSet;
use std::time::Duration;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidemill::clock::Timestamp;
use tidemill::job::{Done, JobError, JobKind, JobSpec, RetryPolicy};
use tidemill::worker::{Context, Handler};

use crate::app::App;
use crate::clients::CallError;
use crate::clients::gpu_market::{Fetched, Figures, GpuStats, Model};
use crate::events;
use crate::store::market::{self, Reading};

/// The platform that the source reports on; also the source's name in the tables.
pub const PLATFORM: &str = "vast.ai";
/// The source does not tell regions apart.
pub const REGION: &str = "global";
/// The source's clock may be this much ahead of ours.
const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);
/// More models than this is not the market, but an error.
const MAX_MODELS: usize = 2_000;
/// US dollars per GPU-hour; above it a price is an error at the source.
const MAX_PRICE: u32 = 10_000;

/// Asks once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketPoll {}

impl JobKind for MarketPoll {
    const KIND: &'static str = "market.poll";
    const QUEUE: &'static str = "medium_priority";
    const MAX_ATTEMPTS: u32 = 5;
    const TIMEOUT: Duration = Duration::from_secs(60);

    fn retry_policy() -> RetryPolicy {
        RetryPolicy::List { delays: [1, 2, 4, 8, 16].map(Duration::from_secs).to_vec(), jitter: 0.0 }
    }
}

/// What a poll brought; the job's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The source said that nothing has changed.
    pub unchanged: bool,
    /// Rows kept.
    pub kept: usize,
    /// Rows that made no sense, each with its reason; at most ten are named.
    pub rejected: Vec<String>,
    /// When the source took the figures.
    pub observed_at: Option<Timestamp>,
}

impl Handler for MarketPoll {
    type State = App;

    async fn run(self, ctx: Context, app: &App) -> Result<Done, JobError> {
        let report = poll(app, ctx.clock().now()).await?;
        let done = Done::with(&report);
        match report.told(ctx.tenant())? {
            Some(event) => Ok(done.then(event)),
            None => Ok(done),
        }
    }
}

impl Report {
    /// What is told of it, if the source had figures.
    ///
    /// # Errors
    /// Dead, when it is no event.
    pub fn told(&self, tenant: Option<&str>) -> Result<Option<JobSpec>, JobError> {
        let Some(observed_at) = self.observed_at else { return Ok(None) };
        // Also when nothing has changed: the attempt that kept these figures may have died before it could tell. Figures
        // that were told already have the same id, and are not told again.
        let id = format!("market:{PLATFORM}:{}", observed_at.as_ms());
        let payload = json!({ "platform": PLATFORM, "observed_at": observed_at });
        events::publish(id, events::MARKET_UPDATED, tenant, payload).map(Some)
    }
}

/// One poll.
///
/// # Errors
/// As the source's failure is meant; it is noted with the source first.
pub async fn poll(app: &App, now: Timestamp) -> Result<Report, JobError> {
    let source = app.gpu_market()?;
    let etag = market::known_etag(&app.db, PLATFORM).await?;
    match source.gpu_stats(etag.as_deref()).await {
        Ok(Fetched::Unchanged) => {
            // The row is there: the ETag came from it.
            market::confirm(&app.db, PLATFORM, now).await?;
            let observed_at = market::freshness(&app.db, PLATFORM).await?.observed_at;
            Ok(Report { unchanged: true, kept: 0, rejected: Vec::new(), observed_at })
        }
        Ok(Fetched::Changed { etag, stats }) => match normalise(&stats, now) {
            Ok((readings, mut rejected)) => {
                let observed_at = stats.observed_at();
                market::save(&app.db, PLATFORM, etag.as_deref(), observed_at, &readings, now).await?;
                if !rejected.is_empty() {
                    tracing::warn!(platform = PLATFORM, rejected = rejected.len(), "market rows rejected");
                }
                rejected.truncate(10);
                Ok(Report { unchanged: false, kept: readings.len(), rejected, observed_at: Some(observed_at) })
            }
            Err(problem) => {
                market::record_failure(&app.db, PLATFORM, &problem, now).await?;
                Err(JobError::dead(anyhow::anyhow!("gpu market: {problem}")))
            }
        },
        Err(error) => {
            market::record_failure(&app.db, PLATFORM, &error.to_string(), now).await?;
            Err(CallError::decision(error))
        }
    }
}

/// Checks the figures and turns them into rows. Rows that make no sense are left out with their reason.
fn normalise(stats: &GpuStats, now: Timestamp) -> Result<(Vec<Reading>, Vec<String>), String> {
    let observed_at = stats.observed_at();
    if observed_at > now.after(MAX_AHEAD) {
        return Err(format!("the figures are from the future: {observed_at}"));
    }
    if stats.models.len() > MAX_MODELS {
        return Err(format!("{} models; at most {MAX_MODELS} are believed", stats.models.len()));
    }
    let (mut readings, mut rejected, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for model in &stats.models {
        match reading(model, observed_at) {
            Ok(_) if !names.insert(model.name.as_str()) => rejected.push(format!("{}: named twice", model.name)),
            Ok(reading) => readings.push(reading),
            Err(reason) => rejected.push(format!("{}: {reason}", model.name.chars().take(60).collect::<String>())),
        }
    }
    if readings.is_empty() {
        let first = rejected.first().map_or("the list is empty", String::as_str);
        return Err(format!("none of {} models can be used: {first}", stats.models.len()));
    }
    Ok((readings, rejected))
}

fn reading(model: &Model, observed_at: Timestamp) -> Result<Reading, String> {
    let name = model.name.trim();
    if !(1..=100).contains(&name.len()) || name.chars().any(char::is_control) {
        return Err("a name of 1 to 100 bytes without control characters is needed".to_owned());
    }
    let (all, rented) = (model.stats.all.all, model.stats.rented.all);
    if rented.count > all.count {
        return Err(format!("{} of {} are rented", rented.count, all.count));
    }
    let utilization = (all.count > 0).then(|| share(rented.count, all.count));
    let prices = prices(&all)?;
    Ok(Reading {
        platform: PLATFORM.to_owned(),
        region: REGION.to_owned(),
        gpu_model: name.to_owned(),
        observed_at,
        rented: rented.count,
        available: model.stats.available.all.count,
        total: all.count,
        utilization,
        price: prices[0],
        price_p10: prices[1],
        price_p90: prices[2],
    })
}

fn share(part: u32, whole: u32) -> Decimal {
    (Decimal::from(part) / Decimal::from(whole)).round_dp_with_strategy(4, RoundingStrategy::MidpointNearestEven)
}

/// Median, 10th and 90th percentile. Prices of nothing are no prices.
fn prices(of: &Figures) -> Result<[Option<Decimal>; 3], String> {
    if of.count == 0 {
        return Ok([None; 3]);
    }
    let prices = [of.price_median, of.price_10th_percentile, of.price_90th_percentile].map(|p| p.map(|p| p.0));
    match prices.iter().flatten().find(|p| p.is_sign_negative() || **p > Decimal::from(MAX_PRICE)) {
        Some(price) => Err(format!("a price of {price} USD/h; allowed: 0 to {MAX_PRICE}")),
        None => Ok(prices),
    }
}
