//! `drain`: jobs wait, a worker is started, and the clock runs until the last of them is durably finished.
//!
//! The baselines run in the same process, each on an empty store of the same kind, one after the other in each round: the
//! ratio is between neighbours in time. Ours is also drained at the baseline's number of jobs.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::{OURS, rate};
use crate::cli::Common;
use crate::machine;
use crate::measurement::Measurement;
use crate::payload::Stage;
use crate::peer::{apalis, sqlite_loop};
use crate::place::Place;
use crate::profile::Profile;
use crate::rig::{CONCURRENCY, Rig};

/// More waiting jobs than this end an apalis-redis worker at its first fetch; see `apalis-findings`.
const APALIS_JOBS: u64 = 7_000;
const STOPPING: Duration = Duration::from_secs(25);

/// Runs waiting jobs that do nothing, 200 at once, beside the baselines
#[derive(Debug, Args)]
pub struct Drain {
    #[command(flatten)]
    common: Common,
    /// Only these [default: ours, and the baselines that fit the store]
    #[arg(long, value_delimiter = ',')]
    systems: Vec<System>,
    /// Repeats all of it, interleaved
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Jobs at once
    #[arg(long, default_value_t = CONCURRENCY)]
    concurrency: usize,
    /// Says on standard error where ours spent its time; resets the server's counters
    #[arg(long)]
    profile: bool,
}

/// Who drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// This engine.
    Tidemill,
    /// apalis-redis with the setup of its README.
    ApalisRedis,
    /// The same with batches of 200 and a task a job.
    ApalisRedisTuned,
    /// A bare loop over a table.
    SqliteLoop,
}

impl Drain {
    /// Runs it.
    ///
    /// # Errors
    /// When a store fails or a job is lost.
    pub async fn run(self) -> anyhow::Result<()> {
        let jobs = self.common.jobs(100_000);
        for round in 1..=self.rounds {
            for (system, jobs) in self.plan(jobs)? {
                let place = self.common.place().await?;
                let mut line = match system {
                    System::Tidemill => ours(&place, jobs, self.concurrency, self.profile).await?,
                    System::ApalisRedis => apalis::drain(&place, jobs, false).await?,
                    System::ApalisRedisTuned => apalis::drain(&place, jobs, true).await?,
                    System::SqliteLoop => sqlite_loop::drain(&place, jobs).await?,
                };
                line.round = (self.rounds > 1).then_some(round);
                self.common.out().print(&line)?;
                place.clear().await?;
            }
        }
        Ok(())
    }

    /// Who drains how many in a round.
    fn plan(&self, jobs: u64) -> anyhow::Result<Vec<(System, u64)>> {
        let few = jobs.min(APALIS_JOBS);
        let mut all = vec![(System::Tidemill, jobs)];
        if self.common.is_redis() {
            if few < jobs {
                all.push((System::Tidemill, few));
            }
            all.extend([(System::ApalisRedis, few), (System::ApalisRedisTuned, few)]);
        } else {
            all.push((System::SqliteLoop, jobs));
        }
        if !self.systems.is_empty() {
            all.retain(|(system, _)| self.systems.contains(system));
            anyhow::ensure!(!all.is_empty(), "none of {:?} drains this kind of store", self.systems);
        }
        Ok(all)
    }
}

/// One drain of ours.
async fn ours(place: &Place, jobs: u64, concurrency: usize, profiled: bool) -> anyhow::Result<Measurement> {
    let rig = Rig::open(place.url()).await?;
    rig.fill_now(0, jobs).await?;
    let stage = Stage::counting(jobs);
    machine::reset_peak();
    let start = machine::resident();
    let profile = if profiled { Some(Profile::begin(place).await?) } else { None };
    let begun = Instant::now();
    let worker = rig.worker(&stage, concurrency).await?;
    stage.census.reaches(jobs).await?;
    rig.settled(jobs).await?;
    let took = begun.elapsed();
    if let Some(profile) = profile {
        eprint!("{}", profile.end(place, jobs).await?);
    }
    let mut line = Measurement::new("drain", OURS, &place.facts().await?, jobs).memory(start);
    worker.drain(STOPPING).await?;
    stage.census.verdict()?;
    line.per_second = Some(rate(jobs, took));
    line.concurrency = Some(u64::try_from(concurrency)?);
    line.lost = Some(0);
    rig.end().await;
    Ok(line)
}
