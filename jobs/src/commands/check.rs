//! `tidemill check`: the resolved configuration, secrets redacted, and every connection tried.

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use serde_json::json;
use tidemill::clock::Timestamp;

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Screen, Table};

/// A connection that has not answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Show the resolved configuration and try each connection
#[derive(Debug, Args)]
#[command(after_help = format!("\
Example:
  tidemill check && tidemill serve

Secrets are shown as set or not set, never as text. Ends with 5 when a connection does not answer.

{EXIT_CODES}"))]
pub struct Check {
    #[command(flatten)]
    common: Common,
}

/// One field of the configuration as it was resolved; secrets come redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, `ingress.listen`.
    pub name: String,
    /// Its value, as text.
    pub value: String,
}

type Trial<'a> = Pin<Box<dyn Future<Output = anyhow::Result<String>> + Send + 'a>>;

/// Something outside that can be tried.
pub struct Connection<'a> {
    name: String,
    trial: Trial<'a>,
}

impl<'a> Connection<'a> {
    /// Tried by `trial`, which says in a few words what it found.
    pub fn new(name: &str, trial: impl Future<Output = anyhow::Result<String>> + Send + 'a) -> Self {
        Self { name: name.to_owned(), trial: Box::pin(trial) }
    }
}

impl std::fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Check {
    /// Shows the settings, tries all connections at once, and says how each went.
    ///
    /// # Errors
    /// When the answer can't be written; a connection that fails is an exit code of 5.
    pub async fn run(
        self,
        settings: Vec<Setting>,
        connections: Vec<Connection<'_>>,
        now: Timestamp,
        out: &mut dyn Write,
    ) -> Result<ExitCode, Failure> {
        let mut screen = Screen::new(out, self.common.json, now);
        let found = join_all(connections.into_iter().map(attempt)).await;
        let exit = if found.iter().all(|f| f.ok) { Exit::Done } else { Exit::Unavailable };
        if screen.is_json() {
            let settings: serde_json::Map<_, _> =
                settings.into_iter().map(|s| (s.name, serde_json::Value::String(s.value))).collect();
            screen.json(&json!({ "settings": settings, "connections": found, "ok": exit == Exit::Done }))?;
            return Ok(exit.into());
        }
        let mut table = Table::new(&[("SETTING", Align::Left), ("VALUE", Align::Left)]).uncut();
        settings.into_iter().for_each(|s| table.row([s.name, s.value]));
        screen.table(&table, "everything is as shipped")?;
        screen.line("")?;
        let mut table = Table::new(&[("CONNECTION", Align::Left), ("", Align::Left), ("", Align::Left)]).uncut();
        for one in found {
            let verdict = if one.ok { "ok" } else { "FAILED" };
            table.row([one.name, verdict.to_owned(), one.says]);
        }
        screen.table(&table, "nothing to connect to")?;
        Ok(exit.into())
    }
}

#[derive(Debug, serde::Serialize)]
struct Found {
    name: String,
    ok: bool,
    says: String,
}

async fn attempt(connection: Connection<'_>) -> Found {
    let Connection { name, trial } = connection;
    match tokio::time::timeout(PATIENCE, trial).await {
        Ok(Ok(says)) => Found { name, ok: true, says },
        Ok(Err(error)) => Found { name, ok: false, says: format!("{error:#}") },
        Err(_) => Found { name, ok: false, says: format!("no answer within {} s", PATIENCE.as_secs()) },
    }
}
