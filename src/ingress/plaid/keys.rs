//! Plaid's public keys, fetched by `kid` and remembered.
//!
//! A stranger can make up any `kid`, so asking is bounded on all sides: one call at a time, each with a deadline; what Plaid
//! doesn't know is remembered, in a bounded table; calls for keys never seen are limited over time. A key that is known goes on
//! working while Plaid can't be asked, for a day. When a new key turns up, the others are asked for again before their next use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::VerifyingKey;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

use super::cache::{Cache, Known, Look};
use crate::clock::Timestamp;
use crate::ingress::verify::VerifyError;

/// Plaid waits ten seconds for our reply.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// For the calls of others before ours.
const TURN_TIMEOUT: Duration = Duration::from_secs(4);
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// Asks Plaid for keys. Cheap to clone; clones share what they know.
#[derive(Clone, Debug)]
pub(in crate::ingress) struct PlaidKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    url: Url,
    client_id: SecretString,
    secret: SecretString,
    cache: std::sync::Mutex<Cache>,
    turn: Mutex<()>,
}

#[derive(Deserialize)]
struct Reply {
    key: Jwk,
}

/// As Plaid writes it; what is not read here does not matter.
#[derive(Deserialize)]
struct Jwk {
    alg: String,
    crv: String,
    kty: String,
    kid: String,
    x: String,
    y: String,
    expired_at: Option<Value>,
}

#[derive(Deserialize)]
struct Refusal {
    error_code: String,
}

impl PlaidKeys {
    /// Asks the API at `base`. `Err`: why that is not possible.
    pub(in crate::ingress) fn new(base: &Url, client_id: SecretString, secret: SecretString) -> Result<Self, String> {
        let url = base.join("webhook_verification_key/get").map_err(|e| e.to_string())?;
        let http = crate::outbound::client(CALL_TIMEOUT).map_err(|e| e.to_string())?;
        let (cache, turn) = (std::sync::Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { http, url, client_id, secret, cache, turn })))
    }

    /// The key with this id, from memory or from Plaid.
    pub(super) async fn get(&self, kid: &str, now: Timestamp) -> Result<VerifyingKey, VerifyError> {
        if let Look::Found(found) = self.cache().look(kid, now) {
            return found;
        }
        let turn = timeout(TURN_TIMEOUT, self.0.turn.lock()).await;
        // Whoever had the turn before may have asked for the same one.
        let last = match self.cache().look(kid, now) {
            Look::Found(found) => return found,
            Look::Ask { last } => last,
        };
        let otherwise = last.clone().map(|known| known.key).ok_or(VerifyError::KeyUnavailable);
        if turn.is_err() || (last.is_none() && !self.cache().may_ask_for_a_stranger(now)) {
            tracing::warn!(kid, "Plaid was not asked for a webhook key: too many calls for keys that nobody knows");
            return otherwise;
        }
        match self.ask(kid).await {
            Ok(Some(known)) => self.cache().keep(kid, known, now),
            Ok(None) => self.cache().keep_unknown(kid, now),
            Err(error) => {
                tracing::warn!(kid, error = format!("{error:#}"), "Plaid could not be asked for a webhook key");
                self.cache().ask_later(kid, now);
                otherwise
            }
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.0.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// `None`: Plaid has no such key.
    async fn ask(&self, kid: &str) -> anyhow::Result<Option<Known>> {
        let Inner { http, url, client_id, secret, .. } = &*self.0;
        let request = http
            .post(url.clone())
            .header("PLAID-CLIENT-ID", client_id.expose_secret())
            .header("PLAID-SECRET", secret.expose_secret())
            .header("Plaid-Version", "2020-09-14")
            .json(&json!({ "key_id": kid }));
        let mut reply = request.send().await?;
        let status = reply.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = reply.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_REPLY_BYTES {
                bail!("the reply has more than {MAX_REPLY_BYTES} bytes");
            }
        }
        match status {
            200 => known(kid, &body).map(Some),
            400 => {
                let refusal: Refusal = serde_json::from_slice(&body).context("400 without Plaid's error body")?;
                if refusal.error_code == "INVALID_API_KEYS" {
                    bail!("the client id or the secret is not accepted");
                }
                Ok(None)
            }
            _ => bail!("status {status}"),
        }
    }
}

fn known(kid: &str, body: &[u8]) -> anyhow::Result<Known> {
    let Reply { key } = serde_json::from_slice(body).context("the reply is no key")?;
    if (&*key.alg, &*key.crv, &*key.kty, &*key.kid) != ("ES256", "P-256", "EC", kid) {
        bail!("the reply is a key of another sort, or another key");
    }
    let mut point = vec![4];
    for coordinate in [&key.x, &key.y] {
        let bytes = URL_SAFE_NO_PAD.decode(coordinate).context("a coordinate is not base64url")?;
        if bytes.len() != 32 {
            bail!("a coordinate is not 32 bytes long");
        }
        point.extend(bytes);
    }
    let point = VerifyingKey::from_sec1_bytes(&point).context("the coordinates are no point of the curve")?;
    Ok(Known { key: point, expired: key.expired_at.is_some_and(|at| !at.is_null()) })
}
