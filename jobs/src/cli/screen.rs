//! How answers look: aligned tables with relative times for people, JSON for scripts.
//!
//! What handlers and senders wrote (kinds, errors, notes) is hostile until shown otherwise: control characters never
//! reach the terminal.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use tidemill::clock::Timestamp;

/// Text in a table's cell is cut here.
const CELL_MAX: usize = 60;
const GAP: &str = "  ";

/// Where answers go, in which form, and what time it is for "3m ago".
pub struct Screen<'a> {
    out: &'a mut dyn Write,
    json: bool,
    now: Timestamp,
}

/// To which side a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under headings.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
    cell_max: usize,
}

impl<'a> Screen<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Write, json: bool, now: Timestamp) -> Self {
        Self { out, json, now }
    }

    /// True: for scripts.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One JSON document.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *self.out, value)?;
        writeln!(self.out)
    }

    /// One line of plain words.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", tame(text.as_ref()))
    }

    /// A table; `none` is said in its place when it has no rows.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn table(&mut self, table: &Table, none: &str) -> io::Result<()> {
        if table.rows.is_empty() { self.line(none) } else { self.out.write_all(table.render().as_bytes()) }
    }

    /// `3m ago`, `in 20s`, `now`.
    pub fn relative(&self, at: Timestamp) -> String {
        const MOMENT: Duration = Duration::from_secs(1);
        // What has happened since the command began is no matter of the future.
        if at.since(self.now) < MOMENT && self.now.since(at) < MOMENT {
            "now".to_owned()
        } else if at > self.now {
            format!("in {}", short(at.since(self.now)))
        } else {
            format!("{} ago", short(self.now.since(at)))
        }
    }
}

impl std::fmt::Debug for Screen<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("json", &self.json).field("now", &self.now).finish_non_exhaustive()
    }
}

impl Table {
    /// An empty table with these headings.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new(), cell_max: CELL_MAX }
    }

    /// Cuts no cell, however long its text.
    #[must_use]
    pub fn uncut(mut self) -> Self {
        self.cell_max = usize::MAX;
        self
    }

    /// One more row; cells that are missing stay empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| cut(&tame(&cell), self.cell_max)).collect());
    }

    fn render(&self) -> String {
        let headings: Vec<_> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let widths: Vec<_> = (0..self.columns.len())
            .map(|n| lines().filter_map(|l| l.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for line in lines() {
            let mut shown = String::new();
            for ((cell, width), (_, align)) in line.iter().zip(&widths).zip(&self.columns) {
                let gap = if shown.is_empty() { "" } else { GAP };
                // Writing to a String can't fail.
                let _ = match align {
                    Align::Left => write!(shown, "{gap}{cell:<width$}"),
                    Align::Right => write!(shown, "{gap}{cell:>width$}"),
                };
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        text
    }
}

/// The two largest units at most: `2d 3h`, `5m 2s`, `12s`, `340ms`.
fn short(length: Duration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match () {
        () if days >= 10 => format!("{days}d"),
        () if days > 0 => format!("{days}d {hours}h"),
        () if hours > 0 => format!("{hours}h {minutes}m"),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () if seconds > 0 => format!("{seconds}s"),
        () => format!("{}ms", length.as_millis()),
    }
}

fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_carry_no_trailing_blanks() {
        let mut table = Table::new(&[("QUEUE", Align::Left), ("READY", Align::Right), ("NOTE", Align::Left)]);
        table.row(["reports".into(), "7".into(), "paused".into()]);
        table.row(["a".into(), "120000".into(), String::new()]);
        assert_eq!(table.render(), "QUEUE     READY  NOTE\nreports       7  paused\na        120000\n");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, false, Timestamp::from_ms(0));
        screen.line("a\u{1b}[2Jb\nc\u{9b}d").unwrap();
        let mut table = Table::new(&[("KIND", Align::Left)]);
        table.row(["x\u{1b}]0;title\u{7}".into()]);
        screen.table(&table, "").unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown, "a·[2Jb·c·d\nKIND\nx·]0;title·\n");
    }

    #[test]
    fn times_are_relative_and_short() {
        let mut out = Vec::new();
        let now = Timestamp::from_ms(1_000_000_000_000);
        let screen = Screen::new(&mut out, false, now);
        let ago = |s: u64| screen.relative(now.before(Duration::from_secs(s)));
        assert_eq!([ago(0), ago(59), ago(61)], ["now", "59s ago", "1m 1s ago"]);
        assert_eq!(
            [ago(3_600 * 5 + 120), ago(86_400 * 3 + 3_600), ago(86_400 * 40)],
            ["5h 2m ago", "3d 1h ago", "40d ago"]
        );
        assert_eq!(screen.relative(now.after(Duration::from_millis(250))), "now", "it came while the command looked");
        assert_eq!(screen.relative(now.after(Duration::from_millis(1_500))), "in 1s");
    }
}
