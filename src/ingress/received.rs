//! The job that a received webhook becomes.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::job::JobKind;

/// A webhook whose signature was good, exactly as it came.
///
/// Fields that came later are optional, and unknown ones are passed over: while processes are being replaced, old and new ones
/// read each other's jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookReceived {
    /// The source's name in the configuration.
    pub source: String,
    /// The sender's id of the event; `sha256:…` of the body where it has none.
    pub event_id: String,
    /// The sender's word for what happened; `unknown` where it has none.
    pub event_type: String,
    /// The kind of job that handles it once it is recorded, as the source's `kinds` say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle_as: Option<String>,
    /// When it came, by our clock.
    pub received_at: Timestamp,
    /// The place of the secret that its signature was checked with: `env:<variable>`, `file:<path>` or `plaid:<key id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_with: Option<String>,
    /// The few headers that handlers and investigators need, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, byte for byte.
    pub body: RawBody,
}

impl JobKind for WebhookReceived {
    const KIND: &'static str = "webhook.received";
    const QUEUE: &'static str = "high_priority";
    /// A body of 1 MiB in base64, and room for the rest.
    const MAX_PAYLOAD_BYTES: usize = 1_500_000;

    fn json_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        // Most bodies are JSON, whose quotes and line ends take a byte more.
        256 + headers + self.body.0.len() * 5 / 4
    }
}

/// Bytes inside JSON: `{"utf8": "…"}` where they are text, else `{"base64": "…"}`. Gives back exactly what it was given.
#[derive(Clone, PartialEq, Eq)]
pub struct RawBody(Bytes);

impl RawBody {
    /// These bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes read as JSON.
    ///
    /// # Errors
    /// When they are not JSON of this shape.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// As text, unless its JSON form would be longer than base64's: control characters take six bytes each.
    fn as_short_text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let more: usize = self.0.chunks(MORE_FITS_U8).map(|part| usize::from(more_bytes(part))).sum();
        let escaped = text.len() + more;
        (escaped <= text.len().div_ceil(3) * 4).then_some(text)
    }
}

/// So many bytes of a body need at most 255 more.
const MORE_FITS_U8: usize = 51;

/// What JSON's escapes add to these bytes, at most [`MORE_FITS_U8`] of them. Without a branch, so that many are looked at at once.
fn more_bytes(part: &[u8]) -> u8 {
    part.iter().fold(0, |more, b| {
        let control = u8::from(*b < 0x20) * 5;
        let short = u8::from(matches!(b, b'\n' | b'\r' | b'\t' | 0x08 | 0x0c)) * 4;
        more + control - short + u8::from(*b == b'"') + u8::from(*b == b'\\')
    })
}

impl fmt::Debug for RawBody {
    /// The length alone: a body may hold what no log should.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawBody({} bytes)", self.0.len())
    }
}

impl Serialize for RawBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match self.as_short_text() {
            Some(text) => Form::Utf8(text),
            None => Form::Base64(STANDARD.encode(&self.0)),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::<String>::deserialize(deserializer)? {
            Form::Utf8(text) => Ok(Self(text.into())),
            Form::Base64(text) => STANDARD.decode(&text).map(|b| Self(b.into())).map_err(serde::de::Error::custom),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form<T> {
    Utf8(T),
    Base64(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_back_exactly_and_never_grow_beyond_base64(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let json = serde_json::to_string(&RawBody::new(bytes.clone().into())).unwrap();
            prop_assert!(json.len() <= bytes.len().div_ceil(3) * 4 + 16, "{json}");
            let back: RawBody = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back.as_bytes(), &bytes[..]);
        }

        #[test]
        fn any_text_comes_back_exactly(text in "\\PC{0,200}|[\u{0}-\u{1f}]{0,200}") {
            let json = serde_json::to_string(&RawBody::new(text.clone().into())).unwrap();
            let back: RawBody = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back.as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn payloads_of_older_and_newer_processes_are_read() {
        let mut json = serde_json::json!({
            "source": "stripe", "event_id": "evt_1", "event_type": "a", "received_at": "2026-01-02T03:04:05Z",
            "headers": {}, "body": {"utf8": ""},
        });
        let read = |json: &serde_json::Value| serde_json::from_str::<WebhookReceived>(&json.to_string()).unwrap();
        let old = read(&json);
        assert_eq!((&old.verified_with, &old.handle_as), (&None, &None));
        json["verified_with"] = "env:A".into();
        json["something_new"] = 7.into();
        assert_eq!(read(&json).verified_with.as_deref(), Some("env:A"));
    }

    #[test]
    fn text_stays_readable_in_the_payload() {
        let json = serde_json::to_string(&RawBody::new(Bytes::from_static(b"{\"id\": 1}"))).unwrap();
        assert_eq!(json, r#"{"utf8":"{\"id\": 1}"}"#);
        let json = serde_json::to_string(&RawBody::new(Bytes::from_static(b"\xff\x00"))).unwrap();
        assert_eq!(json, r#"{"base64":"/wA="}"#);
    }
}
