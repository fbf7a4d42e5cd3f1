//! `curve`: drain rate and claim latency against the number of waiting jobs, 1 k to 1 M, and a plot of both.
//!
//! The rate is that of the first jobs out of a full backlog, at most 100,000 of them, from the first handler's first line
//! on: what a worker makes of a queue *while* so many wait. Small backlogs are drained several times. Every job is counted.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::backlog::{CALLS, Probe};
use super::{OURS, rate};
use crate::cli::Common;
use crate::latency::Latencies;
use crate::machine;
use crate::measurement::Measurement;
use crate::payload::Stage;
use crate::report::plot;
use crate::rig::{CONCURRENCY, Rig};

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// So many jobs make a rate.
const LEG: u64 = 100_000;

/// Drain rate and claim latency against backlog size; --jobs is the largest
#[derive(Debug, Args)]
pub struct Curve {
    #[command(flatten)]
    common: Common,
    /// Where the plot goes [default: none]
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Drains of a small backlog
    #[arg(long, default_value_t = 10)]
    runs: u64,
    /// Claims at each size
    #[arg(long, default_value_t = CALLS)]
    calls: usize,
}

/// What all runs of one size gave.
struct Point {
    drained: u64,
    took: Duration,
    claims: Latencies,
    drain: Option<Measurement>,
    claim: Option<Measurement>,
}

impl Curve {
    /// Runs it.
    ///
    /// # Errors
    /// When the store fails or a job is lost.
    pub async fn run(self) -> anyhow::Result<()> {
        let largest = self.common.jobs(SIZES[SIZES.len() - 1]);
        let mut sizes: Vec<u64> = SIZES.into_iter().filter(|size| *size < largest).collect();
        sizes.push(largest);
        let mut lines = Vec::new();
        for size in sizes {
            let mut point =
                Point { drained: 0, took: Duration::ZERO, claims: Latencies::new()?, drain: None, claim: None };
            let runs = (LEG / size).clamp(1, self.runs.max(1));
            let claims = self.calls.div_ceil(usize::try_from(runs)?);
            for _ in 0..runs {
                self.run_once(size, claims, &mut point).await?;
            }
            let (drain, claim) = point.drain.zip(point.claim).context("no run was made")?;
            let mut drain = drain;
            drain.per_second = Some(rate(point.drained, point.took));
            for line in [drain, claim.latencies(&point.claims)] {
                self.common.out().print(&line)?;
                lines.push(line);
            }
        }
        match &self.plot {
            Some(path) => std::fs::write(path, plot::svg(&lines)).with_context(|| format!("write {}", path.display())),
            None => Ok(()),
        }
    }

    async fn run_once(&self, size: u64, claims: usize, point: &mut Point) -> anyhow::Result<()> {
        let place = self.common.place().await?;
        let rig = Rig::open(place.url()).await?;
        rig.fill_now(0, size).await?;
        let probe = Probe::begin(&rig).await?;
        point.claims.merge(&probe.claims(1, claims).await?)?;
        probe.end().await?;

        let stage = Stage::counting(size);
        machine::reset_peak();
        let start = machine::resident();
        let worker = rig.worker(&stage, CONCURRENCY).await?;
        let leg = size.min(LEG);
        stage.census.reaches(leg).await?;
        let reached = stage.begun.elapsed();
        point.took += reached.saturating_sub(stage.first().context("no handler ran")?);
        point.drained += leg;
        stage.census.reaches(size).await?;
        rig.settled(size).await?;
        let facts = place.facts().await?;
        let mut drain = Measurement::new("curve", OURS, &facts, size).memory(start);
        worker.drain(Duration::from_secs(25)).await?;
        stage.census.verdict()?;
        drain.operation = Some("drain".to_owned());
        let mut claim = Measurement::new("curve", OURS, &facts, size);
        claim.operation = Some("claim".to_owned());
        for line in [&mut drain, &mut claim] {
            line.waiting = Some(size);
            line.lost = Some(0);
        }
        (point.drain, point.claim) = (Some(drain), Some(claim));
        rig.end().await;
        place.clear().await
    }
}
