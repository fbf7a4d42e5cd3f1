//! `tidemill portal`: links to the consumers' page.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tidemill::admin::{Admin, Ask, Desk, Limit, May, Place};
use tidemill::clock::Timestamp;
use tidemill::portal::{Link, NewLink};

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Screen, Table};

/// Let a consumer see and change its endpoints on a page: make, list and take back links
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill portal link --tenant acme --hours 24
  tidemill portal links --tenant acme
  tidemill portal revoke lnk_0198c5b27f0070008000000000000000
  tidemill portal revoke --tenant acme          (all of them)

Whoever has a link is the consumer until it ends. The page is served by `tidemill serve` with portal.enabled and
portal.public_url; see docs/portal.md.

{EXIT_CODES}"))]
pub struct Portal {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a link; it is shown this once and kept nowhere
    Link {
        /// Whose endpoints it opens
        #[arg(long)]
        tenant: String,
        /// It ends after so many hours, 1 to 168 [default: portal.link_hours]
        #[arg(long, value_name = "HOURS", allow_negative_numbers = true)]
        hours: Option<u64>,
        /// Whoever comes in by it changes nothing
        #[arg(long)]
        read_only: bool,
    },
    /// List a tenant's links, ended ones too
    Links {
        /// Whose
        #[arg(long)]
        tenant: String,
        /// At most so many, 1 to 200
        #[arg(long, default_value = "50", allow_negative_numbers = true)]
        limit: Limit,
        /// Go on where the page before ended
        #[arg(long)]
        cursor: Option<Place>,
    },
    /// Take one link back, or all of a tenant; who came in by them is out at the next click
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Revoke {
        /// The link's id, from `portal links`
        #[arg(group = "which")]
        id: Option<String>,
        /// All links of this tenant
        #[arg(long, group = "which")]
        tenant: Option<String>,
    },
}

impl Portal {
    /// Does what was asked.
    ///
    /// # Errors
    /// When the page is off, a value is not allowed, the link is unknown or over, or the database did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::Link { tenant, hours, read_only } => {
                let made = desk.make_portal_link(&may, &NewLink { tenant, hours, read_only }).await?;
                if screen.is_json() {
                    screen.json(&json!({ "url": made.url.expose_secret(), "link": made.link }))?;
                } else {
                    screen.line(made.url.expose_secret())?;
                    let Link { id, expires_at, .. } = made.link;
                    let ends = screen.relative(expires_at);
                    screen.line(format!("{id}, ends {expires_at} ({ends}); this is the only time it is shown"))?;
                }
            }
            What::Links { tenant, limit, cursor } => {
                list(desk, &may, &tenant, &Ask { cursor, limit }, now, &mut screen).await?;
            }
            What::Revoke { id: Some(id), .. } => {
                let link = desk.revoke_portal_link(&may, &id).await?;
                if screen.is_json() {
                    screen.json(&link)?;
                } else {
                    screen.line(format!("{} of {} opens nothing any more", link.id, link.tenant))?;
                }
            }
            What::Revoke { id: None, tenant } => {
                let tenant = tenant.unwrap_or_default();
                let revoked = desk.revoke_portal_links(&may, &tenant).await?;
                if screen.is_json() {
                    screen.json(&json!({ "revoked": revoked }))?;
                } else {
                    screen.line(format!("{revoked} links of {tenant} open nothing any more"))?;
                }
            }
        }
        Ok(Exit::Done.into())
    }
}

async fn list(
    desk: &Desk,
    may: &May<Admin>,
    tenant: &str,
    ask: &Ask,
    now: Timestamp,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let page = desk.portal_links(may, tenant, ask).await?;
    if screen.is_json() {
        return Ok(screen.json(&page)?);
    }
    let mut table = Table::new(&["ID", "MADE", "BY", "RIGHTS", "OPENED", "STATE"].map(|n| (n, Align::Left)));
    for link in &page.items {
        let opened = link
            .last_opened_at
            .map_or_else(|| "never".to_owned(), |at| format!("{}x, last {}", link.opened, screen.relative(at)));
        table.row([
            link.id.clone(),
            screen.relative(link.created_at),
            link.made_by.clone(),
            if link.read_only { "read-only" } else { "changes" }.to_owned(),
            opened,
            state(link, now, screen),
        ]);
    }
    screen.table(&table, "no links yet: `tidemill portal link --tenant TENANT` makes one")?;
    if let Some(next) = &page.next {
        screen.line(format!("more: --cursor {next}"))?;
    }
    Ok(())
}

fn state(link: &Link, now: Timestamp, screen: &Screen<'_>) -> String {
    match link.revoked_at {
        Some(at) => format!("revoked {}", screen.relative(at)),
        None if link.expires_at <= now => format!("ended {}", screen.relative(link.expires_at)),
        None => format!("ends {}", screen.relative(link.expires_at)),
    }
}
