//! An endpoint's secrets: one current, and those that a rotation left behind until they run out.

use std::time::Duration;

use super::super::{FanoutState, InvalidSecret, Secret};
use super::EndpointError;
use super::error::MAX_LIVE_SECRETS;
use crate::clock::Timestamp;
use crate::data::{Database, Tx};
use crate::{on_pool, on_tx};

/// Makes `secret`, or a new one, the endpoint's current one. The others sign beside it for the configured overlap.
///
/// # Errors
/// When there is no such endpoint, the secret is none, or too many are alive.
pub async fn rotate_secret(state: &FanoutState, id: &str, secret: Option<&str>) -> Result<Secret, EndpointError> {
    let secret = own_or_new(state, secret)?;
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let known: Option<i64> = on_tx!(&mut tx, conn => {
        sqlx::query_scalar("select 1 from endpoints where id = $1").bind(id).fetch_optional(conn).await?
    });
    if known.is_none() {
        return Err(EndpointError::NoSuchEndpoint(id.to_owned()));
    }
    replace_secret(&mut tx, state, id, &secret, now).await?;
    tx.commit().await?;
    Ok(secret)
}

/// The secrets that sign now, the current one first.
pub(in super::super) async fn live_secrets(
    db: &Database,
    endpoint: &str,
    now: Timestamp,
) -> anyhow::Result<Vec<Secret>> {
    let texts: Vec<String> = on_pool!(db.read(), pool => {
        sqlx::query_scalar(
            "select secret from endpoint_secrets
             where endpoint_id = $1 and (expires_at is null or expires_at > $2)
             order by case when expires_at is null then 0 else 1 end, id desc",
        )
        .bind(endpoint)
        .bind(now.as_ms())
        .fetch_all(pool)
        .await?
    });
    Ok(texts.iter().map(|t| t.parse()).collect::<Result<_, _>>()?)
}

/// Ends the current secret after the overlap, takes away those that have run out, and adds `secret`.
pub(in super::super) async fn replace_secret(
    tx: &mut Tx,
    state: &FanoutState,
    endpoint: &str,
    secret: &Secret,
    now: Timestamp,
) -> Result<(), EndpointError> {
    let ends_at = now.after(Duration::from_millis(state.config.rotation_overlap_ms)).as_ms();
    let live: i64 = on_tx!(&mut *tx, conn => {
        // Zero rows of either are fine: nothing has run out, or the endpoint is new.
        sqlx::query("delete from endpoint_secrets where endpoint_id = $1 and expires_at <= $2")
            .bind(endpoint)
            .bind(now.as_ms())
            .execute(&mut *conn)
            .await?;
        sqlx::query("update endpoint_secrets set expires_at = $2 where endpoint_id = $1 and expires_at is null")
            .bind(endpoint)
            .bind(ends_at)
            .execute(&mut *conn)
            .await?;
        sqlx::query_scalar("select count(*) from endpoint_secrets where endpoint_id = $1")
            .bind(endpoint)
            .fetch_one(conn)
            .await?
    });
    if live >= MAX_LIVE_SECRETS {
        return Err(EndpointError::TooManySecrets(endpoint.to_owned()));
    }
    Ok(add_secret(tx, state, endpoint, secret, now).await?)
}

pub(super) async fn add_secret(
    tx: &mut Tx,
    state: &FanoutState,
    endpoint: &str,
    secret: &Secret,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query("insert into endpoint_secrets (id, endpoint_id, secret, created_at) values ($1, $2, $3, $4)")
            .bind(state.new_id("sec_", now))
            .bind(endpoint)
            .bind(secret.reveal())
            .bind(now.as_ms())
            .execute(conn)
            .await?;
    });
    Ok(())
}

pub(super) fn own_or_new(state: &FanoutState, own: Option<&str>) -> Result<Secret, InvalidSecret> {
    own.map_or_else(|| Ok(Secret::generate(&state.entropy)), str::parse)
}
