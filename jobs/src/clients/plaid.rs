//! Plaid: `/accounts/balance/get` and `/transactions/sync`.
//!
//! Errors are classified by Plaid's type and code, not by HTTP status. Amounts stay decimal text; credentials travel
//! in headers and the access token in the body, and neither shows in an error.

mod objects;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tidemill::clock::Clock;
use url::Url;

use super::wire::{Call, Reply};
use super::{CallError, Meaning};
use crate::config::PlaidConfig;

pub use objects::{Account, Balances, Removed, SyncPage, Transaction};

/// The most transactions that one page may hold.
pub const PAGE_SIZE: u32 = 500;
/// A live balance may take Plaid more than 30 s.
const TIMEOUT: Duration = Duration::from_secs(90);
const BODY_CAP: usize = 8 * 1024 * 1024;
const BALANCES: Call = Call { system: "plaid", name: "POST /accounts/balance/get", cap: BODY_CAP };
const SYNC: Call = Call { system: "plaid", name: "POST /transactions/sync", cap: BODY_CAP };
const MUTATION: &str = "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION";

/// Asks Plaid. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Plaid {
    http: reqwest::Client,
    base: Url,
    client_id: SecretString,
    secret: SecretString,
    clock: Clock,
}

#[derive(Deserialize)]
struct Refusal {
    error_type: String,
    error_code: String,
    error_message: Option<String>,
}

#[derive(Deserialize)]
struct BalanceReply {
    accounts: Vec<Account>,
}

impl Plaid {
    /// A client for the environment in `config`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(config: &PlaidConfig, clock: Clock) -> anyhow::Result<Self> {
        let http = tidemill::outbound::client(TIMEOUT)?;
        let (client_id, secret) = (config.client_id.clone(), config.secret.clone());
        Ok(Self { http, base: config.base.clone(), client_id, secret, clock })
    }

    /// All accounts of an item with their live balances.
    ///
    /// # Errors
    /// When Plaid can't be reached, refuses, or sends something else.
    pub async fn balances(&self, token: &SecretString) -> Result<Vec<Account>, CallError> {
        let body = json!({ "access_token": token.expose_secret() });
        let reply: BalanceReply = self.post(BALANCES, "accounts/balance/get", &body).await?;
        Ok(reply.accounts)
    }

    /// One page of what changed since `cursor`; without one, from the beginning.
    ///
    /// # Errors
    /// When Plaid can't be reached, refuses, or sends something else; see [`is_mutation`].
    pub async fn sync(&self, token: &SecretString, cursor: Option<&str>) -> Result<SyncPage, CallError> {
        let mut body = json!({ "access_token": token.expose_secret(), "count": PAGE_SIZE });
        if let Some(cursor) = cursor {
            body["cursor"] = json!(cursor);
        }
        self.post(SYNC, "transactions/sync", &body).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        call: Call,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, CallError> {
        let url = self.base.join(path).map_err(|e| call.fail(Meaning::Permanent, e.to_string()))?;
        let request = self
            .http
            .post(url)
            .header("PLAID-CLIENT-ID", self.client_id.expose_secret())
            .header("PLAID-SECRET", self.secret.expose_secret())
            .header("Plaid-Version", "2020-09-14")
            .json(body);
        let reply = call.send(request).await?;
        if reply.status == 200 { call.parse(&reply) } else { Err(self.refused(call, &reply)) }
    }

    fn refused(&self, call: Call, reply: &Reply) -> CallError {
        let (meaning, code, detail) = match serde_json::from_slice::<Refusal>(&reply.body) {
            Ok(r) => {
                let said = r.error_message.unwrap_or_default();
                let detail = format!("{}/{}: {said}", r.error_type, r.error_code);
                (classify(&r.error_type, &r.error_code), Some(r.error_code), detail)
            }
            Err(_) => (by_status(reply.status), None, format!("status {} without Plaid's error body", reply.status)),
        };
        let meaning = match meaning {
            Meaning::Retryable { .. } => Meaning::Retryable { after: reply.retry_after(&self.clock) },
            other => other,
        };
        CallError { status: Some(reply.status), code, ..call.fail(meaning, detail) }
    }
}

/// True when the data changed between two pages: start again from the loop's first cursor.
pub fn is_mutation(error: &CallError) -> bool {
    error.code.as_deref() == Some(MUTATION)
}

fn by_status(status: u16) -> Meaning {
    match status {
        408 | 429 | 500..=599 => Meaning::Retryable { after: None },
        _ => Meaning::Permanent,
    }
}

fn classify(kind: &str, code: &str) -> Meaning {
    match (kind, code) {
        ("RATE_LIMIT_EXCEEDED" | "API_ERROR", _)
        | ("INSTITUTION_ERROR", "INSTITUTION_DOWN" | "INSTITUTION_NOT_RESPONDING" | "INSTITUTION_NOT_AVAILABLE")
        | ("ITEM_ERROR", "PRODUCT_NOT_READY")
        | (_, MUTATION) => Meaning::Retryable { after: None },
        (
            "ITEM_ERROR",
            "ITEM_LOGIN_REQUIRED" | "ITEM_LOCKED" | "ACCESS_NOT_GRANTED" | "USER_PERMISSION_REVOKED" | "NO_ACCOUNTS",
        ) => Meaning::UserAction,
        _ => Meaning::Permanent,
    }
}
