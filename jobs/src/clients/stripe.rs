//! Stripe: the lists that reconciliation reads, and the shapes that its webhooks carry.
//!
//! The API version is pinned, so that shapes change when this file does. Retryable is what Stripe's own libraries
//! retry, with `Stripe-Should-Retry` above all else, and 429.

mod objects;

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidemill::clock::{Clock, Timestamp};
use url::Url;

use super::wire::{Call, Reply};
use super::{CallError, Meaning};
use crate::config::StripeConfig;

pub use objects::{Event, EventBody, Invoice, Listed, Page, Subscription, UnreadableEvent};

/// The API version that the shapes here are of.
pub const API_VERSION: &str = "2026-07-29.dahlia";
/// The most objects that one page may hold.
pub const PAGE_SIZE: u32 = 100;
const TIMEOUT: Duration = Duration::from_secs(80);
const BODY_CAP: usize = 8 * 1024 * 1024;
const SUBSCRIPTIONS: Call = Call { system: "stripe", name: "GET /v1/subscriptions", cap: BODY_CAP };
const INVOICES: Call = Call { system: "stripe", name: "GET /v1/invoices", cap: BODY_CAP };

/// Asks Stripe. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stripe {
    http: reqwest::Client,
    base: Url,
    key: SecretString,
    clock: Clock,
}

#[derive(Deserialize)]
struct ErrorReply {
    error: Refusal,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "type")]
    kind: String,
    code: Option<String>,
    message: Option<String>,
}

impl Stripe {
    /// A client for the account that `config.key` belongs to.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(config: &StripeConfig, clock: Clock) -> anyhow::Result<Self> {
        let http = tidemill::outbound::client(TIMEOUT)?;
        Ok(Self { http, base: config.base.clone(), key: config.key.clone(), clock })
    }

    /// A page of all subscriptions, cancelled ones too, newest first, after the one named `after`.
    ///
    /// # Errors
    /// When Stripe can't be reached, refuses, or sends something else.
    pub async fn subscriptions(&self, after: Option<&str>) -> Result<Page<Subscription>, CallError> {
        let mut query = BTreeMap::from([("limit", PAGE_SIZE.to_string()), ("status", "all".to_owned())]);
        query.extend(after.map(|id| ("starting_after", id.to_owned())));
        self.list(SUBSCRIPTIONS, "v1/subscriptions", &query).await
    }

    /// A page of the invoices created in `from..until`, newest first, after the one named `after`.
    ///
    /// # Errors
    /// When Stripe can't be reached, refuses, or sends something else.
    pub async fn invoices(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<&str>,
    ) -> Result<Page<Invoice>, CallError> {
        let seconds = |at: Timestamp| at.as_ms().div_euclid(1000).to_string();
        let mut query = BTreeMap::from([
            ("limit", PAGE_SIZE.to_string()),
            ("created[gte]", seconds(from)),
            ("created[lt]", seconds(until)),
        ]);
        query.extend(after.map(|id| ("starting_after", id.to_owned())));
        self.list(INVOICES, "v1/invoices", &query).await
    }

    async fn list<T: DeserializeOwned>(
        &self,
        call: Call,
        path: &str,
        query: &BTreeMap<&str, String>,
    ) -> Result<Page<T>, CallError> {
        let url = self.base.join(path).map_err(|e| call.fail(Meaning::Permanent, e.to_string()))?;
        let request =
            self.http.get(url).query(query).bearer_auth(self.key.expose_secret()).header("Stripe-Version", API_VERSION);
        let reply = call.send(request).await?;
        if reply.status == 200 { call.parse(&reply) } else { Err(self.refused(call, &reply)) }
    }

    fn refused(&self, call: Call, reply: &Reply) -> CallError {
        let again = match reply.header("Stripe-Should-Retry") {
            Some("true") => true,
            Some("false") => false,
            _ => matches!(reply.status, 408 | 409 | 429 | 500..=599),
        };
        let meaning =
            if again { Meaning::Retryable { after: reply.retry_after(&self.clock) } } else { Meaning::Permanent };
        let (code, detail) = match serde_json::from_slice::<ErrorReply>(&reply.body) {
            Ok(ErrorReply { error }) => {
                let said = redact(&error.message.unwrap_or_default());
                let detail = format!("status {}, {}: {said}", reply.status, error.kind);
                (error.code.or(Some(error.kind)), detail)
            }
            Err(_) => (None, format!("status {} without Stripe's error body", reply.status)),
        };
        CallError { status: Some(reply.status), code, ..call.fail(meaning, detail) }
    }
}

/// Stripe repeats (most of) a wrong key in its message.
fn redact(message: &str) -> String {
    let hide = |word: &str| ["sk_", "rk_", "whsec_"].iter().any(|p| word.contains(p));
    message.split(' ').map(|w| if hide(w) { "[redacted]" } else { w }).collect::<Vec<_>>().join(" ")
}
