//! `tidemill webhooks`: list, show, redeliver what came in.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidemill::admin::{Admin, Desk, InboundOnDesk, InboxFilter, May, Place};
use tidemill::clock::Timestamp;

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Pages, Screen, Span};

/// Look at webhooks that came in; process them again. For webhooks out: endpoints, deliveries
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill webhooks list --source stripe --state unreadable
  tidemill webhooks show stripe evt_1
  tidemill webhooks redeliver stripe evt_1

{EXIT_CODES}"))]
pub struct Webhooks {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List webhooks, newest first, without their bodies
    List(List),
    /// Show one webhook with its headers and its body
    Show(One),
    /// Have a webhook processed again, by a new job
    Redeliver(One),
}

/// Names one webhook.
#[derive(Debug, Args)]
struct One {
    /// The source's name
    source: String,
    /// The sender's id of it
    id: String,
}

/// The filter of `webhooks list`.
#[derive(Debug, Args)]
struct List {
    /// Only from this source
    #[arg(long)]
    source: Option<String>,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only in this state: received, applied, superseded, ignored, unreadable
    #[arg(long, short)]
    state: Option<String>,
    /// Only of the last so long: 30m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    last: Option<Span>,
    #[command(flatten)]
    pages: Pages<Place>,
}

impl Webhooks {
    /// Does what was asked.
    ///
    /// # Errors
    /// When a webhook is not kept (any more), or the database or the store did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::List(filter) => list(desk, &may, filter, now, &mut screen).await,
            What::Show(One { source, id }) => show(&desk.inbound(&may, &source, &id).await?, &mut screen),
            What::Redeliver(One { source, id }) => {
                let ordered = desk.redeliver(&may, &source, &id).await?;
                if screen.is_json() {
                    screen.json(&ordered)?;
                } else if ordered.duplicate {
                    screen.line(format!("{}  is processing it again already", ordered.job))?;
                } else {
                    screen.line(format!("{}  will process it again", ordered.job))?;
                }
                Ok(Exit::Done.into())
            }
        }
    }
}

async fn list(
    desk: &Desk,
    may: &May<Admin>,
    filter: List,
    now: Timestamp,
    screen: &mut Screen<'_>,
) -> Result<ExitCode, Failure> {
    use Align::{Left, Right};
    let List { source, event_type, state, last, pages } = filter;
    let since = last.map(|span| now.before(span.0));
    let filter = InboxFilter { source, event_type, state, since, until: None };
    let page = desk.inbox(may, &filter, &pages.into()).await?;
    let columns = [
        ("SOURCE", Left),
        ("ID", Left),
        ("TYPE", Left),
        ("STATE", Left),
        ("RECEIVED", Left),
        ("AGAIN", Right),
        ("DIFFERING", Right),
    ];
    screen.page(&page, &columns, "no such webhooks", |webhook, screen| {
        vec![
            webhook.source.clone(),
            webhook.event_id.clone(),
            webhook.event_type.clone(),
            webhook.state.clone(),
            screen.relative(webhook.received_at),
            webhook.duplicates.to_string(),
            webhook.differing.to_string(),
        ]
    })?;
    Ok(Exit::Done.into())
}

fn show(shown: &InboundOnDesk, screen: &mut Screen<'_>) -> Result<ExitCode, Failure> {
    if screen.is_json() {
        screen.json(shown)?;
        return Ok(Exit::Done.into());
    }
    let webhook = &shown.webhook;
    let time = |at: Timestamp| format!("{at} ({})", screen.relative(at));
    let job_state = shown.job_state.map_or_else(|| "not kept any more".to_owned(), |state| state.to_string());
    screen.facts([
        ("source", webhook.source.clone()),
        ("id", webhook.event_id.clone()),
        ("type", webhook.event_type.clone()),
        ("state", webhook.state.clone()),
        ("received", time(webhook.received_at)),
        ("finished", webhook.finished_at.map(time).unwrap_or_default()),
        ("verified", webhook.verified_with.clone().unwrap_or_default()),
        ("job", webhook.job.map(|job| format!("{job}, {job_state}")).unwrap_or_default()),
        ("again", format!("{} times the same, {} times differing", webhook.duplicates, webhook.differing)),
        ("last again", webhook.last_duplicate_at.map(time).unwrap_or_default()),
        ("redelivered", format!("{} times", webhook.redeliveries)),
    ])?;
    let Some(content) = &shown.content else { return Ok(Exit::Done.into()) };
    for (name, value) in &content.headers {
        screen.line(format!("{:<11}  {name}: {value}", "header"))?;
    }
    let body = String::from_utf8_lossy(content.body.as_bytes());
    screen.line(format!("{:<11}  {body}", "body"))?;
    Ok(Exit::Done.into())
}
