//! Links to the consumers' page: made for one tenant, good until they end or are taken back.
//!
//! A link's text is signed and kept nowhere; its row says whose it is and whether it was taken back. The text alone opens
//! nothing: the row must stand, too. So a link of a database that was restored from before is good for nothing.

use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use sqlx::FromRow;
use url::Url;

use super::token::LinkText;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::config::portal::PortalConfig;
use crate::data::Database;
use crate::fanout::is_tenant;
use crate::on_pool;
use crate::sealing::Sealer;

const HOUR: Duration = Duration::from_secs(3600);
const MAX_HOURS: u64 = 7 * 24;
/// Links that have ended stay listed for so long.
const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

macro_rules! columns {
    () => {
        "id, tenant, read_only, made_by, created_at, expires_at, opened, last_opened_at, revoked_at"
    };
}

/// What is asked for a new link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewLink {
    /// Whose endpoints it opens.
    pub tenant: String,
    /// It ends after so many, 1 to 168; without it as configured.
    pub hours: Option<u64>,
    /// Whoever comes in by it changes nothing.
    pub read_only: bool,
}

/// A link as operators see it: without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// `lnk_…`.
    pub id: String,
    /// Whose endpoints it opens.
    pub tenant: String,
    /// Whoever comes in by it changes nothing.
    pub read_only: bool,
    /// Who made it.
    pub made_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, and with it every session that it began.
    pub expires_at: Timestamp,
    /// How often it was opened.
    pub opened: u64,
    /// When it was opened last.
    pub last_opened_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// A new link and, this once, its text.
#[derive(Debug)]
pub struct MadeLink {
    /// The link.
    pub link: Link,
    /// What to hand to the consumer. Whoever has it is the consumer.
    pub url: SecretString,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The page is off, or nothing is there to sign with.
    #[error(
        "the consumers' page is off: set portal.enabled and portal.public_url, and give the data key as the service has it"
    )]
    Off,
    /// A field is out of range.
    #[error("{field} is {value}; allowed: {allowed}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What was given, cut at 80 characters.
        value: String,
        /// What would be accepted.
        allowed: &'static str,
    },
    /// There is none with this id.
    #[error("there is no link `{0}`")]
    NoSuchLink(String),
    /// It has ended, or was taken back before.
    #[error("link `{0}` is over already")]
    Over(String),
    /// The database did not answer.
    #[error("the database did not answer: {0}")]
    Data(#[from] sqlx::Error),
}

/// Makes links, lists them, takes them back, and lets people in by them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Links {
    db: Database,
    sealer: Sealer,
    base: Url,
    hours: u64,
    clock: Clock,
    entropy: Entropy,
}

impl Links {
    /// Links that lead to `base`, signed with the data key.
    pub fn new(db: Database, sealer: Sealer, base: Url, config: &PortalConfig, clock: Clock, entropy: Entropy) -> Self {
        Self { db, sealer, base, hours: config.link_hours, clock, entropy }
    }

    /// The same, with links that lead to another address.
    #[must_use]
    pub fn leading_to(self, base: Url) -> Self {
        Self { base, ..self }
    }

    /// Makes a link.
    ///
    /// # Errors
    /// When the tenant is none, or the time is out of range.
    pub async fn make(&self, new: &NewLink, by: &str) -> Result<MadeLink, LinkError> {
        let invalid = |field, value: &str, allowed| {
            Err(LinkError::Invalid {
                field,
                value: format!("`{}`", value.chars().take(80).collect::<String>()),
                allowed,
            })
        };
        if !is_tenant(&new.tenant) {
            return invalid("tenant", &new.tenant, "1 to 64 of a-z A-Z 0-9 _ - .");
        }
        let hours = new.hours.unwrap_or(self.hours);
        if !(1..=MAX_HOURS).contains(&hours) {
            return invalid("hours", &hours.to_string(), "1 to 168, which is 7 days");
        }
        let now = self.clock.now();
        let id = format!("lnk_{}", self.entropy.uuid_at(now).simple());
        let expires_at = now.after(HOUR * u32::try_from(hours).unwrap_or(1));
        let row: Row = on_pool!(self.db.write(), pool => {
            // Zero rows are fine: nothing is old enough. So the table holds what 90 days of making have made.
            sqlx::query(
                "delete from portal_links where id in
                   (select id from portal_links where expires_at < $1 order by expires_at limit 100)",
            )
            .bind(now.before(KEPT_FOR).as_ms())
            .execute(pool)
            .await?;
            sqlx::query_as(concat!(
                "insert into portal_links (id, tenant, read_only, made_by, created_at, expires_at)
                 values ($1, $2, $3, $4, $5, $6) returning ",
                columns!()
            ))
            .bind(&id)
            .bind(&new.tenant)
            .bind(i64::from(new.read_only))
            .bind(by)
            .bind(now.as_ms())
            .bind(expires_at.as_ms())
            .fetch_one(pool)
            .await?
        });
        let text = LinkText { tenant: new.tenant.clone(), id, expires_at }.sign(&self.sealer);
        let url = format!("{}portal/open/{text}", self.base);
        Ok(MadeLink { link: row.into(), url: url.into() })
    }

    /// At most `limit` links of a tenant below `below`, newest first.
    ///
    /// # Errors
    /// When the database did not answer.
    pub async fn list(&self, tenant: &str, below: Option<&str>, limit: u32) -> Result<Vec<Link>, LinkError> {
        let rows: Vec<Row> = on_pool!(self.db.read(), pool => {
            sqlx::query_as(concat!(
                "select ", columns!(), " from portal_links where tenant = $1 and id < $2 order by id desc limit $3"
            ))
            .bind(tenant)
            .bind(below.unwrap_or("lnk_g"))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?
        });
        Ok(rows.into_iter().map(Link::from).collect())
    }

    /// Takes one link back; whoever came in by it is out at the next click.
    ///
    /// # Errors
    /// When there is none, or it is over already.
    pub async fn revoke(&self, id: &str) -> Result<Link, LinkError> {
        let now = self.clock.now();
        let row: Option<Row> = on_pool!(self.db.write(), pool => {
            sqlx::query_as(concat!(
                "update portal_links set revoked_at = $2 where id = $1 and revoked_at is null and expires_at > $2 returning ",
                columns!()
            ))
            .bind(id)
            .bind(now.as_ms())
            .fetch_optional(pool)
            .await?
        });
        if let Some(row) = row {
            return Ok(row.into());
        }
        let known: Option<i64> = on_pool!(self.db.read(), pool => {
            sqlx::query_scalar("select 1 from portal_links where id = $1").bind(id).fetch_optional(pool).await?
        });
        let id = id.chars().take(80).collect();
        Err(if known.is_some() { LinkError::Over(id) } else { LinkError::NoSuchLink(id) })
    }

    /// Takes all links of a tenant back; how many that were.
    ///
    /// # Errors
    /// When the database did not answer.
    pub async fn revoke_all(&self, tenant: &str) -> Result<u64, LinkError> {
        let now = self.clock.now();
        Ok(on_pool!(self.db.write(), pool => {
            sqlx::query(
                "update portal_links set revoked_at = $2 where tenant = $1 and revoked_at is null and expires_at > $2",
            )
            .bind(tenant)
            .bind(now.as_ms())
            .execute(pool)
            .await?
            .rows_affected()
        }))
    }

    /// Lets somebody in by a link; `None`: it has ended, or was taken back.
    pub(super) async fn enter(&self, said: &LinkText) -> Result<Option<Link>, sqlx::Error> {
        let now = self.clock.now();
        if said.expires_at <= now {
            return Ok(None);
        }
        let row: Option<Row> = on_pool!(self.db.write(), pool => {
            sqlx::query_as(concat!(
                "update portal_links set opened = opened + 1, last_opened_at = $4
                 where id = $1 and tenant = $2 and expires_at = $3 and revoked_at is null returning ",
                columns!()
            ))
            .bind(&said.id)
            .bind(&said.tenant)
            .bind(said.expires_at.as_ms())
            .bind(now.as_ms())
            .fetch_optional(pool)
            .await?
        });
        Ok(row.map(Link::from))
    }

    /// A tenant's link that is good now.
    pub(super) async fn standing(&self, tenant: &str, id: &str) -> Result<Option<Link>, sqlx::Error> {
        let row: Option<Row> = on_pool!(self.db.read(), pool => {
            sqlx::query_as(concat!(
                "select ", columns!(), " from portal_links
                 where id = $1 and tenant = $2 and expires_at > $3 and revoked_at is null"
            ))
            .bind(id)
            .bind(tenant)
            .bind(self.clock.now().as_ms())
            .fetch_optional(pool)
            .await?
        });
        Ok(row.map(Link::from))
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    tenant: String,
    read_only: i64,
    made_by: String,
    created_at: i64,
    expires_at: i64,
    opened: i64,
    last_opened_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl From<Row> for Link {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            tenant: row.tenant,
            read_only: row.read_only != 0,
            made_by: row.made_by,
            created_at: Timestamp::from_ms(row.created_at),
            expires_at: Timestamp::from_ms(row.expires_at),
            opened: u64::try_from(row.opened).unwrap_or(0),
            last_opened_at: row.last_opened_at.map(Timestamp::from_ms),
            revoked_at: row.revoked_at.map(Timestamp::from_ms),
        }
    }
}
