//! `tidemill deliveries`: what was sent to whom, every POST of it, and sending one again.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use tidemill::admin::{Admin, Desk, May};
use tidemill::clock::Timestamp;
use tidemill::fanout::PageRequest;
use tidemill::fanout::history::{Delivery, DeliveryAttempt, DeliveryFilter, DeliveryState};

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Pages, Screen, each};

/// Attempts that `show` looks at; a schedule has fewer.
const ATTEMPTS: u32 = 200;

/// Look at webhooks that went out, with every POST; send one again
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill deliveries list --state exhausted
  tidemill deliveries show dlv_…
  tidemill deliveries resend dlv_…

To send again all that an endpoint did not get: `tidemill recoveries start`.

{EXIT_CODES}"))]
pub struct Deliveries {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List deliveries, newest first
    List(List),
    /// Show one delivery with its POSTs, newest first
    Show {
        /// The delivery's id, dlv_…
        id: String,
    },
    /// Send deliveries again, whatever has become of them
    Resend {
        /// The deliveries' ids, dlv_…
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// The filter of `deliveries list`.
#[derive(Debug, Args)]
struct List {
    /// Only of this message, msg_…
    #[arg(long)]
    message: Option<String>,
    /// Only to this endpoint, ep_…
    #[arg(long)]
    endpoint: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only in this state: pending, failed, succeeded, exhausted, cancelled
    #[arg(long, short)]
    state: Option<DeliveryState>,
    #[command(flatten)]
    pages: Pages<String>,
}

impl Deliveries {
    /// Does what was asked.
    ///
    /// # Errors
    /// When a delivery is not kept (any more), its endpoint is not enabled, or the database did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::List(List { message, endpoint, tenant, state, pages }) => {
                let filter = DeliveryFilter { message, endpoint, tenant, state };
                list(desk, &may, &filter, &pages.into(), &mut screen).await?;
            }
            What::Show { id } => show(desk, &may, &id, &mut screen).await?,
            What::Resend { ids } => {
                let resend = async |id: &String| {
                    let run = desk.resend(&may, id).await?;
                    Ok(format!("is sent again: `tidemill recoveries show {}`", run.id))
                };
                return each(&ids, &mut screen, resend).await;
            }
        }
        Ok(Exit::Done.into())
    }
}

/// A table of deliveries.
pub(super) async fn list(
    desk: &Desk,
    may: &May<Admin>,
    filter: &DeliveryFilter,
    page: &PageRequest,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    use Align::{Left, Right};
    let page = desk.deliveries(may, filter, page).await?;
    let columns = [
        ("ID", Left),
        ("STATE", Left),
        ("ENDPOINT", Left),
        ("MESSAGE", Left),
        ("POSTS", Right),
        ("LAST", Left),
        ("CHANGED", Left),
        ("NEXT", Left),
    ];
    Ok(screen.page(&page, &columns, "no such deliveries", |delivery, screen| {
        vec![
            delivery.id.clone(),
            delivery.state.to_string(),
            delivery.endpoint_id.clone(),
            delivery.message_id.clone(),
            delivery.attempts.to_string(),
            last(delivery),
            screen.relative(delivery.updated_at),
            delivery.next_at.map(|at| screen.relative(at)).unwrap_or_default(),
        ]
    })?)
}

async fn show(desk: &Desk, may: &May<Admin>, id: &str, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let delivery = desk.delivery(may, id).await?;
    let attempts = desk.attempts(may, id, &PageRequest { cursor: None, limit: ATTEMPTS }).await?.items;
    if screen.is_json() {
        return Ok(screen.json(&json!({ "delivery": delivery, "attempts": attempts }))?);
    }
    let time = |at: Timestamp| format!("{at} ({})", screen.relative(at));
    let facts = [
        ("id", delivery.id.clone()),
        ("state", delivery.state.to_string()),
        ("tenant", delivery.tenant.clone()),
        ("message", delivery.message_id.clone()),
        ("endpoint", delivery.endpoint_id.clone()),
        ("posts", delivery.attempts.to_string()),
        ("last", last(&delivery)),
        ("opened", time(delivery.created_at)),
        ("changed", time(delivery.updated_at)),
        ("next", delivery.next_at.map(time).unwrap_or_default()),
    ];
    screen.facts(facts)?;
    for attempt in &attempts {
        let words = in_words(attempt, screen);
        screen.facts([("post", words), ("reply", attempt.reply.clone())])?;
    }
    Ok(())
}

fn last(delivery: &Delivery) -> String {
    let status = delivery.last_status.map(|status| status.to_string());
    [status, delivery.last_error.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// `try 2, 5m ago: 503 from 203.0.113.7:443 in 31 ms (dns 2, connect 9, tls 11, first byte 30)`.
fn in_words(attempt: &DeliveryAttempt, screen: &Screen<'_>) -> String {
    let what = match (attempt.status, &attempt.error_class) {
        (Some(status), _) => status.to_string(),
        (None, Some(class)) => format!("{class}: {}", attempt.error.as_deref().unwrap_or_default()),
        (None, None) => "under way".to_owned(),
    };
    let from = attempt.address.as_deref().map(|address| format!(" from {address}")).unwrap_or_default();
    let phases = [
        ("dns", attempt.dns_ms),
        ("connect", attempt.connect_ms),
        ("tls", attempt.tls_ms),
        ("first byte", attempt.first_byte_ms),
    ];
    let phases: Vec<String> = phases.into_iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {ms}"))).collect();
    let phases = if phases.is_empty() { String::new() } else { format!(" ({})", phases.join(", ")) };
    let took = attempt.duration_ms.map(|ms| format!(" in {ms} ms{phases}")).unwrap_or_default();
    format!("try {}, {}: {what}{from}{took}", attempt.attempt, screen.relative(attempt.at))
}
