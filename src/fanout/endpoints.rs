//! Endpoints: who wants which events, where, signed with what.
//!
//! A secret is handed out where it is made ([`create`], [`rotate_secret`]) and never again. During a rotation the old
//! secrets sign beside the new one until they run out; exactly one of an endpoint's secrets has no end.

use super::notices::{Notice, note};
use super::operational::ENDPOINT_DISABLED;
use super::{FanoutState, Page, PageRequest, Scheme, Secret};
use crate::data::{Database, Tx};
use crate::{on_pool, on_tx};

mod dress;
mod error;
mod matching;
mod record;
mod secrets;
mod settings;
mod wardrobe;

pub(super) use dress::{Dress, Stamp};
pub use error::EndpointError;
use error::{MAX_PER_TENANT, invalid};
pub(super) use error::{check_description, check_tenant, parse_patterns};
pub(super) use matching::{Wish, wanting, wish_of};
use record::Row;
pub(super) use record::to_json;
pub use record::{Endpoint, EndpointState};
pub use secrets::{Rotation, SecretOnFile, current_secret, rotate_secret, secrets};
pub(super) use secrets::{SecretRow, SignerRow, replace_secret, seal, secret_columns, signer_columns};
use secrets::{add_secret, own_or_new};
pub use settings::Texts;
use settings::{check_headers, check_metadata, check_prefix, check_together, parse_filter};
pub(super) use wardrobe::{Target, Wardrobe};

const MAX_REASON: usize = 200;

macro_rules! columns {
    () => {
        "id, tenant, url, description, event_types, filter, headers, header_prefix, metadata, pause_reason, state, reason, declared, created_at, updated_at"
    };
}

/// What is asked for a new endpoint.
#[derive(Clone, Debug, Default)]
pub struct NewEndpoint {
    /// Whose events it gets.
    pub tenant: String,
    /// Where they are POSTed.
    pub url: String,
    /// For people, at most 500 bytes.
    pub description: String,
    /// Patterns like `invoice.*`, 1 to 100; `*` for all.
    pub event_types: Vec<String>,
    /// A secret of one's own; without one it is made.
    pub secret: Option<String>,
    /// The scheme of a secret that is made.
    pub scheme: Scheme,
    /// Only events whose payload fits; empty for all. See [`Filter`](super::Filter).
    pub filter: String,
    /// Sent with every POST.
    pub headers: Texts,
    /// Also send the signature's headers under this prefix.
    pub header_prefix: Option<String>,
    /// Notes of one's own.
    pub metadata: Texts,
}

/// A new endpoint and, this once, its secret.
#[derive(Debug)]
pub struct Created {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its [`handed_out`](Secret::handed_out) is to be shown once.
    pub secret: Secret,
}

/// What shall change; `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointChange {
    /// Another URL.
    pub url: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Other patterns.
    pub event_types: Option<Vec<String>>,
    /// Another filter; empty for none.
    pub filter: Option<String>,
    /// Other headers instead of all there were.
    pub headers: Option<Texts>,
    /// Another prefix; empty for none.
    pub header_prefix: Option<String>,
    /// Other notes instead of all there were.
    pub metadata: Option<Texts>,
}

/// Registers an endpoint; its host is resolved and vetted.
///
/// # Errors
/// When a field is not allowed, the URL is refused, or the tenant has too many.
pub async fn create(state: &FanoutState, new: NewEndpoint) -> Result<Created, EndpointError> {
    check_tenant(&new.tenant)?;
    check_description(&new.description)?;
    let patterns = parse_patterns(&new.event_types)?;
    let filter = parse_filter(&new.filter)?;
    let prefix = new.header_prefix.as_deref().filter(|prefix| !prefix.is_empty());
    prefix.map(check_prefix).transpose()?;
    check_headers(&new.headers)?;
    check_together(&new.headers, prefix)?;
    check_metadata(&new.metadata)?;
    let secret = own_or_new(state, new.secret.as_deref(), new.scheme)?;
    let url = state.guard.vet(&new.url).await?;
    let now = state.clock.now();
    let id = state.new_id("ep_", now);

    let mut tx = state.db.begin().await?;
    if count_of_tenant(&mut tx, &new.tenant).await? >= MAX_PER_TENANT {
        return Err(EndpointError::TooManyEndpoints(new.tenant));
    }
    let row: Row = on_tx!(&mut tx, conn => {
        sqlx::query_as(concat!(
            "insert into endpoints (id, tenant, url, description, event_types, state, declared, created_at, updated_at,
               filter, headers, header_prefix, metadata)
             values ($1, $2, $3, $4, $5, 'enabled', 0, $6, $6, $7, $8, $9, $10) returning ",
            columns!()
        ))
        .bind(&id)
        .bind(&new.tenant)
        .bind(url.as_str())
        .bind(&new.description)
        .bind(to_json(&patterns))
        .bind(now.as_ms())
        .bind(filter.map(|filter| filter.to_string()))
        .bind(serde_json::json!(new.headers).to_string())
        .bind(prefix)
        .bind(serde_json::json!(new.metadata).to_string())
        .fetch_one(conn)
        .await?
    });
    add_secret(&mut tx, state, &id, &secret, now).await?;
    tx.commit().await?;
    Ok(Created { endpoint: row.try_into()?, secret })
}

/// One endpoint.
///
/// # Errors
/// [`EndpointError::NoSuchEndpoint`].
pub async fn get(db: &Database, id: &str) -> Result<Endpoint, EndpointError> {
    let row: Option<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(concat!("select ", columns!(), " from endpoints where id = $1"))
            .bind(id)
            .fetch_optional(pool)
            .await?
    });
    found(row, id)
}

/// A page of all endpoints, or of one tenant's.
///
/// # Errors
/// When the cursor is none.
pub async fn list(db: &Database, tenant: Option<&str>, page: &PageRequest) -> Result<Page<Endpoint>, EndpointError> {
    let (below, look) = (page.below("ep_")?, page.look(false));
    let rows: Vec<Row> = on_pool!(db.read(), pool => match tenant {
        Some(tenant) => sqlx::query_as(concat!(
            "select ", columns!(), " from endpoints where tenant = $1 and id < $2 order by id desc limit $3"
        ))
        .bind(tenant)
        .bind(below)
        .bind(look)
        .fetch_all(pool)
        .await?,
        None => sqlx::query_as(concat!("select ", columns!(), " from endpoints where id < $1 order by id desc limit $2"))
            .bind(below)
            .bind(look)
            .fetch_all(pool)
            .await?,
    });
    let endpoints = rows.into_iter().map(Endpoint::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(endpoints, page, look, |e| &e.id, |_| true))
}

/// Changes an endpoint; a new URL is resolved and vetted. Deliveries under way follow at their next attempt.
///
/// # Errors
/// As [`create`], and when there is no such endpoint.
pub async fn update(state: &FanoutState, id: &str, change: EndpointChange) -> Result<Endpoint, EndpointError> {
    if let Some(description) = &change.description {
        check_description(description)?;
    }
    let patterns = change.event_types.as_deref().map(parse_patterns).transpose()?;
    let url = match &change.url {
        Some(url) => Some(state.guard.vet(url).await?),
        None => None,
    };
    change.filter.as_deref().map(parse_filter).transpose()?;
    change.header_prefix.as_deref().filter(|prefix| !prefix.is_empty()).map(check_prefix).transpose()?;
    change.headers.as_ref().map(check_headers).transpose()?;
    change.metadata.as_ref().map(check_metadata).transpose()?;
    let texts = |texts: Option<Texts>| texts.map(|texts| serde_json::json!(texts).to_string());
    let mut tx = state.db.begin().await?;
    let row: Option<Row> = on_tx!(&mut tx, conn => {
        sqlx::query_as(concat!(
            "update endpoints
             set url = coalesce($2, url), description = coalesce($3, description),
                 event_types = coalesce($4, event_types), updated_at = $5, filter = nullif(coalesce($6, filter), ''),
                 headers = coalesce($7, headers), header_prefix = nullif(coalesce($8, header_prefix), ''),
                 metadata = coalesce($9, metadata)
             where id = $1 returning ",
            columns!()
        ))
        .bind(id)
        .bind(url.as_ref().map(url::Url::as_str))
        .bind(change.description)
        .bind(patterns.as_deref().map(to_json))
        .bind(state.clock.now().as_ms())
        .bind(change.filter)
        .bind(texts(change.headers))
        .bind(change.header_prefix)
        .bind(texts(change.metadata))
        .fetch_optional(conn)
        .await?
    });
    let changed = found(row, id)?;
    // Headers and prefix may have come with different calls.
    check_together(&changed.headers, changed.header_prefix.as_deref())?;
    tx.commit().await?;
    Ok(changed)
}

/// Sends it nothing more. Deliveries under way are cancelled at their next attempt.
///
/// # Errors
/// When there is no such endpoint or `reason` is empty or too long.
pub async fn disable(state: &FanoutState, id: &str, reason: &str) -> Result<Endpoint, EndpointError> {
    check_reason(reason)?;
    switch(state, id, "disabled", Some(reason), None).await
}

/// Holds its deliveries back until it is enabled again: they are opened, and wait.
///
/// # Errors
/// When there is no such endpoint or `reason` is empty or too long.
pub async fn pause(state: &FanoutState, id: &str, reason: &str) -> Result<Endpoint, EndpointError> {
    check_reason(reason)?;
    switch(state, id, "enabled", None, Some(reason)).await
}

/// Sends it events again, from the next one on. What waited while it was paused needs a
/// [recovery](super::recovery) of the backlog.
///
/// # Errors
/// When there is no such endpoint.
pub async fn enable(state: &FanoutState, id: &str) -> Result<Endpoint, EndpointError> {
    switch(state, id, "enabled", None, None).await
}

/// Forgets an endpoint and its secrets. What was delivered to it stays known.
///
/// # Errors
/// When there is no such endpoint.
pub async fn delete(db: &Database, id: &str) -> Result<(), EndpointError> {
    let rows = on_pool!(db.write(), pool => {
        sqlx::query("delete from endpoints where id = $1").bind(id).execute(pool).await?.rows_affected()
    });
    if rows == 1 { Ok(()) } else { Err(EndpointError::NoSuchEndpoint(id.to_owned())) }
}

fn check_reason(reason: &str) -> Result<(), EndpointError> {
    let fits = (1..=MAX_REASON).contains(&reason.len()) && !reason.contains('\0');
    if fits { Ok(()) } else { Err(invalid("reason", reason, "1 to 200 bytes without NUL")) }
}

async fn count_of_tenant(tx: &mut Tx, tenant: &str) -> Result<i64, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query_scalar("select count(*) from endpoints where tenant = $1").bind(tenant).fetch_one(conn).await
    })
}

async fn switch(
    state: &FanoutState,
    id: &str,
    to: &'static str,
    reason: Option<&str>,
    pause_reason: Option<&str>,
) -> Result<Endpoint, EndpointError> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let row: Option<Row> = on_tx!(&mut tx, conn => {
        sqlx::query_as(concat!(
            "update endpoints
             set state = $2, reason = $3, updated_at = $4, pause_reason = $5,
                 paused_at = case when $5 is null then null else coalesce(paused_at, $4) end
             where id = $1 returning ",
            columns!()
        ))
        .bind(id)
        .bind(to)
        .bind(reason)
        .bind(now.as_ms())
        .bind(pause_reason)
        .fetch_optional(conn)
        .await?
    });
    let changed = found(row, id)?;
    if changed.state == EndpointState::Disabled {
        let event_type = ENDPOINT_DISABLED;
        note(&mut tx, Notice { event_type, endpoint: id, delivery: None, reason, at: now }).await?;
    }
    tx.commit().await?;
    Ok(changed)
}

fn found(row: Option<Row>, id: &str) -> Result<Endpoint, EndpointError> {
    row.ok_or_else(|| EndpointError::NoSuchEndpoint(id.chars().take(80).collect()))?.try_into()
}
