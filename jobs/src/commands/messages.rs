//! `tidemill messages`: events as they were published, and to whom each went.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use tidemill::admin::{Admin, Desk, May};
use tidemill::clock::Timestamp;
use tidemill::fanout::PageRequest;
use tidemill::fanout::history::DeliveryFilter;

use super::deliveries;
use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Pages, Screen};

/// Deliveries that `show` looks at.
const DELIVERIES: u32 = 200;

/// Look at published events, their bodies, and whom they went to
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill messages list --tenant acme
  tidemill messages show msg_…

{EXIT_CODES}"))]
pub struct Messages {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List messages, newest first, without their bodies
    List {
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        pages: Pages<String>,
    },
    /// Show one message with its body and its deliveries
    Show {
        /// The message's id, msg_…
        id: String,
    },
}

impl Messages {
    /// Does what was asked.
    ///
    /// # Errors
    /// When a message is not kept (any more), or the database did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::List { tenant, pages } => list(desk, &may, tenant.as_deref(), pages, &mut screen).await?,
            What::Show { id } => show(desk, &may, &id, &mut screen).await?,
        }
        Ok(Exit::Done.into())
    }
}

async fn list(
    desk: &Desk,
    may: &May<Admin>,
    tenant: Option<&str>,
    pages: Pages<String>,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    use Align::{Left, Right};
    let page = desk.messages(may, tenant, &pages.into()).await?;
    let columns = [
        ("ID", Left),
        ("TENANT", Left),
        ("TYPE", Left),
        ("EVENT", Left),
        ("BYTES", Right),
        ("PUBLISHED", Left),
        ("", Left),
    ];
    Ok(screen.page(&page, &columns, "no messages yet", |message, screen| {
        vec![
            message.id.clone(),
            message.tenant.clone(),
            message.event_type.clone(),
            message.event_id.clone(),
            message.body_bytes.to_string(),
            screen.relative(message.created_at),
            if message.fanned_at.is_none() { "being fanned out".to_owned() } else { String::new() },
        ]
    })?)
}

async fn show(desk: &Desk, may: &May<Admin>, id: &str, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let found = desk.message(may, id).await?;
    let filter = DeliveryFilter { message: Some(id.to_owned()), ..DeliveryFilter::default() };
    let page = PageRequest { cursor: None, limit: DELIVERIES };
    if screen.is_json() {
        let went = desk.deliveries(may, &filter, &page).await?;
        return Ok(screen.json(&json!({ "message": found.message, "body": found.body, "deliveries": went }))?);
    }
    let message = found.message;
    let time = |at: Timestamp| format!("{at} ({})", screen.relative(at));
    let facts = [
        ("id", message.id),
        ("tenant", message.tenant),
        ("type", message.event_type),
        ("event", message.event_id),
        ("published", time(message.created_at)),
        ("fanned out", message.fanned_at.map_or_else(|| "not yet".to_owned(), time)),
        ("body", found.body.map_or_else(String::new, |body| body.get().to_owned())),
    ];
    screen.facts(facts)?;
    screen.line("")?;
    deliveries::list(desk, may, &filter, &page, screen).await
}
