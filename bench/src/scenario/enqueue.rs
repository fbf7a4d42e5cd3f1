//! `enqueue-bulk` and `enqueue-single`: how fast jobs are taken in, durably, and how long a caller waits for it.
//!
//! Afterwards everything is run once, unmeasured, so that what was acknowledged is known to be there.

use std::time::Instant;

use clap::Args;
use tidemill::queue::Queue;
use tokio::task::JoinSet;

use super::{OURS, rate};
use crate::cli::Common;
use crate::latency::Latencies;
use crate::machine;
use crate::measurement::Measurement;
use crate::payload::Noop;
use crate::profile::Profile;
use crate::rig::{BATCH, Rig};

/// Enqueues in batches of 1,000 by one caller; latencies are those of a whole batch
#[derive(Debug, Args)]
pub struct Bulk {
    #[command(flatten)]
    common: Common,
    /// Repeats it, each time on an empty store
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Says on standard error where it spent its time; resets the server's counters
    #[arg(long)]
    profile: bool,
}

/// Enqueues one job a call by 32 callers at once
#[derive(Debug, Args)]
pub struct Single {
    #[command(flatten)]
    common: Common,
    /// Callers at once
    #[arg(long, default_value_t = 32)]
    callers: u64,
}

impl Bulk {
    /// Runs it.
    ///
    /// # Errors
    /// When the store fails or a job is missing afterwards.
    pub async fn run(self) -> anyhow::Result<()> {
        for round in 1..=self.rounds {
            self.round(round).await?;
        }
        Ok(())
    }

    async fn round(&self, round: u32) -> anyhow::Result<()> {
        let jobs = self.common.jobs(100_000);
        let place = self.common.place().await?;
        let rig = Rig::open(place.url()).await?;
        machine::reset_peak();
        let start = machine::resident();
        let mut waits = Latencies::new()?;
        let profile = if self.profile { Some(Profile::begin(&place).await?) } else { None };
        let begun = Instant::now();
        for from in (0..jobs).step_by(usize::try_from(BATCH)?) {
            let batch = Instant::now();
            rig.fill_now(from, (from + BATCH).min(jobs)).await?;
            waits.record(batch.elapsed());
        }
        let took = begun.elapsed();
        if let Some(profile) = profile {
            eprint!("{}", profile.end(&place, jobs).await?);
        }
        let mut line =
            Measurement::new("enqueue-bulk", OURS, &place.facts().await?, jobs).latencies(&waits).memory(start);
        rig.drain_and_count(jobs).await?;
        line.per_second = Some(rate(jobs, took));
        line.batch = Some(BATCH);
        line.concurrency = Some(1);
        line.lost = Some(0);
        line.round = (self.rounds > 1).then_some(round);
        self.common.out().print(&line)?;
        rig.end().await;
        place.clear().await
    }
}

impl Single {
    /// Runs it.
    ///
    /// # Errors
    /// When the store fails or a job is missing afterwards.
    pub async fn run(self) -> anyhow::Result<()> {
        let jobs = self.common.jobs(50_000);
        let place = self.common.place().await?;
        let rig = Rig::open(place.url()).await?;
        machine::reset_peak();
        let start = machine::resident();
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..self.callers {
            callers.spawn(call(rig.queue.clone(), caller, self.callers, jobs));
        }
        let mut waits = Latencies::new()?;
        while let Some(caller) = callers.join_next().await {
            waits.merge(&caller??)?;
        }
        let took = begun.elapsed();
        let mut line =
            Measurement::new("enqueue-single", OURS, &place.facts().await?, jobs).latencies(&waits).memory(start);
        rig.drain_and_count(jobs).await?;
        line.per_second = Some(rate(jobs, took));
        line.batch = Some(1);
        line.concurrency = Some(self.callers);
        line.lost = Some(0);
        self.common.out().print(&line)?;
        rig.end().await;
        place.clear().await
    }
}

/// Enqueues every `of`th job, one after the other.
async fn call(queue: Queue, first: u64, of: u64, jobs: u64) -> anyhow::Result<Latencies> {
    let mut waits = Latencies::new()?;
    for i in (first..jobs).step_by(usize::try_from(of)?) {
        let called = Instant::now();
        queue.enqueue(Noop::spec(i)?).await?;
        waits.record(called.elapsed());
    }
    Ok(waits)
}
