//! One measurement: what a JSON line holds, and the line for people.
//!
//! The first eleven fields are always there, `null` where a scenario has no such figure. The others appear where they
//! say something. Peers print the same names, so that one report reads all.

use serde::{Deserialize, Serialize};

use crate::latency::Latencies;
use crate::machine;
use crate::place::Facts;

/// One line of the results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Which scenario.
    pub scenario: String,
    /// Whose queue: `tidemill`, `apalis-redis`, `sqlite-loop`, `bullmq`, `celery`.
    pub system: String,
    /// `sqlite` or `redis`.
    pub store: String,
    /// How many jobs it was measured over.
    pub jobs: u64,
    /// Jobs (or calls, where `operation` says so) a second.
    pub per_second: Option<f64>,
    /// Half of all latencies are at most this.
    pub p50_ms: Option<f64>,
    /// 99 % are.
    pub p99_ms: Option<f64>,
    /// 99.9 % are.
    pub p999_ms: Option<f64>,
    /// The most resident memory of the measured process during the measured part.
    pub rss_mib: Option<f64>,
    /// What an acknowledged write survives, in our configuration's words: `fsync`, `everysec`, `memory`.
    pub durability: String,
    /// Jobs that never reached the handler, by the outside count; `null` where no handler ran.
    pub lost: Option<u64>,

    /// What was timed, where a scenario times several things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The longest latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<f64>,
    /// How many latencies were taken, where it is not `jobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// Jobs in one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// Callers, or jobs run, at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    /// Jobs that waited when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// The rate that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_per_second: Option<f64>,
    /// The rate that was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved_per_second: Option<f64>,
    /// What the store holds for one waiting job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_job: Option<f64>,
    /// Resident memory when the measured part began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_start_mib: Option<f64>,
    /// Resident memory when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_end_mib: Option<f64>,
    /// A finding of `apalis-findings`: whether it still holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Which round of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// What it was taken on.
    #[serde(default)]
    pub machine: String,
    /// The store's version, and the system's where it is a peer.
    #[serde(default)]
    pub versions: String,
    /// `release` or `debug`.
    #[serde(default)]
    pub build: String,
}

impl Measurement {
    /// A measurement without figures yet.
    pub fn new(scenario: &str, system: &str, facts: &Facts, jobs: u64) -> Self {
        Self {
            scenario: scenario.to_owned(),
            system: system.to_owned(),
            store: facts.store.to_owned(),
            jobs,
            durability: facts.durability.clone(),
            machine: machine::machine(),
            versions: facts.version.clone(),
            build: machine::build().to_owned(),
            ..Self::default()
        }
    }

    /// With percentiles.
    #[must_use]
    pub fn latencies(mut self, all: &Latencies) -> Self {
        (self.p50_ms, self.p99_ms, self.p999_ms) = (all.at(50.0), all.at(99.0), all.at(99.9));
        self.max_ms = all.max();
        self.samples = (all.len() != self.jobs).then(|| all.len());
        self
    }

    /// With what this process held since the last [`machine::reset_peak`].
    #[must_use]
    pub fn memory(mut self, start: machine::Resident) -> Self {
        let end = machine::resident();
        self.rss_mib = Some(end.peak_mib);
        self.rss_start_mib = Some(start.now_mib);
        self.rss_end_mib = Some(end.now_mib);
        self
    }

    /// For people: one line, only what is there.
    pub fn line(&self) -> String {
        let mut parts =
            vec![format!("{:<15} {:<13} {:<6} {:>9} jobs", self.scenario, self.system, self.store, self.jobs)];
        let mut add = |text: Option<String>| parts.extend(text);
        add(self.operation.as_ref().map(|what| format!("{what:<8}")));
        add(self.waiting.map(|n| format!("{n} waiting")));
        add(self.per_second.map(|rate| format!("{rate:>9.0}/s")));
        add(self
            .offered_per_second
            .zip(self.achieved_per_second)
            .map(|(o, a)| format!("offered {o:.0}/s, reached {a:.1}/s")));
        let latency = |name: &str, ms: Option<f64>| ms.map(|ms| format!("{name} {ms:.3} ms"));
        add(latency("p50", self.p50_ms));
        add(latency("p99", self.p99_ms));
        add(latency("p99.9", self.p999_ms));
        add(latency("max", self.max_ms));
        add(self.bytes_per_job.map(|bytes| format!("{bytes:.0} bytes a job")));
        add(self.rss_mib.map(|mib| format!("{mib:.0} MiB")));
        add(self.lost.map(|n| format!("{n} lost")));
        add(self.holds.map(|holds| if holds { "holds" } else { "DOES NOT HOLD" }.to_owned()));
        add(self.note.clone());
        add(Some(self.durability.clone()));
        parts.join("  ")
    }
}

/// Where measurements go.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// JSON lines instead of lines for people.
    pub json: bool,
}

impl Out {
    /// Prints one.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn print(self, measurement: &Measurement) -> anyhow::Result<()> {
        use std::io::Write as _;
        let line = if self.json { serde_json::to_string(measurement)? } else { measurement.line() };
        Ok(writeln!(std::io::stdout(), "{line}")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleven_fields_are_always_there_and_others_only_with_a_value() {
        let facts = Facts { store: "sqlite", durability: "fsync".into(), version: "sqlite 3".into() };
        let line = serde_json::to_value(Measurement::new("drain", "tidemill", &facts, 5)).unwrap();
        for field in [
            "scenario",
            "system",
            "store",
            "jobs",
            "per_second",
            "p50_ms",
            "p99_ms",
            "p999_ms",
            "rss_mib",
            "durability",
            "lost",
        ] {
            assert!(line.get(field).is_some(), "{field} is missing in {line}");
        }
        assert!(line.get("waiting").is_none(), "{line}");
        assert_eq!(line["lost"], serde_json::Value::Null);
    }

    #[test]
    fn a_peers_line_is_read_without_our_own_fields() {
        let line = r#"{"scenario":"drain","system":"bullmq","store":"redis","jobs":7000,"per_second":6100.5,"p50_ms":null,
            "p99_ms":null,"p999_ms":null,"rss_mib":88,"durability":"everysec","lost":0}"#;
        let read: Measurement = serde_json::from_str(line).unwrap();
        assert_eq!((read.system.as_str(), read.per_second, read.lost), ("bullmq", Some(6_100.5), Some(0)));
    }
}
