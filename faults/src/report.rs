//! What a run has shown, as the checker says it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a run is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All promises were kept, and enough happened to say so.
    Valid,
    /// A promise was broken.
    Invalid,
    /// The queue did not become empty in time: nothing can be said.
    #[default]
    Unknown,
    /// Too little happened.
    Void,
}

/// A broken promise, or why a run is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule, `C1` to `C16`.
    pub rule: String,
    /// What was seen.
    pub what: String,
}

/// A run's figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the table of figures in docs/reliability.md explains them")]
pub struct Report {
    pub scenario: String,
    pub store: String,
    pub seed: u64,
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    /// Findings beyond those kept here.
    pub more_findings: u64,
    pub acked: u64,
    pub unsure: u64,
    /// Calls that the store has refused for want of space.
    pub refused: u64,
    /// Never acknowledged, and there all the same.
    pub recovered: u64,
    pub starts: u64,
    /// By step; `any` is a kill by the driver at no step of its own.
    pub kills: BTreeMap<String, u64>,
    pub noticed: BTreeMap<String, u64>,
    pub lost: u64,
    /// Lost within a window that the store's mode leaves open.
    pub lost_in_window: u64,
    /// Where the lost ones stand among a producer's acknowledged ones: before, between, after those that were kept.
    pub lost_where: [u64; 3],
    /// Starts after a committed end.
    pub illegal_repeats: u64,
    /// The same within a window that the store's mode leaves open.
    pub repeats_in_window: u64,
    /// Starts after an end whose commit is unsure.
    pub dup_unknown: u64,
    /// Starts after a crash or a lost lease.
    pub dup_lease: u64,
    pub stale_refusals: u64,
    pub stale_accepted: u64,
    /// Two holders had effects at one time, the first one's lease being over.
    pub legal_overlaps: u64,
    pub longest_overlap_ms: u64,
    pub early: u64,
    /// From the death of a worker to the next start of each of its jobs, ms, sorted.
    pub recovery_ms: Vec<u64>,
    /// The same, where a further fault came between.
    pub held_up: u64,
    pub drain_ms: u64,
    pub took_ms: u64,
}

/// Of one rule.
const FINDINGS_MAX: usize = 5;

impl Report {
    /// Notes a finding.
    pub fn find(&mut self, rule: &str, what: impl Into<String>) {
        if self.findings.iter().filter(|finding| finding.rule == rule).count() < FINDINGS_MAX {
            self.findings.push(Finding { rule: rule.into(), what: what.into() });
        } else {
            self.more_findings += 1;
        }
    }

    /// All kills.
    pub fn killed(&self) -> u64 {
        self.kills.values().sum()
    }
}

/// The smallest value that is no smaller than so many percent of all; `None` without values.
pub fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent| percentile(&self.recovery_ms, percent).map_or("-".into(), |ms| ms.to_string());
        write!(
            f,
            "{} on {}, seed {}: {:?}; acknowledged {} (calls: {} unsure, {} refused; recovered {}), starts {}, kills {}, lost {}",
            self.scenario,
            self.store,
            self.seed,
            self.verdict,
            self.acked,
            self.unsure,
            self.refused,
            self.recovered,
            self.starts,
            self.killed(),
            self.lost,
        )?;
        if self.lost_in_window > 0 {
            write!(f, " (and {} in the window that the mode leaves open)", self.lost_in_window)?;
        }
        write!(
            f,
            ", illegal repeats {}, dup_unknown {}, dup_lease {}, stale refused {} accepted {}, legal overlaps {} (longest {} ms), \
             recovery p50/p99/max {}/{}/{} ms of {} (held up {}), drained in {} ms, took {} ms",
            self.illegal_repeats,
            self.dup_unknown,
            self.dup_lease,
            self.stale_refusals,
            self.stale_accepted,
            self.legal_overlaps,
            self.longest_overlap_ms,
            at(50),
            at(99),
            at(100),
            self.recovery_ms.len(),
            self.held_up,
            self.drain_ms,
            self.took_ms,
        )?;
        if !self.kills.is_empty() {
            write!(f, "; kills {:?}", self.kills)?;
        }
        if !self.noticed.is_empty() {
            write!(f, "; {:?}", self.noticed)?;
        }
        for finding in &self.findings {
            write!(f, "\n  {}: {}", finding.rule, finding.what)?;
        }
        if self.more_findings > 0 {
            write!(f, "\n  and {} more", self.more_findings)?;
        }
        Ok(())
    }
}
