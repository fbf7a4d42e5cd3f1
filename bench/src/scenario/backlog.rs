//! `backlog`: what claim, list, count and explain cost while very many jobs wait, and what one waiting job weighs.
//!
//! Lists are taken from the first page, from a page 20 further in, and by tenant; ids for explain are drawn evenly over
//! the whole backlog. Nothing else runs meanwhile.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tidemill::clock::{Clock, Entropy};
use tidemill::config::queues::WorkerConfig;
use tidemill::job::{Incarnation, JobId, JobState, RunAt};
use tidemill::store::{Beat, ListQuery, Settlement, StoreError, Verdict};

use super::{OURS, rate};
use crate::cli::Common;
use crate::latency::Latencies;
use crate::measurement::Measurement;
use crate::peer::apalis;
use crate::place::{Facts, Place};
use crate::rig::Rig;

/// Calls of each kind, unless they take too long together.
pub(super) const CALLS: usize = 1_000;
/// Jobs that explain is asked about.
const SAMPLE: u64 = 1_000;
const LONGEST: Duration = Duration::from_secs(20);
/// A page as the console asks for it.
const PAGE: u32 = 50;
/// More are counted by the store's counters only: running them all would take longer than the measurement.
const COUNTED_MAX: u64 = 1_000_000;

/// Times claim, list, count and explain while a million jobs wait
#[derive(Debug, Args)]
pub struct Backlog {
    #[command(flatten)]
    common: Common,
    /// Leaves the baseline out
    #[arg(long)]
    alone: bool,
    /// Calls of each kind, unless they take longer than 20 s together
    #[arg(long, default_value_t = CALLS)]
    calls: usize,
}

impl Backlog {
    /// Runs it.
    ///
    /// # Errors
    /// When the store fails or a job is missing afterwards.
    pub async fn run(self) -> anyhow::Result<()> {
        let jobs = self.common.jobs(1_000_000);
        let place = self.common.place().await?;
        for line in ours(&place, jobs, self.calls.max(1)).await? {
            self.common.out().print(&line)?;
        }
        place.clear().await?;
        if self.common.is_redis() && !self.alone {
            let place = self.common.place().await?;
            for line in apalis::backlog(&place, jobs, self.calls.max(1)).await? {
                self.common.out().print(&line)?;
            }
            place.clear().await?;
        }
        Ok(())
    }
}

async fn ours(place: &Place, jobs: u64, calls: usize) -> anyhow::Result<Vec<Measurement>> {
    let rig = Rig::open(place.url()).await?;
    let empty = place.bytes().await?;
    let every = (jobs / SAMPLE).max(1);
    let mut ids = Vec::new();
    let begun = Instant::now();
    let look = |i: u64, id: JobId| {
        if i.is_multiple_of(every) {
            ids.push(id);
        }
    };
    rig.fill(0, jobs, |_| RunAt::Now, look).await?;
    let filled = begun.elapsed();
    let bytes = place.bytes().await?.saturating_sub(empty);
    let facts = place.facts().await?;

    let mut fill = line(&facts, "fill", jobs, None);
    fill.per_second = Some(rate(jobs, filled));
    #[expect(clippy::cast_precision_loss, reason = "a weight is shown to the byte")]
    let weight = bytes as f64 / jobs as f64;
    fill.bytes_per_job = Some(weight);
    let mut lines = vec![fill];
    let probe = Probe::begin(&rig).await?;
    for (operation, waits) in [
        ("claim", probe.claims(1, calls).await?),
        ("claim-200", probe.claims(200, calls.div_ceil(5)).await?),
        ("count", timed(calls, |_| async { rig.store.counts().await.map(drop) }).await?),
        ("list", probe.lists(None, 0, calls).await?),
        ("list-deep", probe.lists(None, 20, calls).await?),
        ("list-tenant", probe.lists(Some("t2"), 0, calls).await?),
        ("explain", probe.explains(&ids, calls).await?),
    ] {
        lines.push(line(&facts, operation, jobs, Some(&waits)));
    }
    probe.end().await?;
    let counts = rig.counts().await?;
    ensure!(counts.ready == jobs, "{jobs} jobs waited and {counts:?} is left");
    if jobs <= COUNTED_MAX {
        rig.drain_and_count(jobs).await?;
        lines.iter_mut().for_each(|line| line.lost = Some(0));
    }
    rig.end().await;
    Ok(lines)
}

fn line(facts: &Facts, operation: &str, jobs: u64, waits: Option<&Latencies>) -> Measurement {
    let mut line = Measurement::new("backlog", OURS, facts, jobs);
    if let Some(waits) = waits {
        line = line.latencies(waits);
    }
    line.operation = Some(operation.to_owned());
    line.waiting = Some(jobs);
    line
}

/// Times `calls` calls one after the other, or as many as go into the longest time.
async fn timed<F: Future<Output = Result<(), StoreError>>>(
    calls: usize,
    call: impl Fn(usize) -> F,
) -> anyhow::Result<Latencies> {
    let mut waits = Latencies::new()?;
    let begun = Instant::now();
    for n in 0..calls {
        let called = Instant::now();
        call(n).await?;
        waits.record(called.elapsed());
        if begun.elapsed() > LONGEST {
            break;
        }
    }
    Ok(waits)
}

/// A worker that only claims and gives back.
pub(super) struct Probe<'r> {
    rig: &'r Rig,
    incarnation: Incarnation,
}

impl<'r> Probe<'r> {
    /// Registers it.
    pub(super) async fn begin(rig: &'r Rig) -> anyhow::Result<Self> {
        let probe = Self { rig, incarnation: Incarnation::new(&Entropy::system()) };
        probe.beat().await?;
        Ok(probe)
    }

    async fn beat(&self) -> anyhow::Result<()> {
        let lease = Duration::from_millis(WorkerConfig::default().lease_ms);
        let (incarnation, queues) = (self.incarnation, vec![self.rig.name.clone()]);
        let worker_now = Clock::system().now();
        let beat = Beat { incarnation, label: "bench:probe".into(), queues, running: 0, lease, worker_now };
        self.rig.store.heartbeat(beat).await?;
        Ok(())
    }

    /// So many claims of `n`; each is handed back unmeasured, so that as many wait at the next.
    pub(super) async fn claims(&self, n: u32, calls: usize) -> anyhow::Result<Latencies> {
        let mut waits = Latencies::new()?;
        let begun = Instant::now();
        let mut beaten = Instant::now();
        for _ in 0..calls {
            let called = Instant::now();
            let claimed = self.rig.store.claim(&self.rig.name, self.incarnation, n, Duration::ZERO).await?;
            waits.record(called.elapsed());
            ensure!(!claimed.is_empty(), "a claim found nothing in a backlog");
            let back = claimed.into_iter().map(|job| Settlement { lease: job.lease, verdict: Verdict::Release });
            self.rig.store.settle(back.collect()).await?;
            if beaten.elapsed() > Duration::from_millis(WorkerConfig::default().beat_ms) {
                self.beat().await?;
                beaten = Instant::now();
            }
            if begun.elapsed() > LONGEST {
                break;
            }
        }
        Ok(waits)
    }

    /// A page of waiting jobs, `deep` pages in.
    async fn lists(&self, tenant: Option<&str>, deep: usize, calls: usize) -> anyhow::Result<Latencies> {
        let (queue, tenant) = (self.rig.name.clone(), tenant.map(Into::into));
        let mut query =
            ListQuery { queue: Some(queue), state: Some(JobState::Ready), tenant, limit: PAGE, ..ListQuery::default() };
        for _ in 0..deep {
            if let Some(next) = self.rig.store.list(query.clone()).await?.next {
                query.cursor = Some(next);
            }
        }
        timed(calls, |_| async { self.rig.store.list(query.clone()).await.map(drop) }).await
    }

    /// Why jobs from all over the backlog don't run yet; with a live worker, so that the answer is a place in the queue.
    async fn explains(&self, ids: &[JobId], calls: usize) -> anyhow::Result<Latencies> {
        self.beat().await?;
        let explain = |n: usize| {
            // 7,919 is prime: the calls jump about.
            let job = ids[n * 7_919 % ids.len()];
            async move { self.rig.store.explain(job).await.map(drop) }
        };
        timed(calls, explain).await
    }

    /// Signs it off.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.rig.store.sign_off(self.incarnation).await?;
        Ok(())
    }
}
