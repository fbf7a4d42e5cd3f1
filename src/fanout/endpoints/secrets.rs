//! An endpoint's secrets: one current, and those that a rotation left behind until they run out.
//!
//! They lie sealed, each for its own row, and are opened to sign, to compare, or for an admin who asks for one.

use std::time::Duration;

use serde::Serialize;
use sqlx::FromRow;

use super::super::{FanoutState, InvalidSecret, Scheme, Secret};
use super::EndpointError;
use super::error::{MAX_LIVE_SECRETS, invalid};
use crate::clock::Timestamp;
use crate::data::Tx;
use crate::sealing::Sealed;
use crate::{on_pool, on_tx};

const MAX_OVERLAP: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a rotation may say; all of it may be left out.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    /// A secret of one's own; without one it is made.
    pub secret: Option<String>,
    /// The new one's scheme; without it the current one's.
    pub scheme: Option<Scheme>,
    /// The old ones sign too for so long; without it as configured. At most 7 days; zero ends them at once.
    pub overlap: Option<Duration>,
}

/// A secret as operators see it: without its text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecretOnFile {
    /// `sec_…`.
    pub id: String,
    /// How it signs.
    #[serde(rename = "signature")]
    pub scheme: Scheme,
    /// Of `v1a`: what receivers verify with.
    pub public_key: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops signing; `None`: it is the current one.
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, FromRow)]
pub(in super::super) struct SecretRow {
    pub(in super::super) id: String,
    pub(in super::super) endpoint_id: String,
    secret: Option<String>,
    key_id: Option<String>,
    sealed: Option<Vec<u8>>,
    created_at: i64,
    expires_at: Option<i64>,
}

macro_rules! columns {
    () => {
        "id, endpoint_id, secret, key_id, sealed, created_at, expires_at"
    };
}
pub(in super::super) use columns as secret_columns;

/// A secret in a row of something else that may have none; `k` is the table.
#[derive(FromRow)]
pub(in super::super) struct SignerRow {
    secret_id: Option<String>,
    secret: Option<String>,
    key_id: Option<String>,
    sealed: Option<Vec<u8>>,
    secret_created_at: Option<i64>,
    secret_expires_at: Option<i64>,
}

macro_rules! signer_columns {
    () => {
        "k.id as secret_id, k.secret, k.key_id, k.sealed, k.created_at as secret_created_at, k.expires_at as secret_expires_at"
    };
}
pub(in super::super) use signer_columns;

impl SignerRow {
    /// The secret, if there is one.
    pub(in super::super) fn secret_of(self, endpoint: &str) -> Option<SecretRow> {
        Some(SecretRow {
            id: self.secret_id?,
            endpoint_id: endpoint.to_owned(),
            secret: self.secret,
            key_id: self.key_id,
            sealed: self.sealed,
            created_at: self.secret_created_at?,
            expires_at: self.secret_expires_at,
        })
    }
}

impl SecretRow {
    /// It signs no more.
    pub(in super::super) fn has_run_out(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now.as_ms())
    }
}

impl std::fmt::Debug for SecretRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretRow").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Makes another secret the endpoint's current one. The others sign beside it for the overlap.
///
/// # Errors
/// When there is no such endpoint, the secret is none, the overlap is too long, or too many secrets are alive.
pub async fn rotate_secret(state: &FanoutState, id: &str, rotation: Rotation) -> Result<Secret, EndpointError> {
    let overlap = rotation.overlap.unwrap_or(Duration::from_millis(state.config.rotation_overlap_ms));
    if overlap > MAX_OVERLAP {
        return Err(invalid("overlap_seconds", &overlap.as_secs().to_string(), "0 to 604800, which is 7 days"));
    }
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let current: Option<String> = on_tx!(&mut tx, conn => {
        sqlx::query_scalar("select scheme from endpoint_secrets where endpoint_id = $1 and expires_at is null")
            .bind(id)
            .fetch_optional(conn)
            .await?
    });
    let Some(current) = current else { return Err(EndpointError::NoSuchEndpoint(id.chars().take(80).collect())) };
    let scheme = rotation.scheme.or_else(|| current.parse().ok()).unwrap_or_default();
    let secret = own_or_new(state, rotation.secret.as_deref(), scheme)?;
    replace_secret(&mut tx, state, id, &secret, overlap, now).await?;
    tx.commit().await?;
    Ok(secret)
}

/// An endpoint's unexpired secrets without their texts, the current one first.
///
/// # Errors
/// When there is no such endpoint, or one of them can't be opened.
pub async fn secrets(state: &FanoutState, id: &str) -> Result<Vec<SecretOnFile>, EndpointError> {
    let rows = live_rows(state, id, state.clock.now()).await?;
    if rows.is_empty() {
        return Err(EndpointError::NoSuchEndpoint(id.chars().take(80).collect()));
    }
    let on_file = |row: &SecretRow| {
        let secret = row.open(state)?;
        let public = (secret.scheme() == Scheme::V1a).then(|| secret.handed_out().to_owned());
        Ok(SecretOnFile {
            id: row.id.clone(),
            scheme: secret.scheme(),
            public_key: public,
            created_at: Timestamp::from_ms(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_ms),
        })
    };
    rows.iter().map(on_file).collect()
}

/// The endpoint's current secret.
///
/// # Errors
/// When there is no such endpoint, or it can't be opened.
pub async fn current_secret(state: &FanoutState, id: &str) -> Result<Secret, EndpointError> {
    let rows = live_rows(state, id, state.clock.now()).await?;
    let row = rows.first().ok_or_else(|| EndpointError::NoSuchEndpoint(id.chars().take(80).collect()))?;
    row.open(state)
}

async fn live_rows(state: &FanoutState, endpoint: &str, now: Timestamp) -> Result<Vec<SecretRow>, sqlx::Error> {
    on_pool!(state.db.read(), pool => {
        sqlx::query_as(concat!(
            "select ", columns!(), " from endpoint_secrets
             where endpoint_id = $1 and (expires_at is null or expires_at > $2)
             order by case when expires_at is null then 0 else 1 end, id desc"
        ))
        .bind(endpoint)
        .bind(now.as_ms())
        .fetch_all(pool)
        .await
    })
}

/// Ends the current secret after the overlap, takes away those that have run out, and adds `secret`.
pub(in super::super) async fn replace_secret(
    tx: &mut Tx,
    state: &FanoutState,
    endpoint: &str,
    secret: &Secret,
    overlap: Duration,
    now: Timestamp,
) -> Result<(), EndpointError> {
    let ends_at = now.after(overlap).as_ms();
    let live: i64 = on_tx!(&mut *tx, conn => {
        // Zero rows are fine: the endpoint is new.
        sqlx::query("update endpoint_secrets set expires_at = $2 where endpoint_id = $1 and expires_at is null")
            .bind(endpoint)
            .bind(ends_at)
            .execute(&mut *conn)
            .await?;
        // An earlier overlap may have been longer than this one: who wants the old ones gone means all of them.
        sqlx::query("update endpoint_secrets set expires_at = $2 where endpoint_id = $1 and expires_at > $2")
            .bind(endpoint)
            .bind(ends_at)
            .execute(&mut *conn)
            .await?;
        sqlx::query("delete from endpoint_secrets where endpoint_id = $1 and expires_at <= $2")
            .bind(endpoint)
            .bind(now.as_ms())
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
    add_secret(tx, state, endpoint, secret, now).await
}

pub(super) async fn add_secret(
    tx: &mut Tx,
    state: &FanoutState,
    endpoint: &str,
    secret: &Secret,
    now: Timestamp,
) -> Result<(), EndpointError> {
    let id = state.new_id("sec_", now);
    let sealed = seal(state, &id, endpoint, secret)?;
    on_tx!(tx, conn => {
        sqlx::query(
            "insert into endpoint_secrets (id, endpoint_id, scheme, key_id, sealed, created_at)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id)
        .bind(endpoint)
        .bind(secret.scheme().as_str())
        .bind(sealed.key_id)
        .bind(sealed.bytes)
        .bind(now.as_ms())
        .execute(conn)
        .await?;
    });
    Ok(())
}

pub(super) fn own_or_new(state: &FanoutState, own: Option<&str>, scheme: Scheme) -> Result<Secret, InvalidSecret> {
    own.map_or_else(|| Ok(Secret::generate(scheme, &state.entropy)), str::parse)
}

pub(in super::super) fn seal(
    state: &FanoutState,
    id: &str,
    endpoint: &str,
    secret: &Secret,
) -> Result<Sealed, EndpointError> {
    let sealer = state.sealer();
    let sealed = sealer.and_then(|s| s.seal(&row_of(id, endpoint), &secret.reveal().into(), &state.entropy));
    sealed.map_err(|source| EndpointError::Sealed { id: id.to_owned(), source })
}

impl SecretRow {
    pub(in super::super) fn is_plain(&self) -> bool {
        self.secret.is_some()
    }

    /// The secret itself.
    pub(in super::super) fn open(&self, state: &FanoutState) -> Result<Secret, EndpointError> {
        let unreadable = |detail: &str| EndpointError::Corrupt { id: self.endpoint_id.clone(), detail: detail.into() };
        let text = match (&self.secret, &self.key_id, &self.sealed) {
            // From before secrets were sealed, and no process has started since that would have done it.
            (Some(text), ..) => text.clone().into(),
            (None, Some(key_id), Some(bytes)) => {
                let sealed = Sealed { key_id: key_id.clone(), bytes: bytes.clone() };
                let sealer = state.sealer();
                let opened = sealer.and_then(|s| s.open(&row_of(&self.id, &self.endpoint_id), &sealed));
                opened.map_err(|source| EndpointError::Sealed { id: self.id.clone(), source })?
            }
            (None, ..) => return Err(unreadable("a secret is neither sealed nor plain")),
        };
        secrecy::ExposeSecret::expose_secret(&text).parse().map_err(|_| unreadable("a kept secret is none"))
    }
}

/// What a sealed secret is bound to: moved to another row it does not open.
fn row_of(id: &str, endpoint: &str) -> String {
    format!("endpoint_secrets|{endpoint}|{id}")
}
