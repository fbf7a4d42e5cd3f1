//! `apalis-findings`: the four reasons for a store of our own (`docs/decisions.md`), as checks that can be run.
//!
//! Each finding says whether it still holds for the version that the bench is built with. One that no longer holds is
//! printed as that, and fails the run: the reason must then be thought about again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use apalis_core::backend::TaskSink as _;
use apalis_core::error::BoxDynError;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::data::Data;
use apalis_core::worker::builder::WorkerBuilder;
use clap::Args;
use redis::AsyncCommands as _;
use tokio::time::timeout;

use crate::cli::Common;
use crate::measurement::Measurement;
use crate::payload::{Noop, Stage};
use crate::peer::apalis::{NAME, fill, seen, short, storage};
use crate::place::Place;

/// So long a worker is given to do what it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// Checks the four findings on apalis-redis for which Tidemill has a store of its own
#[derive(Debug, Args)]
pub struct Findings {
    #[command(flatten)]
    common: Common,
}

impl Findings {
    /// Runs all four.
    ///
    /// # Errors
    /// When one could not be checked, or does not hold.
    pub async fn run(self) -> anyhow::Result<()> {
        ensure!(self.common.is_redis(), "the findings are about Redis; leave --store out or name a Redis");
        let many = self.common.jobs(20_000);
        let mut gone = Vec::new();
        for (name, jobs) in [("fetch", many), ("attempts", 1), ("idempotency", 2), ("error", 1)] {
            let place = self.common.place().await?;
            let (holds, note) = match name {
                "fetch" => many_waiting_end_each_worker(&place, many).await?,
                "attempts" => max_attempts_is_not_heeded(&place).await?,
                "idempotency" => a_key_is_forgotten_at_once(&place).await?,
                _ => an_error_ends_the_worker(&place).await?,
            };
            let mut line = Measurement::new("apalis-findings", NAME, &place.facts().await?, jobs);
            line.operation = Some(name.to_owned());
            line.versions += ", apalis-redis 1.0.0";
            (line.holds, line.note) = (Some(holds), Some(note));
            self.common.out().print(&line)?;
            place.clear().await?;
            if !holds {
                gone.push(name);
            }
        }
        ensure!(gone.is_empty(), "no longer true of apalis-redis: {}; think again", gone.join(", "));
        Ok(())
    }
}

/// Every push goes through the scheduled set, and the first fetch unpacks all due ids at once.
async fn many_waiting_end_each_worker(place: &Place, jobs: u64) -> anyhow::Result<(bool, String)> {
    fill(&mut storage(place).await?, jobs).await?;
    let stage = Stage::counting(jobs);
    let mut words = Vec::new();
    for name in ["first", "second"] {
        let worker = WorkerBuilder::new(name).backend(storage(place).await?).data(Arc::clone(&stage)).build(seen);
        match timeout(PATIENCE, worker.run()).await {
            Ok(Err(error)) => words.push(format!("{error:?}")),
            Ok(Ok(())) => words.push("ended without an error".to_owned()),
            Err(_) => words.push("ran on".to_owned()),
        }
    }
    let ran = stage.census.distinct();
    let holds = ran == 0 && words.iter().all(|word| word.contains("too many results to unpack"));
    Ok((holds, format!("{jobs} waiting, two workers one after the other, {ran} jobs ran: {}", unpack(&words))))
}

fn unpack(words: &[String]) -> String {
    let told = |word: &String| {
        if word.contains("too many results to unpack") { "too many results to unpack".to_owned() } else { short(word) }
    };
    words.iter().map(told).collect::<Vec<_>>().join("; ")
}

/// `handle_results.lua` compares with 25, whatever the job says.
async fn max_attempts_is_not_heeded(place: &Place) -> anyhow::Result<(bool, String)> {
    async fn fail(_: Noop, runs: Data<Arc<AtomicU64>>) -> Result<(), BoxDynError> {
        runs.fetch_add(1, Ordering::SeqCst);
        Err("it always fails".into())
    }
    let mut storage = storage(place).await?;
    let task = TaskBuilder::new(Noop::new(0)).max_attempts(2).build();
    storage.push_task(task).await.map_err(|e| anyhow!("apalis-redis push: {e:?}"))?;
    let runs = Arc::new(AtomicU64::new(0));
    let worker = WorkerBuilder::new("bench").backend(storage).data(Arc::clone(&runs)).build(fail);
    let begun = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(50));
    let enough = async {
        while runs.load(Ordering::SeqCst) <= 2 && begun.elapsed() < PATIENCE {
            look.tick().await;
        }
    };
    tokio::select! {
        ended = worker.run() => return Err(anyhow!("the worker ended: {ended:?}")),
        () = enough => {}
    }
    let (ran, seconds) = (runs.load(Ordering::SeqCst), begun.elapsed().as_secs());
    Ok((ran > 2, format!("a failing job with max_attempts(2) ran {ran} times in {seconds} s")))
}

/// "For ever" is written as a time to live of 0 seconds, which Redis takes at its word.
async fn a_key_is_forgotten_at_once(place: &Place) -> anyhow::Result<(bool, String)> {
    let mut storage = storage(place).await?;
    for i in 0..2 {
        let task = TaskBuilder::new(Noop::new(i)).idempotency_key("one").build();
        storage.push_task(task).await.map_err(|e| anyhow!("apalis-redis push: {e:?}"))?;
    }
    let kept: u64 = place.redis().await?.hlen(storage.get_config().job_data_hash()).await?;
    Ok((kept == 2, format!("one idempotency key pushed twice is {kept} job(s)")))
}

/// A connection that is cut once is enough.
async fn an_error_ends_the_worker(place: &Place) -> anyhow::Result<(bool, String)> {
    let mut storage = storage(place).await?;
    let stage = Stage::counting(2);
    fill(&mut storage, 1).await?;
    let worker = WorkerBuilder::new("bench").backend(storage).data(Arc::clone(&stage)).build(seen);
    let cut = async {
        stage.census.reaches(1).await?;
        let mut redis = place.redis().await?;
        let _: u64 =
            redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).query_async(&mut redis).await?;
        // The worker is still there if it runs what is pushed now.
        fill(&mut self::storage(place).await?, 2).await?;
        timeout(PATIENCE, stage.census.reaches(2)).await??;
        anyhow::Ok(())
    };
    tokio::select! {
        ended = worker.run() => match ended {
            Err(error) => Ok((true, format!("its connection was cut once, and the worker ended: {}", short(&format!("{error:?}"))))),
            Ok(()) => Ok((false, "the worker ended without an error".to_owned())),
        },
        went_on = cut => {
            went_on?;
            Ok((false, "its connection was cut once, and the worker went on".to_owned()))
        }
    }
}
