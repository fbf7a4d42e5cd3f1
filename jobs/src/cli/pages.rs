//! Lists: which page is asked for, and how it is answered.

use std::str::FromStr;

use clap::Args;
use serde::Serialize;
use tidemill::admin::{Ask, Limit, Paged, Place};
use tidemill::fanout::PageRequest;

use super::{Align, Screen, Table};

/// Which page of a list; `C` is what the list's `next` is.
#[derive(Clone, Debug, Args)]
pub struct Pages<C>
where
    C: FromStr + Clone + Send + Sync + 'static,
    C::Err: std::error::Error + Send + Sync + 'static,
{
    /// At most so many, 1 to 200
    #[arg(long, default_value = "50", allow_negative_numbers = true)]
    pub limit: Limit,
    /// Go on where the page before ended
    #[arg(long)]
    pub cursor: Option<C>,
}

impl From<Pages<Place>> for Ask {
    fn from(Pages { limit, cursor }: Pages<Place>) -> Self {
        Self { cursor, limit }
    }
}

impl From<Pages<String>> for PageRequest {
    fn from(Pages { limit, cursor }: Pages<String>) -> Self {
        Self { cursor, limit: limit.get() }
    }
}

impl Screen<'_> {
    /// A page: for scripts as it is; for people a table with a row for each item, `none` where there is none, and how to
    /// see the next page.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn page<T: Serialize>(
        &mut self,
        page: &Paged<T>,
        columns: &[(&'static str, Align)],
        none: &str,
        row: impl Fn(&T, &Self) -> Vec<String>,
    ) -> std::io::Result<()> {
        if self.is_json() {
            return self.json(page);
        }
        let mut table = Table::new(columns);
        for item in &page.items {
            table.row(row(item, self));
        }
        self.table(&table, if page.next.is_some() { "none on this page" } else { none })?;
        match &page.next {
            Some(next) => self.line(format!("more: --cursor {next}")),
            None => Ok(()),
        }
    }

    /// What is known of one thing, a line each; what is empty is left out.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn facts<const N: usize>(&mut self, facts: [(&str, String); N]) -> std::io::Result<()> {
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            self.line(format!("{name:<11}  {value}"))?;
        }
        Ok(())
    }

    /// What was done: for scripts what came back, for people in words.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn say(&mut self, done: &impl Serialize, words: impl AsRef<str>) -> std::io::Result<()> {
        if self.is_json() { self.json(done) } else { self.line(words) }
    }
}
