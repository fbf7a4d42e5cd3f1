//! API keys: `tm_<id>_<secret>`, made here, shown once, and known afterwards only by their SHA-256.
//!
//! The secret has 256 bits from [`Entropy`], so a fast hash is right: there is nothing to guess. A key is looked up by
//! its id and its digest compared in constant time; an unknown id is compared with a dummy, so that nobody learns from
//! time or text which half was wrong. A key stops with its expiry or, at once, when it is revoked. `last_used_at` is
//! written at most once a minute.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Role;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::data::Database;
use crate::on_pool;

const PREFIX: &str = "tm_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;
/// Prefix, id, `_`, secret.
const KEY_LEN: usize = PREFIX.len() + 2 * ID_BYTES + 1 + 2 * SECRET_BYTES;
/// Later years have five digits, or no calendar at all.
const EXPIRY_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
const LAST_USED_GRAIN: Duration = Duration::from_secs(60);

/// Why a key was not made, found or accepted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key must be called something.
    #[error("name is `{0}`; allowed: 1 to 100 characters without control characters")]
    Name(String),
    /// It would be expired from the beginning, or is further away than times can be written.
    #[error("expires_at is {0}; allowed: {allowed}", allowed = Self::EXPIRY_ALLOWED)]
    Expiry(Timestamp),
    /// No key has this id.
    #[error("there is no key `{0}`")]
    NoSuchKey(KeyId),
    /// It was revoked before.
    #[error("key `{0}` is revoked already")]
    AlreadyRevoked(KeyId),
    /// The presented text opens nothing: malformed, unknown, wrong, expired or revoked, and it is not said which.
    #[error("the key is not accepted")]
    Refused,
    /// The database did not answer.
    #[error("the keys can't be read or written: {0}")]
    Data(#[from] sqlx::Error),
}

impl KeyError {
    /// What an expiry may be.
    pub(super) const EXPIRY_ALLOWED: &str = "a time that lies ahead, by at most 100 years";
}

/// The public half of a key: twelve hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KeyId(Arc<str>);

/// Text that is no key id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a key id: {allowed}", allowed = Self::ALLOWED)]
pub struct InvalidKeyId(String);

impl InvalidKeyId {
    /// What would be accepted.
    pub const ALLOWED: &str = "twelve of 0-9 and a-f, the middle part of a key";
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        if is_lower_hex(text, 2 * ID_BYTES) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidKeyId(text.chars().take(80).collect()))
        }
    }
}

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A key as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRecord {
    /// Its public half.
    pub id: KeyId,
    /// What it is for.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops, if it does.
    pub expires_at: Option<Timestamp>,
    /// When it was last accepted, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

impl KeyRecord {
    /// False once it is expired or revoked.
    pub fn opens(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// Makes, checks and revokes keys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    db: Database,
    clock: Clock,
    entropy: Entropy,
}

type Row = (String, String, String, i64, Option<i64>, Option<i64>, Option<i64>);
type SecretRow = (Vec<u8>, String, String, i64, Option<i64>, Option<i64>, Option<i64>);

impl ApiKeys {
    /// Keys in `db`.
    pub fn new(db: Database, clock: Clock, entropy: Entropy) -> Self {
        Self { db, clock, entropy }
    }

    /// Makes a key. The text it returns is shown once and kept nowhere.
    ///
    /// # Errors
    /// When the name or the expiry is not acceptable.
    pub async fn create(
        &self,
        name: &str,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<(KeyRecord, SecretString), KeyError> {
        let now = self.clock.now();
        if name.trim().is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
            return Err(KeyError::Name(name.chars().filter(|c| !c.is_control()).take(100).collect()));
        }
        if let Some(at) = expires_at.filter(|at| *at <= now || at.since(now) > EXPIRY_MAX) {
            return Err(KeyError::Expiry(at));
        }
        let id = KeyId(self.random_hex::<ID_BYTES>().into());
        let text = format!("{PREFIX}{id}_{}", self.random_hex::<SECRET_BYTES>());
        let made = on_pool!(self.db.write(), pool => {
            sqlx::query(
                "insert into api_keys (id, name, role, digest, created_at, expires_at) values ($1, $2, $3, $4, $5, $6)",
            )
            .bind(id.as_str())
            .bind(name)
            .bind(role.as_str())
            .bind(digest(&text).as_slice())
            .bind(now.as_ms())
            .bind(expires_at.map(Timestamp::as_ms))
            .execute(pool)
            .await?
            .rows_affected()
        });
        if made != 1 {
            return Err(KeyError::Data(sqlx::Error::RowNotFound));
        }
        let record = KeyRecord {
            id,
            name: name.to_owned(),
            role,
            created_at: now,
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        Ok((record, text.into()))
    }

    /// The key that `presented` is, if it opens anything now.
    ///
    /// # Errors
    /// [`KeyError::Refused`] for every wrong key alike; [`KeyError::Data`] when the database did not answer.
    pub async fn verify(&self, presented: &str) -> Result<KeyRecord, KeyError> {
        // What has no key's shape is looked up and compared all the same, as a key that does not exist.
        let id = key_id_of(presented).unwrap_or("");
        let found: Option<SecretRow> = on_pool!(self.db.read(), pool => {
            sqlx::query_as(
                "select digest, name, role, created_at, expires_at, last_used_at, revoked_at from api_keys where id = $1",
            )
            .bind(id)
            .fetch_optional(pool)
            .await?
        });
        let known = found.as_ref().map_or([0_u8; 32].as_slice(), |row| row.0.as_slice());
        let matches = bool::from(digest(presented).as_slice().ct_eq(known));
        let Some((_, name, role, created_at, expires_at, last_used_at, revoked_at)) = found.filter(|_| matches) else {
            return Err(KeyError::Refused);
        };
        let row = (id.to_owned(), name, role, created_at, expires_at, last_used_at, revoked_at);
        let record = record(row)?;
        let now = self.clock.now();
        if !record.opens(now) {
            return Err(KeyError::Refused);
        }
        self.used(&record, now).await;
        Ok(record)
    }

    /// One key.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`] when there is none.
    pub async fn get(&self, id: &KeyId) -> Result<KeyRecord, KeyError> {
        let row: Option<Row> = on_pool!(self.db.read(), pool => {
            sqlx::query_as(
                "select id, name, role, created_at, expires_at, last_used_at, revoked_at from api_keys where id = $1",
            )
            .bind(id.as_str())
            .fetch_optional(pool)
            .await?
        });
        row.map(record).transpose()?.ok_or_else(|| KeyError::NoSuchKey(id.clone()))
    }

    /// At most `limit` keys in the order of their ids, after `after`.
    ///
    /// # Errors
    /// When the database did not answer.
    pub async fn list(&self, after: Option<&KeyId>, limit: u32) -> Result<Vec<KeyRecord>, KeyError> {
        let rows: Vec<Row> = on_pool!(self.db.read(), pool => {
            sqlx::query_as(
                "select id, name, role, created_at, expires_at, last_used_at, revoked_at from api_keys
                 where id > $1 order by id limit $2",
            )
            .bind(after.map_or("", KeyId::as_str))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(record).collect()
    }

    /// Takes a key back; it opens nothing from this moment on.
    ///
    /// # Errors
    /// When there is no such key, or it was revoked before.
    pub async fn revoke(&self, id: &KeyId) -> Result<KeyRecord, KeyError> {
        let changed = on_pool!(self.db.write(), pool => {
            sqlx::query("update api_keys set revoked_at = $1 where id = $2 and revoked_at is null")
                .bind(self.clock.now().as_ms())
                .bind(id.as_str())
                .execute(pool)
                .await?
                .rows_affected()
        });
        let record = self.get(id).await?;
        if changed == 1 { Ok(record) } else { Err(KeyError::AlreadyRevoked(id.clone())) }
    }

    async fn used(&self, key: &KeyRecord, now: Timestamp) {
        let stale = now.before(LAST_USED_GRAIN);
        if key.last_used_at.is_some_and(|at| at > stale) {
            return;
        }
        let written: Result<u64, sqlx::Error> = on_pool!(self.db.write(), pool => {
            sqlx::query(
                "update api_keys set last_used_at = $1 where id = $2 and (last_used_at is null or last_used_at <= $3)",
            )
            .bind(now.as_ms())
            .bind(key.id.as_str())
            .bind(stale.as_ms())
            .execute(pool)
            .await
            .map(|done| done.rows_affected())
        });
        // No row: another request wrote it in the meantime. A note that can't be written keeps nobody out.
        if let Err(error) = written {
            tracing::warn!(key.id = %key.id, %error, "when the key was last used could not be written");
        }
    }

    fn random_hex<const N: usize>(&self) -> String {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        hex::encode(bytes)
    }
}

fn key_id_of(presented: &str) -> Option<&str> {
    let (id, secret) = presented.strip_prefix(PREFIX)?.split_once('_')?;
    let fits = presented.len() == KEY_LEN && is_lower_hex(id, 2 * ID_BYTES) && is_lower_hex(secret, 2 * SECRET_BYTES);
    fits.then_some(id)
}

fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn record((id, name, role, created_at, expires_at, last_used_at, revoked_at): Row) -> Result<KeyRecord, KeyError> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| KeyError::Data(sqlx::Error::Decode(error));
    Ok(KeyRecord {
        id: id.parse().map_err(|e: InvalidKeyId| unreadable(e.into()))?,
        name,
        role: role.parse().map_err(|e: super::InvalidRole| unreadable(e.into()))?,
        created_at: Timestamp::from_ms(created_at),
        expires_at: expires_at.map(Timestamp::from_ms),
        last_used_at: last_used_at.map(Timestamp::from_ms),
        revoked_at: revoked_at.map(Timestamp::from_ms),
    })
}
