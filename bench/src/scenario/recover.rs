//! `recover`: a real worker process that runs 200 jobs is killed (SIGKILL) while a second one serves the same queue; each
//! job's time runs from the kill to the first line of its handler in the other process.
//!
//! The worker processes are this binary again (`hold`); what their handlers see comes as lines on their standard output.

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tidemill::job::{Done, JobError, JobKind};
use tidemill::worker::{Context, Handler};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::OURS;
use crate::cli::Common;
use crate::latency::Latencies;
use crate::measurement::Measurement;
use crate::payload::{Noop, QUEUE};
use crate::rig::{CONCURRENCY, Rig};

/// A step that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills a worker process that runs 200 jobs, and times until each runs elsewhere
#[derive(Debug, Args)]
pub struct Recover {
    #[command(flatten)]
    common: Common,
    /// Kills
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

impl Recover {
    /// Runs it.
    ///
    /// # Errors
    /// When a job does not come back.
    pub async fn run(self) -> anyhow::Result<()> {
        let jobs = self.common.jobs(CONCURRENCY as u64);
        ensure!(
            jobs <= CONCURRENCY as u64,
            "one worker process runs {CONCURRENCY} jobs at once; ask for at most as many"
        );
        let mut waits = Latencies::new()?;
        let mut facts = None;
        for _ in 0..self.rounds.max(1) {
            let place = self.common.place().await?;
            waits.merge(&kill_once(place.url(), jobs).await?)?;
            facts = Some(place.facts().await?);
            place.clear().await?;
        }
        let facts = facts.context("no round was run")?;
        let mut line =
            Measurement::new("recover", OURS, &facts, jobs * u64::from(self.rounds.max(1))).latencies(&waits);
        line.concurrency = Some(CONCURRENCY as u64);
        line.note = Some(format!("{} kills", self.rounds.max(1)));
        line.lost = Some(0);
        self.common.out().print(&line)
    }
}

async fn kill_once(url: &str, jobs: u64) -> anyhow::Result<Latencies> {
    let rig = Rig::open(url).await?;
    rig.fill_now(0, jobs).await?;
    let mut victim = Other::start(url)?;
    victim.starts(jobs).await.context("in the process that is to be killed")?;
    let mut heir = Other::start(url)?;
    heir.line().await?; // `ready`
    let killed = Instant::now();
    victim.child.kill().await?;
    let mut waits = Latencies::new()?;
    let mut seen = HashSet::new();
    while seen.len() < usize::try_from(jobs)? {
        let i = heir.start_of(&mut seen).await.with_context(|| format!("{} of {jobs} came back", seen.len()))?;
        ensure!(i < jobs, "job {i} was never enqueued");
        waits.record(killed.elapsed());
    }
    heir.child.kill().await?;
    rig.end().await;
    Ok(waits)
}

/// Another worker process.
struct Other {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(url: &str) -> anyhow::Result<Self> {
        let me = std::env::current_exe().context("find this program's own file")?;
        let mut child = Command::new(me)
            .args(["hold", "--store", url])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a worker process")?;
        let output = child.stdout.take().context("a worker process without output")?;
        Ok(Self { child, lines: BufReader::new(output).lines() })
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = timeout(PATIENCE, self.lines.next_line()).await.context("the worker process says nothing")??;
        line.context("the worker process ended")
    }

    /// The next job that begins there.
    async fn start_of(&mut self, seen: &mut HashSet<u64>) -> anyhow::Result<u64> {
        loop {
            let line = self.line().await?;
            let Some(i) = line.strip_prefix("start ") else {
                ensure!(line == "ready", "the worker process says `{line}`");
                continue;
            };
            let i = i.parse()?;
            if !seen.insert(i) {
                bail!("job {i} was begun twice there");
            }
            return Ok(i);
        }
    }

    /// Waits until `jobs` jobs run there.
    async fn starts(&mut self, jobs: u64) -> anyhow::Result<()> {
        let mut seen = HashSet::new();
        while seen.len() < usize::try_from(jobs)? {
            self.start_of(&mut seen).await?;
        }
        Ok(())
    }
}

/// A worker process whose jobs never end; for `recover`
#[derive(Debug, Args)]
pub struct Hold {
    /// The store's URL
    #[arg(long)]
    store: String,
}

impl Hold {
    /// Runs until it is killed, or its parent is gone.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        let rig = Rig::open(&self.store).await?;
        let worker = rig.worker_of::<Held>(Arc::new(()), CONCURRENCY).await?;
        say("ready")?;
        // Whoever started it ends it with a kill; without it there is nobody to work for.
        let parent = std::os::unix::process::parent_id();
        while std::os::unix::process::parent_id() == parent {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        drop(worker);
        Ok(())
    }
}

fn say(line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The bench's payload, run by a handler that never ends.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Held(Noop);

impl JobKind for Held {
    const KIND: &'static str = <Noop as JobKind>::KIND;
    const QUEUE: &'static str = QUEUE;
    const TIMEOUT: Duration = <Noop as JobKind>::TIMEOUT;
}

impl Handler for Held {
    type State = ();

    async fn run(self, ctx: Context, (): &()) -> Result<Done, JobError> {
        say(&format!("start {}", self.0.i))?;
        ctx.cancelled().cancelled().await;
        Ok(Done::default())
    }
}
