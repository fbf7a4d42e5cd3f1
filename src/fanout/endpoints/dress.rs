//! What a POST to an endpoint wears: its signature, and the headers that were asked for.
//!
//! A [`Dress`] is read once and fits every message to that endpoint until it changes or one of its secrets runs out.

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::super::ledger::Due;
use super::super::signature::sign;
use super::super::{FanoutState, Secret};
use super::{EndpointError, live_secrets};
use crate::clock::Timestamp;

/// The headers of an endpoint's POSTs, without those of one message.
#[derive(Debug)]
pub(in super::super) struct Dress {
    secrets: Vec<Secret>,
    fixed: HeaderMap,
    prefix: Option<String>,
}

/// One message as it is signed.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Stamp<'a> {
    pub(in super::super) message: &'a str,
    pub(in super::super) event_type: &'a str,
    pub(in super::super) timestamp_s: i64,
    pub(in super::super) body: &'a [u8],
}

/// The dress of a delivery's endpoint as it stands now.
pub(in super::super) async fn dress(
    state: &FanoutState,
    endpoint: &str,
    due: &Due,
    now: Timestamp,
) -> Result<Dress, EndpointError> {
    let secrets = live_secrets(state, endpoint, now).await?;
    if secrets.is_empty() {
        return Err(EndpointError::NoSuchEndpoint(endpoint.to_owned()));
    }
    let corrupt = |detail: String| EndpointError::Corrupt { id: endpoint.to_owned(), detail };
    let texts = due.headers.open(state, endpoint)?;
    let agent = HeaderValue::from_static(concat!("tidemill/", env!("CARGO_PKG_VERSION")));
    let mut fixed = HeaderMap::from_iter([(USER_AGENT, agent)]);
    for (name, value) in &texts {
        let header = named(name).zip(HeaderValue::from_str(value).ok());
        let (name, mut value) = header.ok_or_else(|| corrupt(format!("header {name}")))?;
        value.set_sensitive(true);
        fixed.insert(name, value);
    }
    Ok(Dress { secrets, fixed, prefix: due.header_prefix.clone() })
}

impl Dress {
    /// All headers for one message. Ours come last, so that nothing stands in their place.
    pub(in super::super) fn headers(&self, stamp: Stamp<'_>) -> HeaderMap {
        let signature = sign(&self.secrets, stamp.message, stamp.timestamp_s, stamp.body);
        let timestamp = stamp.timestamp_s.to_string();
        let mut headers = self.fixed.clone();
        let mut set = |name: Option<HeaderName>, value: &str| {
            // Ids, numbers, base64 and event types are ASCII, and a prefix was checked: nothing is left out here.
            if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        };
        if let Some(prefix) = &self.prefix {
            set(named(&format!("{prefix}-Id")), stamp.message);
            set(named(&format!("{prefix}-Timestamp")), &timestamp);
            set(named(&format!("{prefix}-Event")), stamp.event_type);
            set(named(&format!("{prefix}-Signature")), &signature);
        }
        set(named("webhook-id"), stamp.message);
        set(named("webhook-timestamp"), &timestamp);
        set(named("webhook-signature"), &signature);
        set(Some(CONTENT_TYPE), "application/json");
        headers
    }
}

fn named(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}
