//! `report`: JSON lines in, `docs/performance.md` and its plot out. No figure in that page is typed by hand.
//!
//! The page's prose is written by people; between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` stands what this wrote.
//! Rates of several rounds are shown as their median; of percentiles the worst run stands, for they can't be averaged.

pub mod bar;
pub mod plot;
pub mod table;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::measurement::Measurement;

/// Writes the tables and the plot of a page from JSON lines
#[derive(Debug, Args)]
pub struct Report {
    /// Files of JSON lines; `-` is standard input
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// The page whose marked places are filled [default: print the tables]
    #[arg(long, value_name = "FILE.md")]
    page: Option<PathBuf>,
    /// Where the plot of `curve` goes
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Prints the rows of the bar as JSON lines instead
    #[arg(long)]
    json: bool,
    /// Takes figures of debug builds too, to try it out
    #[arg(long)]
    debug_builds: bool,
}

impl Report {
    /// Writes it.
    ///
    /// # Errors
    /// When a line can't be read, a run lost jobs, or the page has no place for a table.
    pub fn run(self) -> anyhow::Result<()> {
        let mut all = Vec::new();
        for path in &self.results {
            all.extend(read(path)?);
        }
        for line in &all {
            ensure!(line.lost.unwrap_or(0) == 0, "a run that lost jobs is no result: {}", line.line());
            ensure!(self.debug_builds || line.build != "debug", "a debug build's figure is no result: {}", line.line());
        }
        ensure!(!all.is_empty(), "there are no measurements in what was given");
        let rows = bar::rows(&all);
        if self.json {
            for row in &rows {
                println!("{}", serde_json::to_string(row)?);
            }
            return Ok(());
        }
        let (bar, results, made_on) = (bar::table(&rows), table::results(&all), table::made_on(&all));
        if let Some(path) = &self.plot {
            std::fs::write(path, plot::svg(&all)).with_context(|| format!("write {}", path.display()))?;
        }
        let Some(path) = &self.page else {
            println!("{made_on}\n{bar}\n{results}");
            return Ok(());
        };
        let mut page = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        for (name, text) in [("made-on", made_on), ("bar", bar), ("results", results)] {
            page = fill(&page, name, &text).with_context(|| format!("in {}", path.display()))?;
        }
        std::fs::write(path, page).with_context(|| format!("write {}", path.display()))
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Measurement>> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| {
            serde_json::from_str(line).with_context(|| format!("{}: line {} is no measurement", path.display(), n + 1))
        })
        .collect()
}

/// Puts `text` between the marks of `name`.
fn fill(page: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let (before, rest) = page.split_once(&open).with_context(|| format!("there is no `{open}`"))?;
    let (_, after) = rest.split_once(&close).with_context(|| format!("there is no `{close}` after `{open}`"))?;
    Ok(format!("{before}{open}\n{}\n{close}{after}", text.trim_end()))
}

/// The middle of `values`; between the two middle ones where their number is even.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    Some(if values.len().is_multiple_of(2) { f64::midpoint(values[half - 1], upper) } else { upper })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn what_stood_between_the_marks_is_replaced_and_the_rest_stays() {
        let page = "# Page\n<!-- bench:bar -->\nold\n<!-- /bench:bar -->\nprose\n";
        let once = fill(page, "bar", "| new |\n").unwrap();
        assert_eq!(once, "# Page\n<!-- bench:bar -->\n| new |\n<!-- /bench:bar -->\nprose\n");
        assert_eq!(fill(&once, "bar", "| new |\n").unwrap(), once);
        assert!(fill(page, "results", "x").unwrap_err().to_string().contains("bench:results"));
    }
}
