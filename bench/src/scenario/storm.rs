//! `schedule-storm`: 100,000 jobs fall due within one second. How fast are they made ready, and how late does each run,
//! measured from its own due time?

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use tidemill::clock::Clock;
use tidemill::job::RunAt;

use super::{OURS, rate};
use crate::cli::Common;
use crate::latency::Latencies;
use crate::machine;
use crate::measurement::Measurement;
use crate::payload::Stage;
use crate::rig::{CONCURRENCY, Rig};

/// Jobs become due over this.
const SPREAD_MS: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Lets 100,000 scheduled jobs fall due in one second
#[derive(Debug, Args)]
pub struct Storm {
    #[command(flatten)]
    common: Common,
    /// Seconds from now to the first due time; all must be enqueued by then [default: by the number of jobs]
    #[arg(long)]
    lead: Option<u64>,
}

impl Storm {
    /// Runs it.
    ///
    /// # Errors
    /// When the store fails, a job is lost, or runs before its time.
    pub async fn run(self) -> anyhow::Result<()> {
        let jobs = self.common.jobs(100_000);
        let lead = Duration::from_secs(self.lead.unwrap_or(3 + jobs / 6_000));
        let place = self.common.place().await?;
        let rig = Rig::open(place.url()).await?;
        let stage = Stage::timing(jobs);
        let worker = rig.worker(&stage, CONCURRENCY).await?;

        // One pair of readings ties the due times, which are of the wall clock, to the stage's clock.
        let (due_from, lead_from) = (Clock::system().now().after(lead), stage.begun.elapsed() + lead);
        let offset = |i: u64| Duration::from_millis(i * SPREAD_MS / jobs);
        rig.fill(0, jobs, |i| RunAt::At(due_from.after(offset(i))), |_, _| {}).await?;
        ensure!(
            stage.begun.elapsed() < lead_from,
            "the first was due before all were enqueued; ask for a longer --lead"
        );
        machine::reset_peak();
        let start = machine::resident();
        let first_due = stage.begun + lead_from;
        tokio::time::sleep_until(first_due.into()).await;
        let promoted = promoted(&rig, first_due).await?;
        stage.census.reaches(jobs).await?;
        let done = first_due.elapsed();
        rig.settled(jobs).await?;
        let memory = machine::resident();
        let facts = place.facts().await?;
        worker.drain(Duration::from_secs(25)).await?;
        stage.census.verdict()?;

        let mut late = Latencies::new()?;
        for i in 0..jobs {
            let arrival = stage.arrival(i).context("a job that was counted has no arrival")?;
            let due = lead_from + offset(i);
            // The store counts whole milliseconds and rounds down.
            ensure!(arrival + Duration::from_millis(2) >= due, "job {i} ran {:?} early", due.saturating_sub(arrival));
            late.record(arrival.saturating_sub(due));
        }
        let mut promote = Measurement::new("schedule-storm", OURS, &facts, jobs);
        promote.operation = Some("promote".to_owned());
        promote.per_second = Some(rate(jobs, promoted));
        promote.lost = Some(0);
        self.common.out().print(&promote)?;
        let mut run = Measurement::new("schedule-storm", OURS, &facts, jobs).latencies(&late).memory(start);
        run.rss_end_mib = Some(memory.now_mib);
        run.operation = Some("run".to_owned());
        run.per_second = Some(rate(jobs, done));
        run.lost = Some(0);
        self.common.out().print(&run)?;
        rig.end().await;
        place.clear().await
    }
}

/// How long after the first due time nothing is scheduled any more.
async fn promoted(rig: &Rig, first_due: Instant) -> anyhow::Result<Duration> {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while rig.counts().await?.scheduled > 0 {
        ensure!(first_due.elapsed() < PATIENCE, "jobs are still scheduled {PATIENCE:?} after the first was due");
        look.tick().await;
    }
    Ok(first_due.elapsed())
}
