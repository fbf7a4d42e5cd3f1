//! What a POST to an endpoint wears: its signature, and the headers that were asked for.
//!
//! A [`Dress`] is read once and fits every message to that endpoint until it changes or one of its secrets runs out.

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::super::ledger::Addressee;
use super::super::signature::sign;
use super::super::{FanoutState, Secret};
use super::EndpointError;

/// The headers of an endpoint's POSTs, without those of one message.
#[derive(Debug)]
pub(in super::super) struct Dress {
    secrets: Vec<Secret>,
    fixed: HeaderMap,
    stamped: Vec<(HeaderName, Stamped)>,
}

/// What a message puts into a header.
#[derive(Clone, Copy, Debug)]
enum Stamped {
    Message,
    Timestamp,
    EventType,
    Signature,
}

const STANDARD: [(&str, Stamped); 3] = [
    ("webhook-id", Stamped::Message),
    ("webhook-timestamp", Stamped::Timestamp),
    ("webhook-signature", Stamped::Signature),
];
/// Behind an endpoint's own prefix.
const PREFIXED: [(&str, Stamped); 4] = [
    ("Id", Stamped::Message),
    ("Timestamp", Stamped::Timestamp),
    ("Event", Stamped::EventType),
    ("Signature", Stamped::Signature),
];

/// One message as it is signed.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Stamp<'a> {
    pub(in super::super) message: &'a str,
    pub(in super::super) event_type: &'a str,
    pub(in super::super) timestamp_s: i64,
    pub(in super::super) body: &'a [u8],
}

/// The dress of an endpoint as it stands in the database; opens its secrets.
pub(super) fn dress(state: &FanoutState, endpoint: &str, to: &Addressee) -> Result<Dress, EndpointError> {
    let secrets = to.secrets.iter().map(|row| row.open(state)).collect::<Result<Vec<_>, _>>()?;
    if secrets.is_empty() {
        return Err(EndpointError::NoSuchEndpoint(endpoint.to_owned()));
    }
    let corrupt = |detail: String| EndpointError::Corrupt { id: endpoint.to_owned(), detail };
    let texts = to.headers.open(state, endpoint)?;
    let agent = HeaderValue::from_static(concat!("tidemill/", env!("CARGO_PKG_VERSION")));
    let json = HeaderValue::from_static("application/json");
    let mut fixed = HeaderMap::from_iter([(USER_AGENT, agent)]);
    for (name, value) in &texts {
        let header = named(name).zip(HeaderValue::from_str(value).ok());
        let (name, mut value) = header.ok_or_else(|| corrupt(format!("header {name}")))?;
        value.set_sensitive(true);
        fixed.insert(name, value);
    }
    // Ours, whatever was asked for.
    fixed.insert(CONTENT_TYPE, json);
    let of_prefix = |prefix: &String| PREFIXED.map(|(name, what)| (named(&format!("{prefix}-{name}")), what));
    let names = STANDARD.into_iter().map(|(name, what)| (Some(HeaderName::from_static(name)), what));
    let names = to.header_prefix.iter().flat_map(of_prefix).chain(names);
    // A prefix was checked when it was taken: nothing is left out here.
    let stamped = names.filter_map(|(name, what)| Some((name?, what))).collect();
    Ok(Dress { secrets, fixed, stamped })
}

impl Dress {
    /// All headers for one message. Ours come last, so that nothing stands in their place.
    pub(in super::super) fn headers(&self, stamp: Stamp<'_>) -> HeaderMap {
        let signature = sign(&self.secrets, stamp.message, stamp.timestamp_s, stamp.body);
        let timestamp = stamp.timestamp_s.to_string();
        let mut headers = self.fixed.clone();
        for (name, what) in &self.stamped {
            let value = match what {
                Stamped::Message => stamp.message,
                Stamped::Timestamp => &timestamp,
                Stamped::EventType => stamp.event_type,
                Stamped::Signature => &signature,
            };
            // Ids, numbers, base64 and event types are ASCII: nothing is left out here.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

fn named(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}
