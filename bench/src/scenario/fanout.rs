//! `fanout`: webhooks out, with the full attempt log, to a receiver on loopback that answers 200 at once.
//!
//! Deliveries a second over what waits (as a peer drains its queue); from `POST /api/v1/events` to the receiver at a fixed rate; the same
//! for healthy endpoints while one of ten hangs, taking turns with a calm run; and memory while a receiver streams without end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tidemill::telemetry::Recorder;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use self::house::{House, PLACES, order};
pub use self::receiver::Receive;
use self::receiver::{Receiver, now_us};
use super::{OURS, rate};
use crate::cli::Common;
use crate::machine;
use crate::measurement::Measurement;
use crate::place::Facts;

mod house;
mod publisher;
mod receiver;

const ENDPOINTS: u64 = 10;
/// Events before those that count.
const WARM: u64 = 50;
/// A part that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Sends webhooks and takes rate, latency, and what bad receivers do to them
#[derive(Debug, Args)]
pub struct Fanout {
    #[command(flatten)]
    common: Common,
    /// Deliveries a second where latency is taken
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds of it, in each round
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Rounds in which all healthy and one hanging take turns
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Also with so many endpoints, of which one in ten hangs
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=100_000))]
    many: u64,
    /// Only the deliveries a second
    #[arg(long)]
    only_rate: bool,
    /// Only the latencies
    #[arg(long, conflicts_with = "only_rate")]
    only_latency: bool,
}

/// Events at a fixed rate to endpoints, ten a tenant or one.
#[derive(Clone, Copy)]
struct Load {
    what: &'static str,
    tenants: u64,
    /// Of each tenant.
    endpoints: u64,
    /// The last one of each never answers.
    hangs: bool,
}

impl Load {
    fn healthy(&self) -> u64 {
        self.endpoints - u64::from(self.hangs)
    }
}

impl Fanout {
    /// Runs it.
    ///
    /// # Errors
    /// When a message does not arrive.
    pub async fn run(self, recorder: Recorder) -> anyhow::Result<()> {
        ensure!(self.rate > 0.0 && self.seconds > 0.0, "a rate and a time above zero are needed");
        if !self.only_latency {
            self.deliver().await?;
        }
        if self.only_rate {
            return Ok(());
        }
        let one = Load { what: "publish", tenants: 1, endpoints: 1, hangs: false };
        self.latencies(&[one], 1, &recorder).await?;
        let calm = Load { what: "all healthy", endpoints: ENDPOINTS, ..one };
        let hung = Load { what: "one of ten hangs", hangs: true, ..calm };
        self.latencies(&[calm, hung], self.rounds.max(1), &recorder).await?;
        if self.many > 0 {
            let tenants = self.many.div_ceil(ENDPOINTS);
            let calm = Load { what: "many healthy", tenants, ..calm };
            let hung = Load { what: "of many, one in ten hangs", tenants, ..hung };
            self.latencies(&[calm, hung], self.rounds.max(1), &recorder).await?;
        }
        if self.only_latency {
            return Ok(());
        }
        self.stream().await
    }

    /// All deliveries wait, then a worker starts: until the last one is settled.
    async fn deliver(&self) -> anyhow::Result<()> {
        let events = self.common.jobs(20_000).div_ceil(ENDPOINTS);
        let deliveries = events * ENDPOINTS;
        let place = self.common.place().await?;
        let (house, receiver) = (House::open(&place).await?, Receiver::start().await?);
        for n in 0..ENDPOINTS {
            house.endpoint(0, receiver.url(&format!("/ok/{n}"))).await?;
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

    /// From `POST /api/v1/events` to the receiver, for each load; they take turns, so that what else the machine does meets
    /// them alike, and each has one histogram over all its rounds.
    async fn latencies(&self, loads: &[Load], rounds: u32, recorder: &Recorder) -> anyhow::Result<()> {
        let mut receivers = Vec::new();
        for _ in loads {
            receivers.push(Receiver::start().await?);
        }
        let (mut took, mut facts) = (vec![Duration::ZERO; loads.len()], None);
        for round in 0..rounds {
            for turn in 0..loads.len() {
                // The first one of a round is the last one of the next.
                let n = if round % 2 == 0 { turn } else { loads.len() - 1 - turn };
                let (lasted, of) = self.latency(&loads[n], &receivers[n], recorder).await?;
                took[n] += lasted;
                facts = Some(of);
            }
        }
        let Some(facts) = facts else { return Ok(()) };
        for ((load, receiver), took) in loads.iter().zip(&receivers).zip(took) {
            let (events, healthy, rounds) = (self.events(load), load.healthy(), u64::from(rounds));
            let (got, due) = (receiver.stats().await?, rounds * (WARM + events) * healthy);
            ensure!(got.distinct == due, "of {due} deliveries the receiver got {}", got.distinct);
            let mut line = Measurement::new("fanout", OURS, &facts, rounds * events * healthy);
            (line.p50_ms, line.p99_ms, line.p999_ms, line.max_ms) = (got.p50_ms, got.p99_ms, got.p999_ms, got.max_ms);
            line.operation = Some(load.what.to_owned());
            line.offered_per_second = Some(self.rate);
            line.achieved_per_second = Some(rate(rounds * events * load.endpoints, took));
            line.concurrency = Some(u64::try_from(PLACES)?);
            line.lost = Some(0);
            if load.tenants > 1 {
                line.note = Some(format!("{} endpoints", load.tenants * load.endpoints));
            }
            self.common.out().print(&line)?;
        }
        Ok(())
    }

    /// How many of a load's events count in a round.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be above zero")]
    fn events(&self, load: &Load) -> u64 {
        (self.rate / load.endpoints as f64 * self.seconds).ceil() as u64
    }

    /// One round of one load, by a clock that waits for nobody: a latency begins at the moment at which the event was due.
    async fn latency(
        &self,
        load: &Load,
        receiver: &Receiver,
        recorder: &Recorder,
    ) -> anyhow::Result<(Duration, Facts)> {
        let (events, healthy) = (self.events(load), load.healthy());
        let place = self.common.place().await?;
        let house = House::open(&place).await?;
        for tenant in 0..load.tenants {
            for n in 0..healthy {
                house.endpoint(tenant, receiver.url(&format!("/ok/{tenant}/{n}"))).await?;
            }
            if load.hangs {
                house.endpoint(tenant, receiver.url(&format!("/hang/{tenant}"))).await?;
            }
        }
        let publisher = Arc::new(house.listen(recorder.clone()).await?);
        let worker = house.worker().await?;
        // Connections and caches come up before the first event that counts.
        for n in 0..WARM {
            publisher.publish(&order(n, n % load.tenants, None)).await?;
        }
        house.completed(WARM * (1 + healthy), PATIENCE).await?;
        let every = Duration::from_secs_f64(load.endpoints as f64 / self.rate);
        let mut beat = tokio::time::interval(every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (began, mut publishing) = (Instant::now(), JoinSet::new());
        let began_us = now_us();
        for n in WARM..WARM + events {
            beat.tick().await;
            let due_us = began_us + u64::try_from(every.as_micros())? * (n - WARM);
            let (publisher, event) = (Arc::clone(&publisher), order(n, n % load.tenants, Some(due_us)));
            publishing.spawn(async move { publisher.publish(&event).await });
            while let Some(published) = publishing.try_join_next() {
                published??;
            }
        }
        while let Some(published) = publishing.join_next().await {
            published??;
        }
        let took = began.elapsed();
        house.completed((WARM + events) * (1 + healthy), PATIENCE).await?;
        let facts = place.facts().await?;
        // What hangs is cut off.
        worker.drain(Duration::from_millis(100)).await?;
        house.end().await;
        place.clear().await?;
        Ok((took, facts))
    }

    /// Every reply is a body without end.
    async fn stream(&self) -> anyhow::Result<()> {
        let events = self.common.jobs(20_000).min(2_000);
        let place = self.common.place().await?;
        let (house, receiver) = (House::open(&place).await?, Receiver::start().await?);
        house.endpoint(0, receiver.url("/stream")).await?;
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
