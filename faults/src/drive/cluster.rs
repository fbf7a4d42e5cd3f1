//! The processes of a run: started, killed, stopped, let go on, started again; each end goes into the driver's log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tidemill::clock::{Clock, Entropy};
use tidemill::store::{ListQuery, ScheduleChange, Store, StoreError, StoreRules};

use super::Setting;
use crate::act::SCHEDULE;
use crate::event::{Log, What};
use crate::history;
use crate::place::Place;
use crate::scenario::Shape;
use crate::steps::Plan;
use crate::worker::opened;

const LOOK: Duration = Duration::from_millis(10);
/// The producer's name.
pub(super) const PRODUCER: &str = "p0";

/// All processes of a run but the driver.
#[derive(Debug)]
pub(super) struct Cluster {
    program: PathBuf,
    dir: PathBuf,
    url: String,
    fsync: bool,
    pub(super) shape: Shape,
    seed: u64,
    entropy: Entropy,
    pub(super) log: Arc<Log>,
    nodes: BTreeMap<String, Node>,
    /// Steps that nobody has died at yet, of workers and of the producer.
    pub(super) steps: VecDeque<&'static str>,
    pub(super) producer_steps: VecDeque<&'static str>,
    store: Option<Arc<dyn Store>>,
}

#[derive(Debug)]
struct Node {
    /// The next life's number.
    life: u32,
    child: Option<Child>,
    wanted: bool,
    extra: Vec<String>,
    plan: Option<Plan>,
    born: Instant,
}

impl Cluster {
    pub(super) fn new(setting: &Setting, place: &Place, shape: Shape, log: Arc<Log>, entropy: Entropy) -> Self {
        Self {
            program: setting.program.clone(),
            dir: setting.dir.clone(),
            url: place.url().to_owned(),
            fsync: place.fsync(),
            shape,
            seed: setting.seed,
            entropy,
            log,
            nodes: BTreeMap::new(),
            steps: VecDeque::new(),
            producer_steps: VecDeque::new(),
            store: None,
        }
    }

    /// The producer and all workers; `extra` goes to the workers.
    pub(super) fn start_all(&mut self, extra: &[&str]) -> anyhow::Result<()> {
        self.start_node(PRODUCER, &[])?;
        self.start_workers(extra)
    }

    pub(super) fn start_workers(&mut self, extra: &[&str]) -> anyhow::Result<()> {
        (0..self.shape.workers).try_for_each(|n| self.start_node(&format!("w{n}"), extra))
    }

    /// A new life of a node, which is kept alive from now on.
    pub(super) fn start_node(&mut self, name: &str, extra: &[&str]) -> anyhow::Result<()> {
        let extra: Vec<String> = extra.iter().map(|arg| (*arg).to_owned()).collect();
        let fresh = Node { life: 0, child: None, wanted: true, extra: vec![], plan: None, born: Instant::now() };
        let node = self.nodes.entry(name.to_owned()).or_insert(fresh);
        (node.extra, node.wanted) = (extra, true);
        self.launch(name)
    }

    fn launch(&mut self, name: &str) -> anyhow::Result<()> {
        let producer = name == PRODUCER;
        let steps = if producer { &mut self.producer_steps } else { &mut self.steps };
        let plan = steps.pop_front().map(|step| {
            // Some steps are passed many times a second, some once a life.
            let times = match step.split('.').next() {
                Some("handler" | "claim" | "settle") => 20,
                Some("enqueue") => 10,
                Some("beat" | "promote") => 4,
                _ => 1,
            };
            let nth = 1 + u32::try_from(self.entropy.below(times)).unwrap_or(0);
            Plan { step, nth, micros: self.entropy.below(4_000) }
        });
        let node = self.nodes.get_mut(name).with_context(|| format!("{name} is no node"))?;
        let life = node.life;
        node.life += 1;
        let seed = self.seed ^ (u64::from(life) << 32) ^ name.bytes().fold(0, |sum, b| sum * 31 + u64::from(b));
        let mut command = Command::new(&self.program);
        command.arg(if producer { "produce" } else { "worker" });
        command.arg("--dir").arg(&self.dir).args(["--node", name, "--store", &self.url]);
        command.args(["--life", &life.to_string(), "--seed", &seed.to_string()]);
        if self.fsync {
            command.arg("--fsync");
        }
        if let Some(plan) = &plan {
            command.args(["--kill", &plan.to_string()]);
        }
        let shape = &self.shape;
        let more: Vec<(&str, String)> = if producer {
            vec![
                ("--series", self.seed.to_string()),
                ("--per-second", shape.per_second.to_string()),
                ("--count", shape.count.to_string()),
                ("--batch", shape.batch.to_string()),
                ("--timeout-ms", shape.enqueue_timeout_ms.to_string()),
                ("--mix", serde_json::to_string(&shape.mix)?),
            ]
        } else {
            vec![
                ("--places", shape.places.to_string()),
                ("--lease-ms", shape.lease_ms.to_string()),
                ("--beat-ms", shape.beat_ms.to_string()),
                ("--crash-limit", shape.crash_limit.to_string()),
            ]
        };
        command.args(more.iter().flat_map(|(name, value)| [*name, value.as_str()]));
        if shape.schedule && !producer {
            command.arg("--schedule");
        }
        command.args(&node.extra);
        let errors = File::create(self.dir.join(format!("{name}.{life}.err")))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        node.child = Some(command.spawn().with_context(|| format!("start {}", self.program.display()))?);
        (node.plan, node.born) = (plan, Instant::now());
        Ok(())
    }

    /// Looks after the processes for `time`: who has ended and is wanted is started again.
    pub(super) async fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.tend()?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Notes who has ended, and starts again who is wanted.
    pub(super) fn tend(&mut self) -> anyhow::Result<()> {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            let Some(status) = self.nodes.get_mut(&name).and_then(|n| n.child.as_mut()).map(Child::try_wait) else {
                continue;
            };
            let Some(status) = status? else { continue };
            self.ended(&name, &cause(status));
            let finished = name == PRODUCER && status.success();
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            node.wanted &= !finished;
            if node.wanted {
                self.launch(&name)?;
            }
        }
        Ok(())
    }

    fn ended(&mut self, name: &str, cause: &str) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.child = None;
        let life = node.life - 1;
        // A step that its life has not come to is given to another.
        let path = self.dir.join(format!("{name}.{life}.log"));
        let at_step = history::read_last(&path).is_some_and(|last| matches!(last.what, What::Kill { .. }));
        if let (Some(plan), false) = (node.plan.take(), at_step) {
            if name == PRODUCER { &mut self.producer_steps } else { &mut self.steps }.push_back(plan.step);
        }
        self.log.write(What::Ended { node: name.into(), life, cause: cause.into() });
    }

    /// `kill -9`, whatever it does now.
    pub(super) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(child) = self.nodes.get_mut(name).and_then(|node| node.child.as_mut()) else { return Ok(()) };
        child.kill()?;
        let status = child.wait()?;
        // It may have ended by itself a moment before.
        let cause = if status.signal() == Some(9) { "any".to_owned() } else { cause(status) };
        self.ended(name, &cause);
        Ok(())
    }

    /// No new life for it.
    pub(super) fn unwanted(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.wanted = false;
        }
    }

    pub(super) fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.signal(name, Signal::STOP)?;
        let life = self.life(name);
        self.log.write(What::Stopped { node: name.into(), life });
        Ok(())
    }

    pub(super) fn go_on(&mut self, name: &str) -> anyhow::Result<()> {
        let life = self.life(name);
        self.log.write(What::Continued { node: name.into(), life });
        self.signal(name, Signal::CONT)
    }

    /// SIGTERM, and its exit within `limit`.
    pub(super) async fn terminate(&mut self, name: &str, limit: Duration) -> anyhow::Result<()> {
        self.unwanted(name);
        self.signal(name, Signal::TERM)?;
        let until = Instant::now() + limit;
        while self.is_alive(name) {
            if Instant::now() > until {
                // A finding, not an error of the harness.
                self.kill(name)?;
                self.log.write(What::Overstayed { node: name.into() });
                return Ok(());
            }
            self.tend()?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    pub(super) fn is_alive(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|node| node.child.is_some())
    }

    /// For how long its present life has lasted.
    pub(super) fn age(&self, name: &str) -> Duration {
        self.nodes.get(name).filter(|node| node.child.is_some()).map_or(Duration::ZERO, |node| node.born.elapsed())
    }

    pub(super) fn has_plan(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|node| node.plan.is_some())
    }

    pub(super) fn workers(&self) -> Vec<String> {
        self.nodes.keys().filter(|name| *name != PRODUCER).cloned().collect()
    }

    fn life(&self, name: &str) -> u32 {
        self.nodes.get(name).map_or(0, |node| node.life.saturating_sub(1))
    }

    fn signal(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let Some(child) = self.nodes.get(name).and_then(|node| node.child.as_ref()) else { return Ok(()) };
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("a process without an id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Runs the binary in another part, beside the nodes.
    pub(super) fn tool(&self, args: &[&str]) -> anyhow::Result<Child> {
        Ok(Command::new(&self.program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?)
    }

    /// The driver's own way to the store; `None` while it can't be opened.
    pub(super) async fn store(&mut self) -> Option<Arc<dyn Store>> {
        if self.store.is_none() {
            self.store = opened(&self.url, StoreRules::default(), Clock::system()).await.ok();
        }
        self.store.clone()
    }

    /// No more faults: who still carries a plan dies now, the producer makes sure of what it has asked for.
    pub(super) async fn quiet(&mut self) -> anyhow::Result<()> {
        self.steps.clear();
        self.producer_steps.clear();
        let names: BTreeSet<String> = self.nodes.keys().cloned().collect();
        for name in names {
            if self.has_plan(&name) {
                self.kill(&name)?;
                self.steps.clear();
                self.producer_steps.clear();
            }
        }
        self.tend_lost()?;
        self.log.write(What::Quiet);
        let until = Instant::now() + Duration::from_secs(120);
        while self.is_alive(PRODUCER) {
            if self.shape.count == 0 {
                // Again and again: a life that was about to begin may have missed it.
                self.signal(PRODUCER, Signal::TERM)?;
            }
            ensure!(Instant::now() < until, "the producer has not made sure of its jobs within 120 s");
            self.pass(Duration::from_millis(100)).await?;
        }
        Ok(())
    }

    /// Starts again who is wanted and was killed by the driver's own hand.
    pub(super) fn tend_lost(&mut self) -> anyhow::Result<()> {
        let lost = |(name, node): (&String, &Node)| (node.wanted && node.child.is_none()).then(|| name.clone());
        let lost: Vec<String> = self.nodes.iter().filter_map(lost).collect();
        lost.iter().try_for_each(|name| self.launch(name))
    }

    /// Waits until nothing is left to do, or the patience is over: then the log says so.
    pub(super) async fn drained(&mut self, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        let (mut left, mut paused) = (u64::MAX, !self.shape.schedule);
        while left > 0 && Instant::now() < until {
            self.pass(Duration::from_millis(50)).await?;
            let Some(store) = self.store().await else { continue };
            if !paused {
                // Not while the store is away, nor before a worker has lived long enough to declare it.
                paused = store.change_schedule(SCHEDULE, ScheduleChange::Pause, "driver").await.is_ok();
                continue;
            }
            if let Ok(counts) = store.counts().await {
                left = counts.queues.iter().map(|queue| queue.scheduled + queue.ready + queue.running).sum();
                // Where keys were deleted the counters can be short of jobs that repair has yet to find.
                if left == 0 {
                    left = unfinished(&*store).await.unwrap_or(u64::MAX);
                }
            }
        }
        self.log.write(What::Drained { complete: left == 0, left });
        Ok(())
    }

    /// SIGTERM to all workers; each must exit 0.
    pub(super) async fn stop_workers(&mut self) -> anyhow::Result<()> {
        for name in self.workers() {
            self.terminate(&name, Duration::from_secs(15)).await?;
        }
        self.store = None;
        Ok(())
    }

    /// Waits until `ready` says so of the store's counters.
    pub(super) async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        ready: impl Fn(&tidemill::store::Counts) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        loop {
            if let Some(store) = self.store().await
                && store.counts().await.is_ok_and(|counts| ready(&counts))
            {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{what}: not within {limit:?}");
            }
            self.pass(Duration::from_millis(50)).await?;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Those of a run that was given up; each by its own id.
        for child in self.nodes.values_mut().filter_map(|node| node.child.as_mut()) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The end of a process in words: `exit 0`, `abort`, `any` (SIGKILL; the log says at which step), `signal 11`.
fn cause(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(9)) => "any".into(),
        (None, Some(6)) => "abort".into(),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    }
}

/// Jobs that a full list shows and that have not ended.
async fn unfinished(store: &dyn Store) -> Result<u64, StoreError> {
    let mut query = ListQuery { limit: 200, ..ListQuery::default() };
    let mut left = 0;
    loop {
        let page = store.list(query.clone()).await?;
        left += page.jobs.iter().map(|job| u64::from(!job.state.is_finished())).sum::<u64>();
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(left),
        }
    }
}
