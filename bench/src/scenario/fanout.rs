//! `fanout`: webhooks out, with the full attempt log, to a receiver on loopback that answers 200 at once.
//!
//! Four measurements: deliveries a second over what waits (as a peer drains its queue), from publish to the receiver at a fixed rate,
//! the same for healthy endpoints while one of ten hangs, and memory while a receiver streams without end.

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tokio::time::MissedTickBehavior;

use self::house::{House, PLACES};
pub use self::receiver::Receive;
use self::receiver::Receiver;
use super::{OURS, rate};
use crate::cli::Common;
use crate::machine;
use crate::measurement::Measurement;

mod house;
mod receiver;

const ENDPOINTS: u64 = 10;
/// A part that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Sends webhooks and takes rate, latency, and what bad receivers do to them
#[derive(Debug, Args)]
pub struct Fanout {
    #[command(flatten)]
    common: Common,
    /// Events a second where latency is taken
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds of it
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Only the deliveries a second
    #[arg(long)]
    only_rate: bool,
}

impl Fanout {
    /// Runs it.
    ///
    /// # Errors
    /// When a message does not arrive.
    pub async fn run(self) -> anyhow::Result<()> {
        ensure!(self.rate > 0.0 && self.seconds > 0.0, "a rate and a time above zero are needed");
        self.deliver().await?;
        if self.only_rate {
            return Ok(());
        }
        self.latency("publish", 1, false, self.rate).await?;
        let shared = self.rate / ENDPOINTS as f64;
        self.latency("all healthy", ENDPOINTS, false, shared).await?;
        self.latency("one of ten hangs", ENDPOINTS, true, shared).await?;
        self.stream().await
    }

    /// All deliveries wait, then a worker starts: until the last one is settled.
    async fn deliver(&self) -> anyhow::Result<()> {
        let events = self.common.jobs(20_000).div_ceil(ENDPOINTS);
        let deliveries = events * ENDPOINTS;
        let place = self.common.place().await?;
        let (house, receiver) = (House::open(&place).await?, Receiver::start().await?);
        for n in 0..ENDPOINTS {
            house.endpoint(receiver.url(&format!("/ok/{n}"))).await?;
        }
        for n in 0..events {
            house.prepare(n).await?;
        }
        machine::reset_peak();
        let (memory, began) = (machine::resident(), Instant::now());
        let worker = house.worker().await?;
        house.completed(deliveries, PATIENCE).await?;
        let took = began.elapsed();
        let mut line = Measurement::new("fanout", OURS, &place.facts().await?, deliveries).memory(memory);
        worker.drain(Duration::from_secs(25)).await?;
        let got = receiver.stats().await?;
        ensure!(got.distinct == deliveries, "of {deliveries} deliveries the receiver got {}", got.distinct);
        line.operation = Some("deliver".to_owned());
        line.per_second = Some(rate(deliveries, took));
        line.concurrency = Some(u64::try_from(PLACES)?);
        line.lost = Some(0);
        self.common.out().print(&line)?;
        house.end().await;
        place.clear().await
    }

    /// From publish to the receiver, at a fixed rate of events; of healthy endpoints alone.
    async fn latency(&self, what: &str, endpoints: u64, hangs: bool, events_a_second: f64) -> anyhow::Result<()> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be above zero")]
        let events = (events_a_second * self.seconds).ceil() as u64;
        let place = self.common.place().await?;
        let (house, receiver) = (House::open(&place).await?, Receiver::start().await?);
        let healthy = endpoints - u64::from(hangs);
        for n in 0..healthy {
            house.endpoint(receiver.url(&format!("/ok/{n}"))).await?;
        }
        if hangs {
            house.endpoint(receiver.url("/hang")).await?;
        }
        let worker = house.worker().await?;
        // Connections and caches come up before the first event that counts.
        let warm = 50;
        for n in 0..warm {
            house.publish(n).await?;
        }
        house.completed(warm * (1 + healthy), PATIENCE).await?;
        receiver.reset().await?;
        let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / events_a_second));
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let began = Instant::now();
        for n in warm..warm + events {
            beat.tick().await;
            house.publish(n).await?;
        }
        let took = began.elapsed();
        house.completed((warm + events) * (1 + healthy), PATIENCE).await?;
        let got = receiver.stats().await?;
        ensure!(got.distinct == events * healthy, "of {} the receiver got {}", events * healthy, got.distinct);
        let mut line = Measurement::new("fanout", OURS, &place.facts().await?, events * healthy);
        (line.p50_ms, line.p99_ms, line.p999_ms, line.max_ms) = (got.p50_ms, got.p99_ms, got.p999_ms, got.max_ms);
        line.operation = Some(what.to_owned());
        line.offered_per_second = Some(events_a_second * endpoints as f64);
        line.achieved_per_second = Some(rate(events * endpoints, took));
        line.concurrency = Some(u64::try_from(PLACES)?);
        line.lost = Some(0);
        self.common.out().print(&line)?;
        // What hangs is cut off.
        worker.drain(Duration::from_millis(100)).await?;
        house.end().await;
        place.clear().await
    }

    /// Every reply is a body without end.
    async fn stream(&self) -> anyhow::Result<()> {
        let events = self.common.jobs(20_000).min(2_000);
        let place = self.common.place().await?;
        let (house, receiver) = (House::open(&place).await?, Receiver::start().await?);
        house.endpoint(receiver.url("/stream")).await?;
        for n in 0..events {
            house.prepare(n).await?;
        }
        let worker = house.worker().await?;
        house.completed(events / 4, PATIENCE).await?;
        machine::reset_peak();
        let (memory, began) = (machine::resident(), Instant::now());
        house.completed(events, PATIENCE).await?;
        let took = began.elapsed();
        let mut line = Measurement::new("fanout", OURS, &place.facts().await?, events).memory(memory);
        line.operation = Some("endless replies".to_owned());
        line.per_second = Some(rate(events - events / 4, took));
        line.concurrency = Some(u64::try_from(PLACES)?);
        let got = receiver.stats().await?;
        ensure!(got.distinct == events, "of {events} the receiver got {}", got.distinct);
        line.lost = Some(0);
        self.common.out().print(&line)?;
        worker.drain(Duration::from_secs(25)).await?;
        house.end().await;
        place.clear().await
    }
}
