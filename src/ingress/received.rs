//! The job that a received webhook becomes.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::job::JobKind;

/// A webhook whose signature was good, exactly as it came.
///
/// Fields that came later are optional, and unknown ones are passed over: while processes are being replaced, old and new ones
/// read each other's jobs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WebhookReceived {
    /// The source's name in the configuration.
    pub source: String,
    /// The sender's id of the event; `sha256:…` of the body where it has none.
    pub event_id: String,
    /// The sender's word for what happened; `unknown` where it has none.
    pub event_type: String,
    /// The kind of job that handles it once it is recorded, as the source's `kinds` say.
    #[serde(default)]
    pub handle_as: Option<String>,
    /// When it came, by our clock.
    pub received_at: Timestamp,
    /// The place of the secret that its signature was checked with: `env:<variable>`, `file:<path>` or `plaid:<key id>`.
    #[serde(default)]
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
        // The room that is asked for while each byte of the body may still take two.
        256 + headers + self.body.0.len() * 2
    }

    /// The body is most of it, and each quote in it would be a piece of its own.
    fn write_json(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let Some(text) = self.body.as_short_text() else { return serde_json::to_writer(out, self) };
        let begun = out.len();
        serde_json::to_writer(&mut *out, &Head(self))?;
        let head = out.len();
        // Instead of the brace that ends it.
        out.truncate(head.saturating_sub(1));
        out.extend_from_slice(br#","body":{"utf8":""#);
        if !push_escaped(out, text) {
            out.truncate(begun);
            return serde_json::to_writer(out, self);
        }
        out.extend_from_slice(br#""}}"#);
        Ok(())
    }
}

impl Serialize for WebhookReceived {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.serialize_head(&mut map)?;
        map.serialize_entry("body", &self.body)?;
        map.end()
    }
}

impl WebhookReceived {
    /// All but the body, which stands last.
    fn serialize_head<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("event_id", &self.event_id)?;
        map.serialize_entry("event_type", &self.event_type)?;
        if let Some(kind) = &self.handle_as {
            map.serialize_entry("handle_as", kind)?;
        }
        map.serialize_entry("received_at", &self.received_at)?;
        if let Some(place) = &self.verified_with {
            map.serialize_entry("verified_with", place)?;
        }
        map.serialize_entry("headers", &self.headers)
    }
}

struct Head<'a>(&'a WebhookReceived);

impl Serialize for Head<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.serialize_head(&mut map)?;
        map.end()
    }
}

/// What stands behind the backslash for each byte; zero: it stands for itself.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let short = [(b'"', b'"'), (b'\\', b'\\'), (b'\n', b'n'), (b'\r', b'r'), (b'\t', b't'), (0x08, b'b'), (0x0c, b'f')];
    let mut i = 0;
    while i < short.len() {
        escapes[short[i].0 as usize] = short[i].1;
        i += 1;
    }
    escapes
};

/// Writes what stands between the quotes of a JSON string. False: there is a control character without a short form, and what
/// was written is nothing. Without a branch for each byte: half of a body's pieces are shorter than ten.
fn push_escaped(out: &mut Vec<u8>, text: &str) -> bool {
    let begun = out.len();
    out.resize(begun + 2 * text.len(), 0);
    let Some(room) = out.get_mut(begun..) else { return false };
    let (mut at, mut plain) = (0, true);
    for byte in text.bytes() {
        let escape = ESCAPES[usize::from(byte)];
        let is_short = escape != 0;
        plain &= is_short || byte >= 0x20;
        if let Some(two) = room.get_mut(at..at + 2) {
            two[0] = if is_short { b'\\' } else { byte };
            two[1] = escape;
        }
        at += 1 + usize::from(is_short);
    }
    out.truncate(begun + at);
    plain
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

        #[test]
        fn the_cheaper_way_writes_the_same(
            body in prop_oneof!["\\PC{0,200}|[ -~\n\r\t\"\\\\]{0,300}|[\u{0}-\u{1f}a-z]{0,200}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..300)],
            handle_as in prop::option::of("[a-z.]{1,9}"),
        ) {
            let received = WebhookReceived {
                source: "st\"ripe".to_owned(),
                event_id: "evt_1".to_owned(),
                event_type: "a.b".to_owned(),
                handle_as,
                received_at: Timestamp::from_ms(1_767_323_045_678),
                verified_with: Some("env:A".to_owned()),
                headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
                body: RawBody::new(body.into()),
            };
            let mut written = b"before".to_vec();
            received.write_json(&mut written).unwrap();
            prop_assert_eq!(String::from_utf8(written).unwrap(), format!("before{}", serde_json::to_string(&received).unwrap()));
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
