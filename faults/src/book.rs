//! The book of all long runs: their sums, kept as JSON beside the page that shows them, and the page's table.
//!
//! Sums only grow; a run is added once. Recovery times are kept in steps of 10 ms, so that percentiles are of all runs together.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::report::{Finding, Report, Verdict};

const BUCKET_MS: u64 = 10;
const BEGIN: &str = "<!-- faults: begin (written by scripts/faults.sh) -->";
const END: &str = "<!-- faults: end -->";

/// All runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    /// By store and scenario.
    pub sums: BTreeMap<String, BTreeMap<String, Sum>>,
    /// Negative controls: how many runs, and in how many the loss was reported.
    pub controls: BTreeMap<String, BTreeMap<String, Control>>,
    /// Runs that were not valid, the latest last.
    pub trouble: Vec<Trouble>,
    /// Of all runs, in the order in which they were made.
    pub seeds: Vec<u64>,
    /// Time that the runs have taken.
    pub seconds: u64,
}

/// Sums over runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in Report")]
pub struct Sum {
    pub runs: u64,
    pub valid: u64,
    pub acked: u64,
    pub starts: u64,
    pub unsure: u64,
    pub refused: u64,
    pub recovered: u64,
    pub kills: BTreeMap<String, u64>,
    pub noticed: BTreeMap<String, u64>,
    pub lost: u64,
    pub lost_in_window: u64,
    pub illegal_repeats: u64,
    pub repeats_in_window: u64,
    pub dup_unknown: u64,
    pub dup_lease: u64,
    pub stale_refusals: u64,
    pub stale_accepted: u64,
    pub legal_overlaps: u64,
    pub longest_overlap_ms: u64,
    /// Steps of 10 ms and how many recoveries fell into each.
    pub recovery: BTreeMap<u64, u64>,
    pub recovery_max_ms: u64,
    pub held_up: u64,
}

/// A control's runs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Control {
    /// How many.
    pub runs: u64,
    /// In so many the checker has reported the loss.
    pub reported: u64,
    /// Jobs reported lost.
    pub lost: u64,
}

/// A run that was not valid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// The scenario.
    pub scenario: String,
    /// The store.
    pub store: String,
    /// What to run again.
    pub seed: u64,
    /// `None`: the run could not be made.
    pub verdict: Option<Verdict>,
    /// The first findings.
    pub findings: Vec<Finding>,
}

impl Book {
    /// The book at `path`, or an empty one.
    ///
    /// # Errors
    /// When the file is there and none of ours.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            text => serde_json::from_str(&text?).with_context(|| format!("understand {}", path.display())),
        }
    }

    /// Adds a run.
    pub fn add(&mut self, report: &Report, is_control: bool) {
        self.seeds.push(report.seed);
        self.seconds += report.took_ms / 1_000;
        if is_control {
            let of_store = self.controls.entry(report.store.clone()).or_default();
            let control = of_store.entry(report.scenario.clone()).or_default();
            control.runs += 1;
            control.reported += u64::from(report.verdict == Verdict::Invalid && report.lost > 0);
            control.lost += report.lost;
            return;
        }
        let sum = self.sums.entry(report.store.clone()).or_default().entry(report.scenario.clone()).or_default();
        sum.add(report);
        if report.verdict != Verdict::Valid {
            self.trouble.push(Trouble {
                scenario: report.scenario.clone(),
                store: report.store.clone(),
                seed: report.seed,
                verdict: Some(report.verdict),
                findings: report.findings.iter().take(3).cloned().collect(),
            });
        }
    }

    /// Notes a run that could not be made.
    pub fn failed(&mut self, scenario: &str, store: &str, seed: u64, why: String) {
        let findings = vec![Finding { rule: "harness".into(), what: why }];
        let (scenario, store) = (scenario.to_owned(), store.to_owned());
        self.trouble.push(Trouble { scenario, store, seed, verdict: None, findings });
    }

    /// Writes the book, and its table between the marks of the page.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write(&self, json: &Path, page: &Path) -> anyhow::Result<()> {
        if let Some(folder) = json.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Whole or not at all: the next run goes on from it.
        let fresh = json.with_extension("new");
        std::fs::write(&fresh, serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::rename(&fresh, json)?;
        let text = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
        std::fs::write(page, between_marks(&text, &self.page()))?;
        Ok(())
    }

    /// The page's part, as Markdown.
    pub fn page(&self) -> String {
        let mut page = String::new();
        let all: Vec<&Sum> = self.sums.values().flat_map(BTreeMap::values).collect();
        let total = |of: fn(&Sum) -> u64| all.iter().map(|sum| of(sum)).sum::<u64>();
        let kills = total(Sum::killed);
        // Writing to a String can't fail.
        let _ = writeln!(
            page,
            "{} runs ({} valid) in {} minutes, {} jobs acknowledged, {kills} processes killed: **lost {}, illegal repeats {}, stale writes accepted {}**. {}\n",
            total(|sum| sum.runs),
            total(|sum| sum.valid),
            self.seconds / 60,
            total(|sum| sum.acked),
            total(|sum| sum.lost),
            total(|sum| sum.illegal_repeats),
            total(|sum| sum.stale_accepted),
            bound(total(|sum| sum.lost), kills),
        );
        page.push_str(
            "| Store | Scenario | Runs (valid) | Kills | Acknowledged | Unsure / refused calls | Lost | Illegal repeats | dup_unknown | dup_lease | Stale refused / accepted | Recovery p50 / p99 / max, s (n) |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for (store, scenarios) in &self.sums {
            for (name, sum) in scenarios {
                let _ = writeln!(page, "{}", sum.row(store, name));
            }
        }
        for store in self.sums.keys() {
            let mut steps: BTreeMap<&str, u64> = BTreeMap::new();
            for (step, n) in self.sums[store].values().flat_map(|sum| &sum.kills) {
                *steps.entry(step).or_default() += n;
            }
            let steps: Vec<String> = steps.iter().map(|(step, n)| format!("`{step}` {n}")).collect();
            let _ = writeln!(page, "\nKills by step, {store}: {}.", steps.join(", "));
        }
        page.push_str("\nNegative controls (the checker must report the loss): ");
        let controls: Vec<String> = self
            .controls
            .iter()
            .flat_map(|(store, of)| of.iter().map(move |(name, c)| (store, name, c)))
            .map(|(store, name, c)| {
                format!("{name} on {store}: reported in {} of {} runs, {} jobs", c.reported, c.runs, c.lost)
            })
            .collect();
        let _ = writeln!(page, "{}.", if controls.is_empty() { "none yet".into() } else { controls.join("; ") });
        self.show_trouble(&mut page);
        let (first, last) = (self.seeds.first().copied().unwrap_or(0), self.seeds.last().copied().unwrap_or(0));
        let _ = writeln!(
            page,
            "\nSeeds: {} in all, {first} to {last}; each is in `docs/reliability/faults.json`.",
            self.seeds.len()
        );
        page
    }

    fn show_trouble(&self, page: &mut String) {
        const SHOWN: usize = 12;
        if self.trouble.is_empty() {
            page.push_str("\nNo run was other than valid.\n");
            return;
        }
        let _ = writeln!(page, "\nRuns that were not valid: {}.\n", self.trouble.len());
        for trouble in self.trouble.iter().rev().take(SHOWN) {
            let verdict = trouble.verdict.map_or("not made".to_owned(), |v| format!("{v:?}").to_lowercase());
            let what = trouble.findings.first().map_or(String::new(), |f| format!("{}: {}", f.rule, f.what));
            let what: String = what.chars().take(200).collect();
            let _ =
                writeln!(page, "- {} on {}, seed {}: {verdict}; {what}", trouble.scenario, trouble.store, trouble.seed);
        }
        if self.trouble.len() > SHOWN {
            page.push_str("- and earlier ones, in `docs/reliability/faults.json`\n");
        }
    }
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.valid += u64::from(report.verdict == Verdict::Valid);
        for (sum, by) in [
            (&mut self.acked, report.acked),
            (&mut self.starts, report.starts),
            (&mut self.unsure, report.unsure),
            (&mut self.refused, report.refused),
            (&mut self.recovered, report.recovered),
            (&mut self.lost, report.lost),
            (&mut self.lost_in_window, report.lost_in_window),
            (&mut self.illegal_repeats, report.illegal_repeats),
            (&mut self.repeats_in_window, report.repeats_in_window),
            (&mut self.dup_unknown, report.dup_unknown),
            (&mut self.dup_lease, report.dup_lease),
            (&mut self.stale_refusals, report.stale_refusals),
            (&mut self.stale_accepted, report.stale_accepted),
            (&mut self.legal_overlaps, report.legal_overlaps),
            (&mut self.held_up, report.held_up),
        ] {
            *sum += by;
        }
        for (into, from) in [(&mut self.kills, &report.kills), (&mut self.noticed, &report.noticed)] {
            for (name, n) in from {
                *into.entry(name.clone()).or_default() += n;
            }
        }
        self.longest_overlap_ms = self.longest_overlap_ms.max(report.longest_overlap_ms);
        for ms in &report.recovery_ms {
            *self.recovery.entry(ms / BUCKET_MS).or_default() += 1;
            self.recovery_max_ms = self.recovery_max_ms.max(*ms);
        }
    }

    fn killed(&self) -> u64 {
        self.kills.values().sum()
    }

    /// The upper edge of the step that holds so many percent of all.
    fn recovery_at(&self, percent: u64) -> u64 {
        let all: u64 = self.recovery.values().sum();
        let mut left = (all * percent).div_ceil(100);
        for (bucket, n) in &self.recovery {
            left = left.saturating_sub(*n);
            if left == 0 {
                return ((bucket + 1) * BUCKET_MS).min(self.recovery_max_ms);
            }
        }
        self.recovery_max_ms
    }

    fn row(&self, store: &str, name: &str) -> String {
        let seconds = |ms: u64| format!("{}.{:02}", ms / 1_000, ms % 1_000 / 10);
        let n: u64 = self.recovery.values().sum();
        let recovery = if n == 0 {
            "-".to_owned()
        } else {
            let (p50, p99) = (self.recovery_at(50), self.recovery_at(99));
            format!("{} / {} / {} ({n})", seconds(p50), seconds(p99), seconds(self.recovery_max_ms))
        };
        let window = |n: u64| if n > 0 { format!(" (+ {n} in the window)") } else { String::new() };
        format!(
            "| {store} | {name} | {} ({}) | {} | {} | {} / {} | {}{} | {}{} | {} | {} | {} / {} | {recovery} |",
            self.runs,
            self.valid,
            self.killed(),
            self.acked,
            self.unsure,
            self.refused,
            self.lost,
            window(self.lost_in_window),
            self.illegal_repeats,
            window(self.repeats_in_window),
            self.dup_unknown,
            self.dup_lease,
            self.stale_refusals,
            self.stale_accepted,
        )
    }
}

/// What no loss in so many kills says.
fn bound(lost: u64, kills: u64) -> String {
    match (lost, kills) {
        (0, 1..) => {
            #[expect(clippy::cast_precision_loss, reason = "a figure of three digits")]
            let percent = 300.0 / kills as f64;
            format!(
                "No loss in {kills} kills bounds the rate of loss at about 3 / {kills}, or {percent:.2} % a kill, with 95 % confidence."
            )
        }
        _ => String::new(),
    }
}

/// The page with `part` between its marks; they are put at its end where there are none.
fn between_marks(text: &str, part: &str) -> String {
    let (before, after) = match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) if begin < end => (&text[..begin], &text[end + END.len()..]),
        _ => (text, "\n"),
    };
    let gap = if before.ends_with("\n\n") || before.is_empty() { "" } else { "\n" };
    format!("{before}{gap}{BEGIN}\n{part}{END}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(seed: u64, verdict: Verdict, lost: u64) -> Report {
        Report {
            scenario: "steps".into(),
            store: "sqlite".into(),
            seed,
            verdict,
            lost,
            acked: 100,
            kills: [("any".to_owned(), 10)].into(),
            recovery_ms: vec![1_000, 1_500, 2_000],
            ..Report::default()
        }
    }

    #[test]
    fn sums_grow_from_run_to_run_and_through_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let (json, page) = (dir.path().join("sub/faults.json"), dir.path().join("page.md"));
        std::fs::write(&page, "# Page\n\nText.\n").unwrap();
        for seed in 1..=2 {
            let mut book = Book::read(&json).unwrap();
            book.add(&report(seed, Verdict::Valid, 0), false);
            book.write(&json, &page).unwrap();
        }
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.starts_with("# Page\n\nText.\n\n<!-- faults: begin"), "{text}");
        assert_eq!(text.matches(BEGIN).count(), 1, "{text}");
        assert!(text.contains("| sqlite | steps | 2 (2) | 20 | 200 | 0 / 0 | 0 | 0 |"), "{text}");
        assert!(text.contains("1.51 / 2.00 / 2.00 (6) |"), "{text}");
        assert!(
            text.contains("No loss in 20 kills bounds the rate of loss at about 3 / 20, or 15.00 % a kill"),
            "{text}"
        );
    }

    #[test]
    fn a_loss_is_shown_with_its_seed_and_bounds_nothing() {
        let mut book = Book::default();
        book.add(&report(7, Verdict::Invalid, 2), false);
        book.failed("zombie", "redis", 8, "no server".into());
        let page = book.page();
        assert!(page.contains("**lost 2,") && !page.contains("bounds the rate"), "{page}");
        assert!(page.contains("steps on sqlite, seed 7: invalid") && page.contains("seed 8: not made"), "{page}");
    }

    #[test]
    fn a_control_is_counted_apart() {
        let mut book = Book::default();
        book.add(&report(7, Verdict::Invalid, 2), true);
        book.add(&report(8, Verdict::Valid, 0), true);
        assert!(book.sums.is_empty() && book.page().contains("steps on sqlite: reported in 1 of 2 runs, 2 jobs"));
    }
}
