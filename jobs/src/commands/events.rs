//! `tidemill events`: publish an event by hand or from a script.

use std::io::{Read, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidemill::admin::{Desk, EventDraft};
use tidemill::clock::Timestamp;

use crate::cli::{Common, EXIT_CODES, Exit, Failure, Screen, read_json};

/// Publish events to the endpoints that asked for them
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill events publish --type invoice.paid --tenant acme --id evt_1 --data '{{\"amount_minor\": 1200}}'
  tidemill events publish --type invoice.paid --tenant acme --data @invoice.json
  jq -c . invoice.json | tidemill events publish --type invoice.paid --tenant acme --data - --idempotency-key in_1-paid

The event is durable when the command ends; a running worker brings it to its endpoints.
`tidemill event-types list` shows the declared types, `tidemill messages list` what was sent.

{EXIT_CODES}"))]
pub struct Events {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Publish one event; the same id again is the same event and is not sent twice
    Publish(Publish),
}

#[derive(Debug, Args)]
struct Publish {
    /// Its type, like invoice.paid
    #[arg(long = "type", value_name = "TYPE")]
    event_type: String,
    /// Whose event it is; only this tenant's endpoints get it
    #[arg(long, default_value = "default")]
    tenant: String,
    /// Your id for it [default: a new one, evt_…]
    #[arg(long)]
    id: Option<String>,
    /// What receivers get as `data`: JSON, @FILE, or - for standard input (these two stay out of the process list)
    #[arg(long, short, value_name = "JSON")]
    data: String,
    /// The same command again with this key publishes nothing and answers as before
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Events {
    /// Does what was asked.
    ///
    /// # Errors
    /// When a field is not allowed, the payload does not fit its type's schema, or the store did not take it.
    pub async fn run(
        self,
        desk: &Desk,
        now: Timestamp,
        input: &mut dyn Read,
        out: &mut dyn Write,
    ) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        let What::Publish(Publish { event_type, tenant, id, data, idempotency_key }) = self.what;
        let data = read_json("--data", &data, input)?;
        let payload =
            serde_json::from_str(data.get()).map_err(|e| Failure::Usage(format!("--data is no JSON: {e}")))?;
        let draft = EventDraft { id, event_type, tenant, payload };
        let done = desk.publish_draft(&may, draft, idempotency_key.as_deref()).await?;
        if screen.is_json() {
            screen.json(&done)?;
        } else if done.replayed {
            screen.line(format!("{} was published under this key before; nothing was published", done.event))?;
        } else if done.duplicate {
            screen.line(format!("{} was published before; nothing was published", done.event))?;
        } else {
            screen.line(format!("published {}, job {}", done.event, done.job))?;
        }
        Ok(Exit::Done.into())
    }
}
