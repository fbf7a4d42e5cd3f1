//! What each scenario does to its processes.

use std::time::{Duration, Instant};

use tidemill::job::JobState;
use tidemill::store::{Cancel, ListQuery};

use super::cluster::PRODUCER;
use super::{Stage, servers, shocks};
use crate::event::What;
use crate::scenario::Scenario;
use crate::steps;

/// The steps that a producer can die at.
const PRODUCER_STEPS: [&str; 2] = [steps::ENQUEUE_DURING, steps::ENQUEUE_AFTER];

impl Stage {
    /// Starts what the scenario needs and does to it what it says.
    pub(super) async fn apply(&mut self, scenario: Scenario) -> anyhow::Result<()> {
        match scenario {
            Scenario::Steps => self.steps().await,
            Scenario::Term => self.term().await,
            Scenario::Zombie => self.zombie().await,
            Scenario::Handlers => self.handlers().await,
            Scenario::Due => self.due().await,
            Scenario::Expiry => self.expiry().await,
            Scenario::Clock => self.clock().await,
            Scenario::Busy => shocks::busy(self).await,
            Scenario::Full if self.place.file().is_ok() => shocks::full(self).await,
            Scenario::Full => servers::full(self).await,
            Scenario::Crash | Scenario::CrashFsync => servers::crash(self).await,
            Scenario::Failover => servers::failover(self).await,
            Scenario::Net => servers::net(self).await,
            Scenario::Keys => servers::keys(self).await,
            Scenario::Pop => self.pop().await,
            Scenario::TailCut => self.tail_cut().await,
        }
    }

    /// So many in the short form, three times as many in the long one.
    pub(super) fn rounds(&self, short: usize) -> usize {
        if self.long { short * 3 } else { short }
    }

    pub(super) async fn seconds(&mut self, seconds: u64) -> anyhow::Result<()> {
        self.cluster.pass(Duration::from_secs(seconds)).await
    }

    /// Every life of every process has a step to die at; one that does not come to it dies where it is.
    async fn steps(&mut self) -> anyhow::Result<()> {
        let mut all: Vec<&'static str> = Vec::new();
        for _ in 0..if self.long { 6 } else { 2 } {
            all.extend(steps::ALL.iter().filter(|step| !PRODUCER_STEPS.contains(step)));
            self.cluster.producer_steps.extend(PRODUCER_STEPS);
        }
        self.shuffle(&mut all);
        self.cluster.steps.extend(all);
        self.cluster.start_all(&[])?;
        let until = Instant::now() + Duration::from_secs(if self.long { 100 } else { 40 });
        loop {
            self.cluster.pass(Duration::from_millis(300)).await?;
            self.cancel_some().await;
            let mut names = self.cluster.workers();
            names.push(PRODUCER.to_owned());
            let open = names.iter().any(|name| self.cluster.has_plan(name))
                || !self.cluster.steps.is_empty()
                || !self.cluster.producer_steps.is_empty();
            if !open || Instant::now() > until {
                return Ok(());
            }
            for name in names {
                // It waits for something that does not come in this life.
                if self.cluster.has_plan(&name) && self.cluster.age(&name) > Duration::from_secs(5) {
                    self.cluster.kill(&name)?;
                }
            }
            // What is left waits for somebody's death.
            let free: Vec<String> =
                self.cluster.workers().into_iter().filter(|name| !self.cluster.has_plan(name)).collect();
            let chosen = usize::try_from(self.entropy.below(u64::try_from(free.len())?))?;
            if let Some(name) = free.get(chosen)
                && self.cluster.age(name) > Duration::from_millis(1_500)
            {
                self.cluster.kill(name)?;
            }
            self.cluster.tend_lost()?;
        }
    }

    fn shuffle(&self, steps: &mut [&'static str]) {
        for n in (1..steps.len()).rev() {
            let other = usize::try_from(self.entropy.below(u64::try_from(n + 1).unwrap_or(1))).unwrap_or(0);
            steps.swap(n, other);
        }
    }

    /// Cancels a job or two, in whatever state they are.
    async fn cancel_some(&mut self) {
        let Some(store) = self.cluster.store().await else { return };
        let states = [JobState::Ready, JobState::Scheduled, JobState::Running];
        let state = states[usize::try_from(self.entropy.below(3)).unwrap_or(0)];
        let query =
            ListQuery { state: Some(state), queue: crate::act::QUEUE.parse().ok(), limit: 2, ..ListQuery::default() };
        let listed = tokio::time::timeout(Duration::from_millis(300), store.list(query)).await;
        let Ok(Ok(page)) = listed else { return };
        for job in page.jobs {
            self.cluster.log.write(What::Cancelling { job: job.id });
            // Not for long: the driver has processes to look after.
            let cancel = store.cancel(job.id, "the driver wants it so");
            match tokio::time::timeout(Duration::from_millis(300), cancel).await {
                Ok(Ok(done)) => {
                    self.cluster.log.write(What::Cancelled { job: job.id, at_once: done == Cancel::Cancelled });
                }
                // It has ended meanwhile, or the store is away: then the checker must take both.
                Ok(Err(error)) => tracing::debug!(%error, "not cancelled"),
                Err(_) => tracing::debug!("no answer to a cancel"),
            }
        }
    }

    async fn term(&mut self) -> anyhow::Result<()> {
        self.cluster.start_all(&["--grace-ms", "500"])?;
        for n in 0..self.rounds(4) {
            self.cluster.pass(Duration::from_millis(1_500 + self.entropy.below(1_500))).await?;
            let name = format!("w{}", n % usize::try_from(self.shape.workers)?);
            self.cluster.terminate(&name, Duration::from_secs(10)).await?;
            self.cluster.log.write(What::Noticed { name: "clean stops".into(), count: 1 });
            self.cluster.start_node(&name, &["--grace-ms", "500"])?;
        }
        self.seconds(1).await
    }

    /// One is stopped for longer than its lease and goes on; another may be killed meanwhile.
    async fn zombie(&mut self) -> anyhow::Result<()> {
        self.cluster.start_all(&[])?;
        self.seconds(2).await?;
        for n in 0..self.rounds(4) {
            let name = format!("w{}", n % usize::try_from(self.shape.workers)?);
            self.cluster.stop(&name)?;
            let asleep = self.shape.lease_ms + 1_200 + self.entropy.below(1_500);
            if self.entropy.below(2) == 0 {
                let half = Duration::from_millis(asleep / 2);
                self.cluster.pass(half).await?;
                self.cluster.kill(&format!("w{}", (n + 1) % usize::try_from(self.shape.workers)?))?;
                self.cluster.tend_lost()?;
                self.cluster.pass(half).await?;
            } else {
                self.cluster.pass(Duration::from_millis(asleep)).await?;
            }
            self.cluster.go_on(&name)?;
            self.cluster.pass(Duration::from_millis(800)).await?;
        }
        Ok(())
    }

    async fn handlers(&mut self) -> anyhow::Result<()> {
        self.cluster.start_all(&[])?;
        self.seconds(if self.long { 40 } else { 12 }).await
    }

    /// All are asked for first; then their instant comes.
    async fn due(&mut self) -> anyhow::Result<()> {
        let ahead = if self.long { 8 } else { 12 };
        let at = tidemill::clock::Clock::system().now().after(Duration::from_secs(ahead));
        self.cluster.shape.mix.due_at_ms = Some(at.as_ms());
        self.cluster.start_all(&[])?;
        self.cluster
            .until("all are scheduled", Duration::from_secs(60), |counts| {
                counts.queues.iter().map(|queue| queue.scheduled + queue.ready + queue.completed).sum::<u64>() >= 20_000
            })
            .await
    }

    /// One worker holds 20,000 jobs and dies; from then on two others do the work.
    async fn expiry(&mut self) -> anyhow::Result<()> {
        self.cluster.start_all(&[])?;
        let all = |counts: &tidemill::store::Counts| counts.queues.iter().map(|queue| queue.running).sum::<u64>();
        self.cluster
            .until("one worker runs 20,000 jobs", Duration::from_secs(120), |counts| all(counts) >= 20_000)
            .await?;
        // How fast so many come back is a question of their number; it is told apart from a single worker's.
        self.cluster.log.write(What::Fault { name: "20,000 leases end".into() });
        self.cluster.unwanted("w0");
        self.cluster.kill("w0")?;
        self.cluster.shape.places = 64;
        self.cluster.start_node("w1", &[])?;
        self.cluster.start_node("w2", &[])
    }

    async fn clock(&mut self) -> anyhow::Result<()> {
        const DAY: i64 = 24 * 3_600_000;
        self.cluster.start_node(PRODUCER, &[])?;
        let (ahead, behind) = (DAY.to_string(), (-DAY).to_string());
        self.cluster.start_node("w0", &["--clock-offset-ms", &ahead, "--clock-after-ms", "3000"])?;
        self.cluster.start_node("w1", &["--clock-offset-ms", &behind, "--clock-after-ms", "5000"])?;
        self.cluster.start_node("w2", &[])?;
        self.cluster.log.write(What::Noticed { name: "wrong clocks".into(), count: 2 });
        self.seconds(9).await?;
        for name in ["w0", "w1"] {
            self.cluster.kill(name)?;
            self.cluster.tend_lost()?;
            self.seconds(3).await?;
        }
        for name in ["w0", "w1"] {
            self.cluster.terminate(name, Duration::from_secs(15)).await?;
            self.cluster.start_node(name, &[])?;
        }
        self.bring_forward().await;
        Ok(())
    }

    /// What a process whose clock is a day ahead has put off is due in a day where its clock is the store's: an operator
    /// brings it forward.
    async fn bring_forward(&mut self) {
        let Some(store) = self.cluster.store().await else { return };
        let query = ListQuery { state: Some(JobState::Scheduled), limit: 200, ..ListQuery::default() };
        let Ok(page) = store.list(query).await else { return };
        let soon = tidemill::clock::Clock::system().now().after(Duration::from_secs(3_600));
        for job in page.jobs.iter().filter(|job| job.run_at > soon) {
            if store.retry(job.id).await.is_ok() {
                self.cluster.log.write(What::Noticed { name: "brought forward".into(), count: 1 });
            }
        }
    }

    /// The producer alone; then the machine fails, and nothing that was not synced is left.
    async fn tail_cut(&mut self) -> anyhow::Result<()> {
        self.cluster.start_node(PRODUCER, &[])?;
        self.seconds(4).await?;
        self.cluster.unwanted(PRODUCER);
        self.cluster.kill(PRODUCER)?;
        match self.place.server() {
            Ok(server) => tokio::task::block_in_place(|| servers::cut_tail(server))?,
            Err(_) => shocks::cut_tail(&self.place)?,
        }
        self.cluster.start_workers(&[])
    }

    /// The old way to take jobs from a queue.
    async fn pop(&mut self) -> anyhow::Result<()> {
        self.cluster.start_all(&["--pop"])?;
        for n in 0..3 {
            self.seconds(2).await?;
            self.cluster.kill(&format!("w{n}"))?;
            self.cluster.tend_lost()?;
        }
        Ok(())
    }
}
