//! `tidemill migrate`: brings the tables of the store and the database up to date.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tidemill::clock::Timestamp;
use tidemill::data::Database;
use tidemill::store::{Location, sqlite};

use crate::cli::{Common, EXIT_CODES, Exit, Failure, Screen};
use crate::store;

/// Bring the tables up to date
#[derive(Debug, Args)]
#[command(after_help = format!("\
Example:
  tidemill migrate && systemctl start tidemill

Safe to repeat. Stop older versions first: they refuse tables that are newer than they are.

{EXIT_CODES}"))]
pub struct Migrate {
    #[command(flatten)]
    common: Common,
}

impl Migrate {
    /// Migrates the queue store's file, if it is one, then the engine's and the application's tables in `db`.
    ///
    /// # Errors
    /// When a step fails; those before it stay.
    pub async fn run(
        self,
        queue: Location,
        db: &Database,
        now: Timestamp,
        out: &mut dyn Write,
    ) -> Result<ExitCode, Failure> {
        let mut screen = Screen::new(out, self.common.json, now);
        let place = queue.to_string();
        let steps = match queue {
            Location::Sqlite(path) => Some(
                tokio::task::spawn_blocking(move || sqlite::migrate(&path))
                    .await
                    .context("the migration of the queue store was cut short")??,
            ),
            Location::Redis(_) => None,
        };
        db.migrate(Some(store::migrations())).await?;
        if screen.is_json() {
            screen.json(&json!({ "queue_store": { "place": place, "steps": steps }, "database": "up to date" }))?;
        } else {
            screen.line(match steps {
                Some(steps) => format!("queue store {place}: {steps} steps applied"),
                None => format!("queue store {place}: has no tables, so there is nothing to migrate"),
            })?;
            screen.line("database: up to date")?;
        }
        Ok(Exit::Done.into())
    }
}
