//! `tidemill endpoints`: where webhooks go out to. List, show, add, edit, pause, disable, enable, delete, secrets, test.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use tidemill::admin::{Desk, EndpointPatch};
use tidemill::clock::Timestamp;
use tidemill::fanout::endpoints::{NewEndpoint, Rotation};
use tidemill::fanout::{Scheme, Secret, Sending};

use crate::cli::{Common, EXIT_CODES, Exit, Failure, Pages, Screen, Span};

mod fields;
mod look;

use fields::{Fields, read_line};
use look::{list, show};

/// Look at endpoints, where webhooks go out to; add, edit, pause or test them
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill endpoints add https://example.com/hooks --tenant acme --event 'invoice.*' --rate 100/60s
  tidemill endpoints list --tenant acme
  tidemill endpoints pause ep_… --reason 'they migrate until noon'
  tidemill endpoints test ep_…

A secret is printed where it is made (`add`, `rotate-secret`) and where it is asked for
(`reveal-secret`, which the audit log keeps), nowhere else.
What was sent: `tidemill deliveries`. Sending again: `tidemill recoveries`.

{EXIT_CODES}"))]
pub struct Endpoints {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List endpoints, newest first
    List {
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        pages: Pages<String>,
    },
    /// Show one endpoint with its secrets' ages
    Show(One),
    /// Register an endpoint; its secret is printed this once
    Add(Box<Add>),
    /// Change an endpoint; what is not named stays
    Edit(Box<Edit>),
    /// Hold its deliveries back; they are kept, and wait until it is enabled
    Pause(Because),
    /// Send it nothing more; what happens meanwhile is not kept for it
    Disable(Because),
    /// Send it events again; after a pause also what has waited
    #[command(alias = "resume")]
    Enable(One),
    /// Forget an endpoint for good; what was delivered to it stays known
    Delete {
        /// The endpoint's id, ep_…
        id: String,
        /// Yes, forget it
        #[arg(long)]
        yes: bool,
    },
    /// Give it a new secret, printed this once; the old ones sign beside it for a while
    RotateSecret {
        /// The endpoint's id, ep_…
        id: String,
        /// How long the old ones go on, at most 7d; 0s ends them at once [default: as configured, a day]
        #[arg(long, value_name = "SPAN", allow_hyphen_values = true)]
        overlap: Option<Span>,
        #[command(flatten)]
        secret: OwnSecret,
    },
    /// Print its current secret again; the audit log says who asked
    RevealSecret(One),
    /// Send it a test event
    Test {
        /// The endpoint's id, ep_…
        id: String,
        /// The example of this declared type instead
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
    },
}

/// Names one endpoint.
#[derive(Debug, Args)]
struct One {
    /// The endpoint's id, ep_…
    id: String,
}

/// Names one, and why.
#[derive(Debug, Args)]
struct Because {
    /// The endpoint's id, ep_…
    id: String,
    /// Why, for whoever looks at it next
    #[arg(long)]
    reason: String,
}

/// A secret that is brought along.
#[derive(Debug, Args)]
struct OwnSecret {
    /// v1 (HMAC-SHA256) or v1a (Ed25519) [default: v1, or that of the current secret]
    #[arg(long, value_name = "SCHEME")]
    signature: Option<Scheme>,
    /// A file with a secret of your own, whsec_… or whsk_… [default: one is made]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
}

#[derive(Debug, Args)]
struct Add {
    /// Where events are POSTed: https://…
    url: String,
    /// Which types it gets: invoice.paid, 'invoice.*', or '*' for all; may be given more than once
    #[arg(long = "event", short, value_name = "TYPE", required = true)]
    events: Vec<String>,
    /// Whose events it gets
    #[arg(long, default_value = "default")]
    tenant: String,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    secret: OwnSecret,
}

#[derive(Debug, Args)]
struct Edit {
    /// The endpoint's id, ep_…
    id: String,
    /// Another URL
    #[arg(long)]
    url: Option<String>,
    /// Other types in the place of those there were; may be given more than once
    #[arg(long = "event", short, value_name = "TYPE")]
    events: Vec<String>,
    #[command(flatten)]
    fields: Fields,
    /// Send no static headers any more
    #[arg(long, conflicts_with_all = ["headers", "header_files"])]
    no_headers: bool,
    /// Keep no notes any more
    #[arg(long, conflicts_with = "notes")]
    no_notes: bool,
}

impl Endpoints {
    /// Does what was asked.
    ///
    /// # Errors
    /// When there is no such endpoint, a field is not allowed, or the database did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::List { tenant, pages } => list(desk, &may, tenant.as_deref(), pages, &mut screen).await?,
            What::Show(One { id }) => show(desk, &may, &id, &mut screen).await?,
            What::Add(add) => {
                let made = desk.create_endpoint(&may, add.read()?).await?;
                let shown_once = json!({ "endpoint": made.endpoint, "secret": made.secret.handed_out() });
                let about = format!("{} is registered", made.endpoint.id);
                hand_out(&mut screen, &made.secret, &shown_once, &about)?;
            }
            What::Edit(edit) => {
                let (id, patch) = edit.read()?;
                let changed = desk.change_endpoint(&may, &id, patch).await?;
                screen.say(&changed, format!("{id} is changed; deliveries under way follow at their next attempt"))?;
            }
            What::Pause(Because { id, reason }) => {
                let paused = desk.change_endpoint(&may, &id, state("paused", Some(reason))).await?;
                screen.say(&paused, format!("{id} is paused; what comes for it waits"))?;
            }
            What::Disable(Because { id, reason }) => {
                let disabled = desk.change_endpoint(&may, &id, state("disabled", Some(reason))).await?;
                screen.say(&disabled, format!("{id} is disabled; deliveries under way are cancelled"))?;
            }
            What::Enable(One { id }) => {
                let enabled = desk.change_endpoint(&may, &id, state("enabled", None)).await?;
                screen.say(&enabled, format!("{id} gets events again"))?;
            }
            What::Delete { id, yes: false } => {
                return Err(Failure::Usage(format!(
                    "this forgets {id} and its secrets for good: repeat it with --yes"
                )));
            }
            What::Delete { id, yes: true } => {
                desk.delete_endpoint(&may, &id).await?;
                screen.say(&json!({ "deleted": id }), format!("{id} is forgotten"))?;
            }
            What::RotateSecret { id, overlap, secret } => {
                let overlap = overlap.map(|span| span.0);
                let own = secret.secret_file.as_deref().map(read_line).transpose()?;
                let rotation = Rotation { secret: own, scheme: secret.signature, overlap };
                let new = desk.rotate_endpoint_secret(&may, &id, rotation).await?;
                reveal(&mut screen, &new, &format!("the new secret of {id}"))?;
            }
            What::RevealSecret(One { id }) => {
                let current = desk.reveal_endpoint_secret(&may, &id).await?;
                reveal(
                    &mut screen,
                    &current,
                    &format!("the current secret of {id}; the audit log has it that you asked"),
                )?;
            }
            What::Test { id, event_type } => {
                let message = desk.test_endpoint(&may, &id, event_type.as_deref()).await?;
                let next = format!("{message} is on its way: `tidemill messages show {message}`");
                screen.say(&json!({ "message": message }), next)?;
            }
        }
        Ok(Exit::Done.into())
    }
}

impl Add {
    fn read(self: Box<Self>) -> Result<NewEndpoint, Failure> {
        let secret = self.secret.secret_file.as_deref().map(read_line).transpose()?;
        Ok(NewEndpoint {
            headers: self.fields.headers()?.unwrap_or_default(),
            metadata: self.fields.notes()?.unwrap_or_default(),
            sending: self.fields.sending().unwrap_or_default().over(Sending::default()),
            tenant: self.tenant,
            url: self.url,
            description: self.fields.description.unwrap_or_default(),
            event_types: self.events,
            secret,
            scheme: self.secret.signature.unwrap_or_default(),
            filter: self.fields.filter.unwrap_or_default(),
            header_prefix: self.fields.header_prefix,
        })
    }
}

impl Edit {
    fn read(self: Box<Self>) -> Result<(String, EndpointPatch), Failure> {
        let headers = self.fields.headers()?.or_else(|| self.no_headers.then(Default::default));
        let metadata = self.fields.notes()?.or_else(|| self.no_notes.then(Default::default));
        let patch = EndpointPatch {
            url: self.url,
            description: self.fields.description.clone(),
            event_types: Some(self.events).filter(|events| !events.is_empty()),
            filter: self.fields.filter.clone(),
            headers,
            header_prefix: self.fields.header_prefix.clone(),
            metadata,
            sending: self.fields.sending(),
            ..EndpointPatch::default()
        };
        if patch == EndpointPatch::default() {
            return Err(Failure::Usage(
                "nothing is to be changed: name what, as `tidemill endpoints edit --help` says".into(),
            ));
        }
        Ok((self.id, patch))
    }
}

fn state(to: &str, reason: Option<String>) -> EndpointPatch {
    EndpointPatch { state: Some(to.to_owned()), reason, ..EndpointPatch::default() }
}

fn reveal(screen: &mut Screen<'_>, secret: &Secret, about: &str) -> std::io::Result<()> {
    let shown = json!({ "secret": secret.handed_out(), "signature": secret.scheme() });
    hand_out(screen, secret, &shown, about)
}

/// The secret on a line of its own, so that it can be piped.
fn hand_out(screen: &mut Screen<'_>, secret: &Secret, json: &serde_json::Value, about: &str) -> std::io::Result<()> {
    if screen.is_json() {
        return screen.json(json);
    }
    screen.line(secret.handed_out())?;
    screen.line(match secret.scheme() {
        Scheme::V1 => format!("{about}; keep the secret above, it is not shown again"),
        Scheme::V1a => format!("{about}; receivers verify with the public key above"),
    })
}
