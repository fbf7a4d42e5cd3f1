//! Endpoints: who wants which events, where, signed with what.
//!
//! A secret is handed out where it is made ([`create`], [`rotate_secret`]) and never again. During a rotation the old
//! secrets sign beside the new one until they run out; exactly one of an endpoint's secrets has no end.

use super::deliver::{Sending, SendingError, keep_sending};
use super::{FanoutState, Page, PageRequest, Scheme, Secret};
use crate::data::{Database, Tx};
use crate::{on_pool, on_tx};

mod change;
mod dress;
mod error;
mod headers;
mod matching;
mod one_header;
mod record;
mod secrets;
mod settings;
mod wardrobe;

pub use change::{EndpointChange, disable, enable, pause, update};
pub(super) use dress::{Dress, Stamp};
pub use error::EndpointError;
pub(super) use error::{check_description, check_tenant, invalid, parse_patterns};
pub(super) use headers::{HeadersRow, seal_headers};
pub(super) use matching::{Wish, wanting, wish_of};
pub use one_header::{HeaderChange, change_header};
pub(super) use record::{ASKED_TO_STOP, GONE, Row, SILENT_SINCE, endpoint_where, to_json};
pub use record::{Endpoint, EndpointState};
pub use secrets::{Rotation, SecretOnFile, current_secret, rotate_secret, secrets};
pub(super) use secrets::{SecretRow, SignerRow, replace_secret, seal, secret_columns, signer_columns};
use secrets::{add_secret, own_or_new};
pub use settings::{Texts, begun as begun_name};
pub(super) use settings::{check_dress, parse_filter};
use settings::{check_headers, check_metadata, check_prefix, check_together};
pub(super) use wardrobe::{Target, Wardrobe};

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
    /// Sent with every POST; kept sealed.
    pub headers: Texts,
    /// Also send the signature's headers under this prefix.
    pub header_prefix: Option<String>,
    /// Notes of one's own.
    pub metadata: Texts,
    /// How it is sent to.
    pub sending: Sending,
}

/// A new endpoint and, this once, its secret.
#[derive(Debug)]
pub struct Created {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its [`handed_out`](Secret::handed_out) is to be shown once.
    pub secret: Secret,
}

/// Registers an endpoint; its host is resolved and vetted.
///
/// # Errors
/// When a field is not allowed, the URL is refused, or the tenant has too many.
pub async fn create(state: &FanoutState, new: NewEndpoint) -> Result<Created, EndpointError> {
    create_among(state, new, state.config.max_endpoints).await
}

/// The same where the tenant may have `most` at most, and never more than `fanout.max_endpoints`.
///
/// # Errors
/// As [`create`].
pub async fn create_among(state: &FanoutState, new: NewEndpoint, most: u64) -> Result<Created, EndpointError> {
    check_tenant(&new.tenant)?;
    check_description(&new.description)?;
    let patterns = parse_patterns(&new.event_types)?;
    let filter = parse_filter(&new.filter)?;
    let prefix = new.header_prefix.as_deref().filter(|prefix| !prefix.is_empty());
    check_dress(&new.headers, prefix, &new.metadata)?;
    new.sending.check().map_err(SendingError::from)?;
    let secret = own_or_new(state, new.secret.as_deref(), new.scheme)?;
    let url = state.guard.vet(&new.url).await?;
    let now = state.clock.now();
    let id = state.new_id("ep_", now);
    let headers = seal_headers(state, &id, &new.headers)?;

    let mut tx = state.db.begin().await?;
    on_tx!(&mut tx, conn => {
        sqlx::query(
            "insert into endpoints (id, tenant, url, description, event_types, state, declared, created_at, updated_at,
               filter, headers, headers_key, headers_sealed, header_prefix, metadata)
             values ($1, $2, $3, $4, $5, 'enabled', 0, $6, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(&id)
        .bind(&new.tenant)
        .bind(url.as_str())
        .bind(&new.description)
        .bind(to_json(&patterns))
        .bind(now.as_ms())
        .bind(filter.map(|filter| filter.to_string()))
        .bind(headers.names)
        .bind(headers.key_id)
        .bind(headers.sealed)
        .bind(prefix)
        .bind(serde_json::json!(new.metadata).to_string())
        .execute(conn)
        .await?;
    });
    check_count(&mut tx, &new.tenant, most.min(state.config.max_endpoints)).await?;
    if new.sending != Sending::default() {
        keep_sending(&mut tx, &id, &new.sending, now).await?;
    }
    add_secret(&mut tx, state, &id, &secret, now).await?;
    let endpoint = read(&mut tx, &id).await?;
    tx.commit().await?;
    Ok(Created { endpoint, secret })
}

/// One endpoint.
///
/// # Errors
/// [`EndpointError::NoSuchEndpoint`].
pub async fn get(db: &Database, id: &str) -> Result<Endpoint, EndpointError> {
    let row: Option<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(endpoint_where!("e.id = $1"))
            .bind(id)
            .fetch_optional(pool)
            .await?
    });
    found(row, id)
}

/// One of the tenant's endpoints; another tenant's is as good as unknown.
///
/// # Errors
/// [`EndpointError::NoSuchEndpoint`].
pub async fn get_of(db: &Database, tenant: &str, id: &str) -> Result<Endpoint, EndpointError> {
    let row: Option<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(endpoint_where!("e.id = $1 and e.tenant = $2"))
            .bind(id)
            .bind(tenant)
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
        Some(tenant) => sqlx::query_as(endpoint_where!("e.tenant = $1 and e.id < $2 order by e.id desc limit $3"))
        .bind(tenant)
        .bind(below)
        .bind(look)
        .fetch_all(pool)
        .await?,
        None => sqlx::query_as(endpoint_where!("e.id < $1 order by e.id desc limit $2"))
            .bind(below)
            .bind(look)
            .fetch_all(pool)
            .await?,
    });
    let endpoints = rows.into_iter().map(Endpoint::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(endpoints, page, look, |e| &e.id, |_| true))
}

/// Forgets an endpoint and its secrets. What was delivered to it stays known.
///
/// # Errors
/// When there is no such endpoint.
pub async fn delete(db: &Database, id: &str) -> Result<(), EndpointError> {
    let rows = on_pool!(db.write(), pool => {
        sqlx::query("delete from endpoints where id = $1").bind(id).execute(pool).await?.rows_affected()
    });
    exists(rows, id)
}

/// Asked by whoever has just added one, inside the same write: no two can both be the last that fits.
pub(super) async fn check_count(tx: &mut Tx, tenant: &str, limit: u64) -> Result<(), EndpointError> {
    let count: i64 = on_tx!(tx, conn => {
        sqlx::query_scalar("select count(*) from endpoints where tenant = $1").bind(tenant).fetch_one(conn).await?
    });
    if u64::try_from(count).unwrap_or(0) <= limit {
        return Ok(());
    }
    Err(EndpointError::TooManyEndpoints { tenant: tenant.to_owned(), limit })
}

async fn read(tx: &mut Tx, id: &str) -> Result<Endpoint, EndpointError> {
    let row: Option<Row> = on_tx!(tx, conn => {
        sqlx::query_as(endpoint_where!("e.id = $1")).bind(id).fetch_optional(conn).await?
    });
    found(row, id)
}

fn found(row: Option<Row>, id: &str) -> Result<Endpoint, EndpointError> {
    row.ok_or_else(|| missing(id))?.try_into()
}

fn exists(rows: u64, id: &str) -> Result<(), EndpointError> {
    if rows == 1 { Ok(()) } else { Err(missing(id)) }
}

fn missing(id: &str) -> EndpointError {
    EndpointError::NoSuchEndpoint(id.chars().take(80).collect())
}
