//! `ingress`: signed webhooks over HTTP into the queue, as fast as 32 connections go, and then at 70 % of that.
//!
//! The receiver is a process of its own: ours, as it is shipped, or a peer's, started and asked the same way (see
//! [`serve`]). Every body is another event with a signature of its own, made before the clock runs; de-duplication is on.
//! The first part is a closed loop and gives the rate; the second an open one, whose latencies run from the *intended*
//! moment. Afterwards the receiver counts what its queue holds: a run in which an accepted event is missing is no result.

mod load;
pub mod serve;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::{OURS, rate};
use crate::cli::Common;
use crate::machine;
use crate::measurement::Measurement;
use crate::place::Place;

/// The share of the rate found that the second part offers.
const SHARE: f64 = 0.7;
/// What a receiver may take to start, or to count.
const PATIENCE: Duration = Duration::from_secs(300);

/// Posts signed Stripe events: the highest rate, and latencies at 70 % of it; --jobs are those of the first part
#[derive(Debug, Args)]
pub struct Ingress {
    #[command(flatten)]
    common: Common,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How long the second part takes
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Measures another receiver: its command, which is given the store's URL
    #[arg(long, value_name = "COMMAND", requires = "system")]
    peer: Option<String>,
    /// That receiver's name in the results
    #[arg(long, requires = "peer")]
    system: Option<String>,
}

/// What a receiver found in its queue when it was asked to count.
#[derive(Debug, Serialize, Deserialize)]
pub struct Count {
    /// Different events.
    pub distinct: u64,
    /// Events that came twice, or that nobody sent.
    pub wrong: u64,
    /// Its parts, where the store's version does not say it all.
    #[serde(default)]
    pub versions: String,
}

impl Count {
    fn verdict(&self, sent: u64) -> anyhow::Result<()> {
        let Self { distinct, wrong, .. } = self;
        ensure!(
            *distinct == sent && *wrong == 0,
            "the run does not count: of {sent} accepted events {distinct} are in the queue, and {wrong} that are there twice \
             or were never sent"
        );
        Ok(())
    }
}

impl Ingress {
    /// Runs it.
    ///
    /// # Errors
    /// When an event was refused or is missing afterwards.
    pub async fn run(self) -> anyhow::Result<()> {
        ensure!(self.connections > 0 && self.seconds > 0.0, "connections and a time above zero are needed");
        let place = self.common.place().await?;
        let system = self.system.clone().unwrap_or_else(|| OURS.to_owned());
        let facts = place.facts().await?;
        let receiver = Receiver::start(&self, &place).await?;
        let mut lines = Vec::new();

        let first = self.common.jobs(150_000);
        let begun = receiver.begin()?;
        let run = self.load(&receiver, 0, first, None).await?;
        let found = rate(first, run.took);
        let mut line = Measurement::new("ingress", &system, &facts, first).latencies(&run.waits);
        line.operation = Some("saturate".to_owned());
        line.per_second = Some(found);
        lines.push(receiver.memory(line, begun)?);

        let offered = found * SHARE;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be above zero")]
        let second = ((offered * self.seconds) as u64).max(1);
        let begun = receiver.begin()?;
        let run = self.load(&receiver, first, second, Some(offered)).await?;
        let mut line = Measurement::new("ingress", &system, &facts, second).latencies(&run.waits);
        line.operation = Some("at-70".to_owned());
        line.offered_per_second = Some(offered);
        line.achieved_per_second = Some(rate(second, run.took));
        line.note = run.silences.max().map(|longest| {
            format!("nobody was answered for 5 ms or longer {} times, at most {longest:.1} ms", run.silences.len())
        });
        lines.push(receiver.memory(line, begun)?);

        let sent = first + second;
        let count = receiver.count(sent).await?;
        count.verdict(sent)?;
        for mut line in lines {
            line.lost = Some(0);
            line.concurrency = Some(u64::try_from(self.connections)?);
            if !count.versions.is_empty() {
                line.versions = format!("{}, {}", line.versions, count.versions);
            }
            self.common.out().print(&line)?;
        }
        place.clear().await
    }

    async fn load(&self, receiver: &Receiver, from: u64, n: u64, rate: Option<f64>) -> anyhow::Result<load::Run> {
        let (port, connections) = (receiver.port, self.connections);
        tokio::task::spawn_blocking(move || load::run(port, from, n, connections, rate)).await?
    }
}

/// The receiver's process.
struct Receiver {
    child: Child,
    ask: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Receiver {
    async fn start(scenario: &Ingress, place: &Place) -> anyhow::Result<Self> {
        let mut command = match &scenario.peer {
            Some(peer) => {
                let mut words = peer.split_whitespace();
                let mut command = Command::new(words.next().context("--peer names no command")?);
                command.args(words).arg(place.url());
                command
            }
            None => {
                let mut command = Command::new(std::env::current_exe().context("find this program's own file")?);
                command.args(["ingress-serve", "--store", place.url()]);
                command
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("start the receiver")?;
        let ask = child.stdin.take().context("a receiver without input")?;
        let lines = BufReader::new(child.stdout.take().context("a receiver without output")?).lines();
        let mut receiver = Self { child, ask, lines, port: 0 };
        let said = receiver.line().await?;
        let port = said.strip_prefix("listening ").and_then(|port| port.parse().ok());
        receiver.port = port.with_context(|| format!("the receiver says `{said}` and no port"))?;
        Ok(receiver)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = timeout(PATIENCE, self.lines.next_line()).await.context("the receiver says nothing")??;
        line.context("the receiver ended")
    }

    /// Stops it, and has it count what its queue holds of `sent` events.
    async fn count(mut self, sent: u64) -> anyhow::Result<Count> {
        self.ask.write_all(format!("count {sent}\n").as_bytes()).await?;
        let count = serde_json::from_str(&self.line().await?).context("the receiver's count")?;
        let ended = timeout(PATIENCE, self.child.wait()).await.context("the receiver does not end")??;
        ensure!(ended.success(), "the receiver failed: {ended}");
        Ok(count)
    }

    /// Its memory at the beginning of a part; the peak begins anew.
    fn begin(&self) -> anyhow::Result<machine::Resident> {
        let pid = self.pid()?;
        machine::reset_peak_of(pid);
        Ok(machine::resident_of(pid))
    }

    fn memory(&self, mut line: Measurement, begun: machine::Resident) -> anyhow::Result<Measurement> {
        let now = machine::resident_of(self.pid()?);
        (line.rss_mib, line.rss_start_mib, line.rss_end_mib) =
            (Some(now.peak_mib), Some(begun.now_mib), Some(now.now_mib));
        Ok(line)
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the receiver has ended")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_lost_or_invented_an_event_gives_no_result() {
        let count = |distinct, wrong| Count { distinct, wrong, versions: String::new() };
        assert!(count(5, 0).verdict(5).is_ok());
        for bad in [count(4, 0), count(5, 1), count(6, 0)] {
            let told = bad.verdict(5).unwrap_err().to_string();
            assert!(told.contains("does not count"), "{told}");
        }
    }
}
