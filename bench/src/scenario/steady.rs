//! `steady`: an open loop. A job is sent at each beat of a clock that waits for nobody, and its latency runs from the
//! *intended* moment to the handler's first line, so that a stall shows in every job that it held up.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{OURS, rate};
use crate::cli::Common;
use crate::latency::Latencies;
use crate::machine;
use crate::measurement::Measurement;
use crate::payload::{Noop, Stage};
use crate::rig::{CONCURRENCY, Rig};

/// Connections, caches and the scheduler get so long before the first job that counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// Sends at a fixed rate and takes the pick-up latency
#[derive(Debug, Args)]
pub struct Steady {
    #[command(flatten)]
    common: Common,
    /// Jobs a second
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Seconds, where --jobs is not given
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
}

impl Steady {
    /// Runs it.
    ///
    /// # Errors
    /// When the store fails or a job is lost.
    pub async fn run(self) -> anyhow::Result<()> {
        anyhow::ensure!(self.rate > 0.0 && self.seconds > 0.0, "a rate and a time above zero are needed");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be above zero")]
        let jobs = self.common.jobs((self.rate * self.seconds) as u64);
        let every = Duration::from_secs_f64(1.0 / self.rate);
        let place = self.common.place().await?;
        let rig = Rig::open(place.url()).await?;
        let stage = Stage::timing(jobs);
        let worker = rig.worker(&stage, CONCURRENCY).await?;
        machine::reset_peak();
        let start = machine::resident();

        let first = stage.begun.elapsed() + WARM_UP;
        let intended = move |i: u64| first + every.mul_f64(i as f64);
        let mut ticks = metronome(stage.begun, intended, jobs)?;
        let mut sending = JoinSet::new();
        while let Some(i) = ticks.recv().await {
            let queue = rig.queue.clone();
            sending.spawn(async move { queue.enqueue(Noop::spec(i)?).await.map_err(anyhow::Error::from) });
        }
        while let Some(sent) = sending.join_next().await {
            sent??;
        }
        stage.census.reaches(jobs).await?;
        let last = stage.begun.elapsed();
        rig.settled(jobs).await?;
        let mut line = Measurement::new("steady", OURS, &place.facts().await?, jobs).memory(start);
        worker.drain(Duration::from_secs(25)).await?;
        stage.census.verdict()?;

        let mut waits = Latencies::new()?;
        for i in 0..jobs {
            let arrival = stage.arrival(i).context("a job that was counted has no arrival")?;
            waits.record(arrival.saturating_sub(intended(i)));
        }
        line = line.latencies(&waits);
        line.offered_per_second = Some(self.rate);
        line.achieved_per_second = Some(rate(jobs, last.saturating_sub(first) + every));
        line.concurrency = Some(u64::try_from(CONCURRENCY)?);
        line.lost = Some(0);
        self.common.out().print(&line)?;
        rig.end().await;
        place.clear().await
    }
}

/// Beats from a thread of its own: the runtime's timer counts whole milliseconds, which would be most of the figure.
fn metronome(
    begun: Instant,
    intended: impl Fn(u64) -> Duration + Send + 'static,
    jobs: u64,
) -> anyhow::Result<mpsc::UnboundedReceiver<u64>> {
    let (beat, beats) = mpsc::unbounded_channel();
    let run = move || {
        for i in 0..jobs {
            std::thread::sleep(intended(i).saturating_sub(begun.elapsed()));
            if beat.send(i).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("metronome".to_owned()).spawn(run)?;
    Ok(beats)
}
