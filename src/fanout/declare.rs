//! Endpoints from the configuration: brought in line at each start.
//!
//! A declared endpoint is known by tenant and URL. New ones are registered, known ones get all that is declared (another
//! secret than before is a rotation), and those no longer declared are disabled, so that a restart with the same
//! configuration changes nothing. One that its receiver has answered 410 for stays
//! disabled until a person enables it.

use std::time::Duration;

use super::deliver::{Sending, SendingError, keep_sending};
use super::endpoints::{
    Endpoint, EndpointError, Row, SecretRow, Texts, check_count, check_description, check_dress, check_tenant,
    endpoint_where, invalid, parse_filter, parse_patterns, replace_secret, seal_headers, secret_columns, to_json,
};
use super::{FanoutState, Filter, Pattern, Secret};
use crate::clock::Timestamp;
use crate::config::fanout::EndpointConfig;
use crate::data::Tx;
use crate::on_tx;

const UNDECLARED: &str = "it is no longer in the configuration";

/// An endpoint of the configuration that can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// A field is not allowed.
    #[error("fanout.endpoints[{index}]: {source}")]
    Endpoint {
        /// Which one, from 0.
        index: usize,
        /// What is wrong.
        source: EndpointError,
    },
    /// Its secret, or the value of a header, is not in the environment.
    #[error("fanout.endpoints[{index}]: the environment variable {variable} ({field}) is not set")]
    NoSecret {
        /// Which one, from 0.
        index: usize,
        /// `secret_env` or `headers_env.…`.
        field: String,
        /// The variable.
        variable: String,
    },
    /// Two are the same.
    #[error("fanout.endpoints[{index}] has the same tenant and URL as an earlier one; put their event_types together")]
    Twice {
        /// The later one, from 0.
        index: usize,
    },
    /// The database did not take them.
    #[error("the declared endpoints can't be kept: {0}")]
    Data(#[from] sqlx::Error),
}

struct Declared {
    tenant: String,
    url: String,
    description: String,
    patterns: Vec<Pattern>,
    filter: Option<Filter>,
    headers: Texts,
    header_prefix: Option<String>,
    metadata: Texts,
    sending: Sending,
    secret: Secret,
}

/// Brings the table in line with the configuration; `variable` looks up the environment. URLs are checked but not
/// resolved: a start must not wait for DNS, and each delivery vets the address anyway.
///
/// # Errors
/// Names the first endpoint that can't be kept; then nothing was changed.
pub async fn declare(state: &FanoutState, variable: impl Fn(&str) -> Option<String>) -> Result<(), DeclareError> {
    let all = read(state, &variable)?;
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    for (index, one) in all.iter().enumerate() {
        let kept = keep(&mut tx, state, one, now).await;
        kept.map_err(|source| DeclareError::Endpoint { index, source })?;
    }
    disable_others(&mut tx, &all, now).await?;
    Ok(tx.commit().await?)
}

/// Looks whether [`declare`] would keep them all, and changes nothing. Answers how many there are.
///
/// # Errors
/// Names the first endpoint that can't be kept.
pub fn check_declared(state: &FanoutState, variable: impl Fn(&str) -> Option<String>) -> Result<usize, DeclareError> {
    read(state, &variable).map(|all| all.len())
}

fn read(state: &FanoutState, variable: &impl Fn(&str) -> Option<String>) -> Result<Vec<Declared>, DeclareError> {
    let mut all: Vec<Declared> = Vec::new();
    for (index, config) in state.config.endpoints.iter().enumerate() {
        let from_environment = |field: String, name: &str| {
            variable(name).ok_or_else(|| DeclareError::NoSecret { index, field, variable: name.to_owned() })
        };
        let secret = from_environment("secret_env".to_owned(), &config.secret_env)?;
        let wrong = |source| DeclareError::Endpoint { index, source };
        let mut headers = config.headers.clone();
        for (name, from) in &config.headers_env {
            let value = from_environment(format!("headers_env.{name}"), from)?;
            if headers.insert(name.clone(), value).is_some() {
                return Err(wrong(invalid("headers_env", name, "names that do not stand in headers too")));
            }
        }
        let one = check(state, config, headers, &secret).map_err(wrong)?;
        if all.iter().any(|d| d.tenant == one.tenant && d.url == one.url) {
            return Err(DeclareError::Twice { index });
        }
        let (tenant, limit) = (&one.tenant, state.config.max_endpoints);
        let before = all.iter().filter(|d| d.tenant == *tenant).count();
        if u64::try_from(before).is_ok_and(|before| before >= limit) {
            return Err(wrong(EndpointError::TooManyEndpoints { tenant: tenant.clone(), limit }));
        }
        all.push(one);
    }
    Ok(all)
}

fn check(
    state: &FanoutState,
    config: &EndpointConfig,
    headers: Texts,
    secret: &str,
) -> Result<Declared, EndpointError> {
    check_tenant(&config.tenant)?;
    check_description(&config.description)?;
    check_dress(&headers, config.header_prefix.as_deref(), &config.metadata)?;
    config.sending.check().map_err(SendingError::from)?;
    Ok(Declared {
        tenant: config.tenant.clone(),
        url: state.guard.check(&config.url)?.into(),
        description: config.description.clone(),
        patterns: parse_patterns(&config.event_types)?,
        filter: parse_filter(&config.filter)?,
        headers,
        header_prefix: config.header_prefix.clone(),
        metadata: config.metadata.clone(),
        sending: config.sending.clone(),
        secret: secret.parse()?,
    })
}

impl Declared {
    /// Whether the row says the same; what was sealed is opened for it.
    fn is_kept_by(&self, row: Row, state: &FanoutState) -> Result<bool, EndpointError> {
        let headers = row.headers.open(state, row.id())?;
        let kept = Endpoint::try_from(row)?;
        Ok(kept.reason.as_deref() != Some(UNDECLARED)
            && headers == self.headers
            && kept.description == self.description
            && kept.event_types == self.patterns
            && kept.filter == self.filter
            && kept.header_prefix == self.header_prefix
            && kept.metadata == self.metadata
            && kept.sending == self.sending)
    }
}

/// The endpoint with all that is declared; a row that says so already stays untouched.
async fn keep(tx: &mut Tx, state: &FanoutState, one: &Declared, now: Timestamp) -> Result<(), EndpointError> {
    let row = stand_there(tx, state, one, now).await?;
    let id = row.id().to_owned();
    if !one.is_kept_by(row, state)? {
        write(tx, state, &id, one, now).await?;
        keep_sending(tx, &id, &one.sending, now).await?;
    }
    keep_secret(tx, state, &id, &one.secret, now).await
}

/// Its row, made if there is none; processes that start together end up with one.
async fn stand_there(tx: &mut Tx, state: &FanoutState, one: &Declared, now: Timestamp) -> Result<Row, EndpointError> {
    let made = on_tx!(&mut *tx, conn => {
        // Zero rows: it stands there.
        sqlx::query(
            "insert into endpoints (id, tenant, url, description, event_types, state, declared, created_at, updated_at)
             values ($1, $2, $3, $4, $5, 'enabled', 1, $6, $6)
             on conflict (tenant, url) where declared = 1 do nothing",
        )
        .bind(state.new_id("ep_", now))
        .bind(&one.tenant)
        .bind(&one.url)
        .bind(&one.description)
        .bind(to_json(&one.patterns))
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    if made > 0 {
        check_count(tx, &one.tenant, state.config.max_endpoints).await?;
    }
    Ok(on_tx!(tx, conn => {
        sqlx::query_as(endpoint_where!("e.tenant = $1 and e.url = $2 and e.declared = 1"))
            .bind(&one.tenant)
            .bind(&one.url)
            .fetch_one(conn)
            .await?
    }))
}

async fn write(
    tx: &mut Tx,
    state: &FanoutState,
    id: &str,
    one: &Declared,
    now: Timestamp,
) -> Result<(), EndpointError> {
    let headers = seal_headers(state, id, &one.headers)?;
    let rows = on_tx!(tx, conn => {
        sqlx::query(
            "update endpoints
             set description = $2, event_types = $3, updated_at = $4, filter = $6, headers = $7, headers_key = $8,
                 headers_sealed = $9, header_prefix = $10, metadata = $11,
                 state = case when reason = $5 then 'enabled' else state end,
                 reason = case when reason = $5 then null else reason end
             where id = $1",
        )
        .bind(id)
        .bind(&one.description)
        .bind(to_json(&one.patterns))
        .bind(now.as_ms())
        .bind(UNDECLARED)
        .bind(one.filter.as_ref().map(ToString::to_string))
        .bind(headers.names)
        .bind(headers.key_id)
        .bind(headers.sealed)
        .bind(one.header_prefix.as_deref())
        .bind(serde_json::json!(one.metadata).to_string())
        .execute(conn)
        .await?
        .rows_affected()
    });
    if rows == 1 { Ok(()) } else { Err(EndpointError::NoSuchEndpoint(id.to_owned())) }
}

async fn keep_secret(
    tx: &mut Tx,
    state: &FanoutState,
    endpoint: &str,
    secret: &Secret,
    now: Timestamp,
) -> Result<(), EndpointError> {
    let current: Option<SecretRow> = on_tx!(&mut *tx, conn => {
        sqlx::query_as(concat!(
            "select ", secret_columns!(), " from endpoint_secrets where endpoint_id = $1 and expires_at is null"
        ))
        .bind(endpoint)
        .fetch_optional(conn)
        .await?
    });
    let current = current.map(|row| row.open(state)).transpose()?;
    if current.is_some_and(|kept| kept.reveal() == secret.reveal()) {
        return Ok(());
    }
    let overlap = Duration::from_millis(state.config.rotation_overlap_ms);
    replace_secret(tx, state, endpoint, secret, overlap, now).await
}

async fn disable_others(tx: &mut Tx, all: &[Declared], now: Timestamp) -> Result<(), sqlx::Error> {
    let kept: Vec<(String, String, String)> = on_tx!(&mut *tx, conn => {
        sqlx::query_as("select id, tenant, url from endpoints where declared = 1 and state = 'enabled'")
            .fetch_all(conn)
            .await?
    });
    for (id, ..) in kept.iter().filter(|(_, tenant, url)| !all.iter().any(|d| d.tenant == *tenant && d.url == *url)) {
        let rows = on_tx!(&mut *tx, conn => {
            sqlx::query("update endpoints set state = 'disabled', reason = $2, updated_at = $3 where id = $1")
                .bind(id)
                .bind(UNDECLARED)
                .bind(now.as_ms())
                .execute(conn)
                .await?
                .rows_affected()
        });
        tracing::info!(endpoint = id, rows, "disabled an endpoint that is no longer in the configuration");
    }
    Ok(())
}
