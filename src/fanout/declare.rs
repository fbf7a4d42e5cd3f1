//! Endpoints from the configuration: brought in line at each start.
//!
//! A declared endpoint is known by tenant and URL. New ones are registered, known ones get the declared patterns,
//! description and secret (another secret than before is a rotation), and those no longer declared are disabled, so
//! that a restart with the same configuration changes nothing. One that its receiver has answered 410 for stays
//! disabled until a person enables it.

use std::time::Duration;

use super::endpoints::{
    EndpointError, SecretRow, check_description, check_tenant, parse_patterns, replace_secret, secret_columns, to_json,
};
use super::{FanoutState, Pattern, Secret};
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
    /// Its secret is not in the environment.
    #[error("fanout.endpoints[{index}]: the environment variable {variable} (secret_env) is not set")]
    NoSecret {
        /// Which one, from 0.
        index: usize,
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
        let id = keep(&mut tx, state, one, now).await?;
        keep_secret(&mut tx, state, &id, &one.secret, now)
            .await
            .map_err(|source| DeclareError::Endpoint { index, source })?;
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
        let text = variable(&config.secret_env)
            .ok_or_else(|| DeclareError::NoSecret { index, variable: config.secret_env.clone() })?;
        let one = check(state, config, &text).map_err(|source| DeclareError::Endpoint { index, source })?;
        if all.iter().any(|d| d.tenant == one.tenant && d.url == one.url) {
            return Err(DeclareError::Twice { index });
        }
        all.push(one);
    }
    Ok(all)
}

fn check(state: &FanoutState, config: &EndpointConfig, secret: &str) -> Result<Declared, EndpointError> {
    check_tenant(&config.tenant)?;
    check_description(&config.description)?;
    Ok(Declared {
        tenant: config.tenant.clone(),
        url: state.guard.check(&config.url)?.into(),
        description: config.description.clone(),
        patterns: parse_patterns(&config.event_types)?,
        secret: secret.parse()?,
    })
}

async fn keep(tx: &mut Tx, state: &FanoutState, one: &Declared, now: Timestamp) -> Result<String, sqlx::Error> {
    on_tx!(tx, conn => {
        // Zero rows: it stands there as declared.
        sqlx::query(
            "insert into endpoints (id, tenant, url, description, event_types, state, declared, created_at, updated_at)
             values ($1, $2, $3, $4, $5, 'enabled', 1, $6, $6)
             on conflict (tenant, url) where declared = 1 do update
             set description = excluded.description, event_types = excluded.event_types, updated_at = $6,
                 state = case when endpoints.reason = $7 then 'enabled' else endpoints.state end,
                 reason = case when endpoints.reason = $7 then null else endpoints.reason end
             where endpoints.description <> excluded.description or endpoints.event_types <> excluded.event_types
                or endpoints.reason = $7",
        )
        .bind(state.new_id("ep_", now))
        .bind(&one.tenant)
        .bind(&one.url)
        .bind(&one.description)
        .bind(to_json(&one.patterns))
        .bind(now.as_ms())
        .bind(UNDECLARED)
        .execute(&mut *conn)
        .await?;
        sqlx::query_scalar("select id from endpoints where tenant = $1 and url = $2 and declared = 1")
            .bind(&one.tenant)
            .bind(&one.url)
            .fetch_one(conn)
            .await
    })
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
