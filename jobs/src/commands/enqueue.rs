//! `tidemill enqueue`: one job by hand.

use std::io::{Read, Write};
use std::process::ExitCode;

use clap::Args;
use tidemill::admin::{Desk, Order};
use tidemill::clock::Timestamp;

use crate::cli::{Common, EXIT_CODES, Exit, Failure, Screen, Span, read_json};

/// Enqueue a job
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill enqueue market.poll
  tidemill enqueue accounts.sync --payload '{{\"item\": \"item_1\"}}' --delay 30s
  jq -c .request case.json | tidemill enqueue reconcile.stripe --payload -

The job is durable when the command ends; a running worker takes it up at once.

{EXIT_CODES}"))]
pub struct Enqueue {
    /// What to run: a kind's name; a wrong one lists those there are
    kind: String,
    /// The kind's payload: JSON, @FILE, or - for standard input [default: {}]
    #[arg(long, short, value_name = "JSON")]
    payload: Option<String>,
    /// Another queue than the kind's own
    #[arg(long, short)]
    queue: Option<String>,
    /// Not before so long from now, like 30s, 15m, 2h
    #[arg(long, value_name = "SPAN", conflicts_with = "at", allow_hyphen_values = true)]
    delay: Option<Span>,
    /// Not before this time, like 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// At most one job with this key lives; a second is not enqueued
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// Whose work this is
    #[arg(long)]
    tenant: Option<String>,
    /// Among ready jobs of the queue: 0 first, 9 last [default: 5]
    #[arg(long, value_name = "0-9", allow_negative_numbers = true)]
    priority: Option<i64>,
    /// A word to find it by; may be given more than once
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    #[command(flatten)]
    common: Common,
}

impl Enqueue {
    /// Enqueues it.
    ///
    /// # Errors
    /// When the order makes no sense or the store did not take it.
    pub async fn run(
        self,
        desk: &Desk,
        now: Timestamp,
        input: &mut dyn Read,
        out: &mut dyn Write,
    ) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        let payload = self.payload.as_deref().map(|text| read_json("--payload", text, input)).transpose()?;
        let mut order = Order::of(&self.kind);
        order.payload = payload;
        order.queue = self.queue;
        order.delay_ms = self.delay.map(|span| i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX));
        order.run_at = self.at;
        order.unique_key = self.unique;
        order.tenant = self.tenant;
        order.priority = self.priority;
        order.tags = self.tags;
        let ordered = desk.order(&may, order).await?;
        if screen.is_json() {
            screen.json(&ordered)?;
        } else if ordered.duplicate {
            screen.line(format!("{} has this unique key already; nothing was enqueued", ordered.job))?;
        } else {
            screen.line(format!("enqueued {}", ordered.job))?;
        }
        Ok(Exit::Done.into())
    }
}
