//! `tidemill keys`: create, list, revoke.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tidemill::admin::{Admin, Ask, Desk, KeyId, KeyRecord, May, Place, Role};
use tidemill::clock::Timestamp;

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Pages, Screen, Span};

/// Make, list and revoke API keys
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill keys create grafana --role viewer --expires-in 90d
  KEY=$(tidemill keys create deploy --role operator --json | jq -r .key)
  tidemill keys revoke 0123456789ab

Roles: viewer looks; operator also pauses, retries, cancels, enqueues and runs; admin also purges, deletes,
makes keys and endpoints, and reads the audit log.

{EXIT_CODES}"))]
pub struct Keys {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a key; it is shown this once and kept nowhere
    Create {
        /// What it is for
        name: String,
        /// What it allows: viewer, operator, admin
        #[arg(long)]
        role: Role,
        /// It stops after this, like 90d; without it, it does not expire
        #[arg(long, value_name = "SPAN", allow_hyphen_values = true)]
        expires_in: Option<Span>,
    },
    /// List all keys, revoked and expired ones too
    List(Pages<Place>),
    /// Take a key back; it opens nothing from this moment on
    Revoke {
        /// The key's id: the middle part of `tm_<id>_…`
        id: KeyId,
    },
}

impl Keys {
    /// Does what was asked.
    ///
    /// # Errors
    /// When the key is unknown, revoked already, or the database did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::Create { name, role, expires_in } => {
                let expires_at = expires_in.map(|span| now.after(span.0));
                let (record, key) = desk.create_key(&may, &name, role, expires_at).await?;
                if screen.is_json() {
                    screen.json(&json!({ "key": key.expose_secret(), "record": record }))?;
                } else {
                    screen.line(key.expose_secret())?;
                    screen
                        .line(format!("id {}, role {}; this is the only time it is shown", record.id, record.role))?;
                }
            }
            What::List(pages) => list(desk, &may, &pages.into(), now, &mut screen).await?,
            What::Revoke { id } => {
                let record = desk.revoke_key(&may, &id).await?;
                screen.say(&record, format!("{id} ({}) is revoked and opens nothing any more", record.name))?;
            }
        }
        Ok(Exit::Done.into())
    }
}

async fn list(
    desk: &Desk,
    may: &May<Admin>,
    ask: &Ask,
    now: Timestamp,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let page = desk.keys(may, ask).await?;
    let columns = ["ID", "NAME", "ROLE", "MADE", "LAST USED", "STATE"].map(|name| (name, Align::Left));
    let none = "no keys yet: `tidemill keys create NAME --role ROLE` makes one";
    Ok(screen.page(&page, &columns, none, |key, screen| {
        vec![
            key.id.to_string(),
            key.name.clone(),
            key.role.to_string(),
            screen.relative(key.created_at),
            key.last_used_at.map_or_else(|| "never".to_owned(), |at| screen.relative(at)),
            state(key, now, screen),
        ]
    })?)
}

fn state(key: &KeyRecord, now: Timestamp, screen: &Screen<'_>) -> String {
    match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {}", screen.relative(at)),
        (None, Some(at)) if at <= now => format!("expired {}", screen.relative(at)),
        (None, Some(at)) => format!("expires {}", screen.relative(at)),
        (None, None) => String::new(),
    }
}
