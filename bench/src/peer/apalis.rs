//! The baseline on Redis: apalis-redis 1.0.0, set up as its README does.
//!
//! *Tuned* is the same with batches of 200 instead of 10 and a task for each job, as its documentation offers. Done means
//! here too: recorded as done in Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use apalis_core::backend::TaskSink as _;
use apalis_core::error::BoxDynError;
use apalis_core::task::data::Data;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_core::worker::ext::parallelize::ParallelizeExt as _;
use apalis_redis::{ConnectionManager, RedisStorage, queries};
use redis::AsyncCommands as _;

use crate::latency::Latencies;
use crate::machine;
use crate::measurement::Measurement;
use crate::payload::{Noop, Stage};
use crate::place::{Facts, Place};
use crate::rig::CONCURRENCY;
use crate::scenario::rate;

/// Its name in the results.
pub const NAME: &str = "apalis-redis";
/// A fetch beyond this many waiting jobs fails: see `apalis-findings`.
const FETCH_MAX: u64 = 7_000;
/// Jobs in one push: its connection gives a call half a second, which a thousand can exceed on a busy machine.
const PUSH: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// Its storage.
pub type Storage = RedisStorage<Noop, ConnectionManager>;

/// Connects as its README does.
///
/// # Errors
/// When Redis does not answer.
pub async fn storage(place: &Place) -> anyhow::Result<Storage> {
    let connection = apalis_redis::connect(place.url()).await.context("connect apalis-redis")?;
    Ok(RedisStorage::new(connection))
}

/// Pushes jobs `0..jobs` in batches.
///
/// # Errors
/// When it does not take them.
pub async fn fill(storage: &mut Storage, jobs: u64) -> anyhow::Result<()> {
    for from in (0..jobs).step_by(usize::try_from(PUSH)?) {
        let batch = (from..(from + PUSH).min(jobs)).map(Noop::new).collect();
        storage.push_bulk(batch).await.map_err(|e| anyhow!("apalis-redis push: {e:?}"))?;
    }
    Ok(())
}

/// The handler that does nothing but be seen.
pub async fn seen(job: Noop, stage: Data<Arc<Stage>>) -> Result<(), BoxDynError> {
    stage.enter(job.i);
    Ok(())
}

/// One drain.
///
/// # Errors
/// When its worker ends early or a job is lost.
pub async fn drain(place: &Place, jobs: u64, tuned: bool) -> anyhow::Result<Measurement> {
    let mut storage = storage(place).await?;
    fill(&mut storage, jobs).await?;
    let done_key = storage.get_config().done_jobs_set();
    if tuned {
        let config = storage.get_config().clone().batch_size(CONCURRENCY);
        storage = storage.with_config(config);
    }
    let stage = Stage::counting(jobs);
    machine::reset_peak();
    let start = machine::resident();
    let begun = Instant::now();
    let builder = WorkerBuilder::new("bench").backend(storage);
    let end = all_done(Arc::clone(&stage), place, &done_key, jobs);
    let ran = if tuned {
        #[expect(clippy::disallowed_methods, reason = "the setup that the baseline documents")]
        let parallel = builder.parallelize(tokio::spawn);
        let worker = parallel.data(Arc::clone(&stage)).build(seen);
        run_until(worker.run(), end).await
    } else {
        let worker = builder.data(Arc::clone(&stage)).build(seen);
        run_until(worker.run(), end).await
    };
    ran?;
    let took = begun.elapsed();
    stage.census.verdict()?;
    let name = if tuned { "apalis-redis-tuned" } else { NAME };
    let mut line = Measurement::new("drain", name, &place.facts().await?, jobs).memory(start);
    line.per_second = Some(rate(jobs, took));
    line.versions += ", apalis-redis 1.0.0";
    line.concurrency = tuned.then_some(u64::try_from(CONCURRENCY)?);
    line.lost = Some(0);
    Ok(line)
}

/// Runs a worker until the run is over; a worker that ends before is an error.
async fn run_until<E: std::fmt::Debug>(
    worker: impl Future<Output = Result<(), E>>,
    end: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::select! {
        ended = worker => Err(anyhow!("the apalis-redis worker ended before its queue was empty: {ended:?}")),
        done = end => done,
    }
}

async fn all_done(stage: Arc<Stage>, place: &Place, done_key: &str, jobs: u64) -> anyhow::Result<()> {
    let mut redis = place.redis().await?;
    stage.census.reaches(jobs).await?;
    let mut look = tokio::time::interval(Duration::from_millis(1));
    let patience = Instant::now() + PATIENCE;
    loop {
        let done: u64 = redis.scard(done_key).await?;
        if done >= jobs {
            return Ok(());
        }
        ensure!(Instant::now() < patience, "{done} of {jobs} jobs are recorded as done");
        look.tick().await;
    }
}

/// What a backlog weighs there, and what a fetch of one batch costs, where it works.
///
/// # Errors
/// When Redis does not answer.
pub async fn backlog(place: &Place, jobs: u64, calls: usize) -> anyhow::Result<Vec<Measurement>> {
    let mut storage = storage(place).await?;
    let empty = place.bytes().await?;
    let begun = Instant::now();
    fill(&mut storage, jobs).await?;
    let filled = begun.elapsed();
    let bytes = place.bytes().await?.saturating_sub(empty);
    let facts = place.facts().await?;
    let mut fill = line(&facts, "fill", jobs);
    fill.per_second = Some(rate(jobs, filled));
    fill.batch = Some(PUSH);
    #[expect(clippy::cast_precision_loss, reason = "a weight is shown to the byte")]
    let weight = bytes as f64 / jobs as f64;
    fill.bytes_per_job = Some(weight);

    let config = storage.get_config().clone();
    let worker = WorkerContext::new("bench");
    let mut redis = place.redis().await?;
    let (now_seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut redis).await?;
    redis.zadd::<_, _, _, ()>(config.workers_set(), worker.name(), now_seconds).await?;
    let mut waits = Latencies::new()?;
    let mut claim = line(&facts, "claim", jobs);
    for _ in 0..calls.min(usize::try_from(jobs)? / config.batch_size) {
        let called = Instant::now();
        let fetched = queries::fetch_next(storage.get_connection(), &worker, &config).await;
        waits.record(called.elapsed());
        if let Err(error) = fetched {
            claim.note = Some(short(&error.to_string()));
            ensure!(jobs > FETCH_MAX, "the baseline fails where it should not: {error}");
            return Ok(vec![fill, claim]);
        }
    }
    claim = claim.latencies(&waits);
    claim.batch = Some(u64::try_from(config.batch_size)?);
    Ok(vec![fill, claim])
}

fn line(facts: &Facts, operation: &str, jobs: u64) -> Measurement {
    let mut line = Measurement::new("backlog", NAME, facts, jobs);
    line.operation = Some(operation.to_owned());
    line.waiting = Some(jobs);
    line.versions += ", apalis-redis 1.0.0";
    line
}

/// The beginning of a long message.
pub fn short(message: &str) -> String {
    message.chars().take(160).collect()
}
