//! Where a measured part's time went: processor time of this process and of Redis, and what Redis did, a job.
//!
//! Processor time says more than the clock on a machine that does other things meanwhile. The server's counters are reset
//! when the part begins, so this is for a server of the bench's own or one that nobody else reads.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;

use crate::place::{Place, field};

/// `/proc/self/stat` counts in hundredths of a second.
const TICKS: f64 = 100.0;

/// Processor seconds, in programs and in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cpu {
    user: f64,
    system: f64,
}

/// A part that is being watched.
#[derive(Debug)]
pub struct Profile {
    client: Cpu,
    server: Option<(Cpu, f64)>,
}

impl Profile {
    /// Begins; resets Redis' counters.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn begin(place: &Place) -> anyhow::Result<Self> {
        let mut server = None;
        if place.is_redis() {
            let mut redis = place.redis().await?;
            redis::cmd("CONFIG").arg("RESETSTAT").query_async::<()>(&mut redis).await?;
            let info: String = redis::cmd("INFO").arg("everything").query_async(&mut redis).await?;
            server = Some((server_cpu(&info)?, number(&info, "aof_current_size")));
        }
        Ok(Self { client: own_cpu()?, server })
    }

    /// What it was, a job.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn end(self, place: &Place, jobs: u64) -> anyhow::Result<String> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let a_job = |seconds: f64| seconds * 1e6 / jobs as f64;
        let client = own_cpu()?;
        let mut text = String::new();
        // A string takes everything: writing to it can't fail.
        let mut line = |who: &str, now: Cpu, then: Cpu| {
            let (user, system) = (a_job(now.user - then.user), a_job(now.system - then.system));
            let _ = writeln!(text, "{who:<24} {user:>8.2} µs a job in programs, {system:>6.2} µs in the kernel");
        };
        line("client", client, self.client);
        if let Some((before, aof)) = self.server {
            let info: String = redis::cmd("INFO").arg("everything").query_async(&mut place.redis().await?).await?;
            line("redis", server_cpu(&info)?, before);
            let bytes = |name: &str, before: f64| a_job((number(&info, name) - before) / 1e6);
            let (read, written) = (bytes("total_net_input_bytes", 0.0), bytes("total_net_output_bytes", 0.0));
            // A rewrite in between makes the file shorter.
            let (aof, rewrites) = (bytes("aof_current_size", aof), number(&info, "aof_rewrites"));
            let _ = writeln!(
                text,
                "  bytes a job: {read:.0} in, {written:.0} out, append-only file {aof:+.0} ({rewrites} rewrites so far)"
            );
            text += &commands(&info, &a_job);
        }
        Ok(text)
    }
}

/// Every command, the costliest first. What a script calls stands in the script's own time too.
fn commands(info: &str, a_job: &dyn Fn(f64) -> f64) -> String {
    let mut rows: Vec<(f64, String)> = Vec::new();
    for line in info.lines() {
        let Some((name, stats)) = line.strip_prefix("cmdstat_").and_then(|rest| rest.trim().split_once(':')) else {
            continue;
        };
        let stat = |name: &str| -> f64 {
            let value = stats.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
        };
        let (calls, micros) = (stat("calls"), stat("usec"));
        let each = micros / calls.max(1.0);
        rows.push((
            micros,
            format!("  {name:<22} {:>8.2} µs a job, {calls:>9} calls of {each:.1} µs\n", a_job(micros / 1e6)),
        ));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    rows.into_iter().map(|(_, row)| row).collect()
}

/// A number of `INFO`; zero where this server has none.
fn number(info: &str, name: &str) -> f64 {
    field(info, name).and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

fn server_cpu(info: &str) -> anyhow::Result<Cpu> {
    let seconds = |name: &str| -> anyhow::Result<f64> {
        Ok(field(info, name).with_context(|| format!("INFO has no {name}"))?.parse()?)
    };
    Ok(Cpu { user: seconds("used_cpu_user")?, system: seconds("used_cpu_sys")? })
}

fn own_cpu() -> anyhow::Result<Cpu> {
    let stat = fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    stat_cpu(&stat).context("/proc/self/stat has another form than expected")
}

/// The 14th and 15th field; the second is a name that may hold spaces.
fn stat_cpu(stat: &str) -> Option<Cpu> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(|ticks| ticks.parse::<f64>().map(|ticks| ticks / TICKS));
    Some(Cpu { user: fields.next()?.ok()?, system: fields.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 1 0 1 1 1";
        assert_eq!(stat_cpu(stat), Some(Cpu { user: 1.5, system: 0.25 }));
        assert_eq!(stat_cpu("7 (x) S 1"), None);
    }

    #[test]
    fn commands_come_with_the_costliest_first() {
        let info = "cmdstat_get:calls=10,usec=50,usec_per_call=5.00\r\ncmdstat_evalsha:calls=2,usec=400,usec_per_call=200.00\r\n";
        let text = commands(info, &|seconds| seconds * 1e6 / 100.0);
        let names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, ["evalsha", "get"]);
        assert!(text.contains("4.00 µs a job"), "{text}");
    }
}
