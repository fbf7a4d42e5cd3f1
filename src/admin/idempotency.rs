//! `Idempotency-Key`: what a client sends so that a request it repeats is done once (IETF draft of that name).
//!
//! The draft has the value as a quoted string; many clients send the bare text. Both are the same key here. The request's
//! fingerprint is kept with the key, so that a key used for something else is found out.

use axum::http::{HeaderMap, HeaderName, Method};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::job::JobId;

/// The header.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_CHARS: usize = 255;

/// A key as its client means it, without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdempotencyKey(String);

/// A header that holds no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`Idempotency-Key` is {0}; allowed: one key of 1 to 255 printable ASCII characters, quoted or, without spaces, bare"
)]
pub(super) struct InvalidKey(&'static str);

/// What makes two requests the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl IdempotencyKey {
    /// The request's key, if it has one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, InvalidKey> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(InvalidKey("sent more than once"));
        }
        let text = value.to_str().map_err(|_| InvalidKey("not printable ASCII"))?.trim();
        let key = match text.strip_prefix('"') {
            Some(rest) => unquoted(rest)?,
            None => bare(text)?,
        };
        match key.len() {
            0 => Err(InvalidKey("empty")),
            1..=MAX_CHARS => Ok(Some(Self(key))),
            _ => Err(InvalidKey("too long")),
        }
    }

    /// A key that was given as it is meant, without a header's quotes.
    pub(super) fn plain(text: &str) -> Result<Self, InvalidKey> {
        if !text.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return Err(InvalidKey("not printable ASCII"));
        }
        match text.len() {
            0 => Err(InvalidKey("empty")),
            1..=MAX_CHARS => Ok(Self(text.to_owned())),
            _ => Err(InvalidKey("too long")),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A structured field's string (RFC 8941, 3.3.3) after its first quote. Parameters mean nothing here and are refused.
fn unquoted(rest: &str) -> Result<String, InvalidKey> {
    let mut key = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next() {
            Some('\\') => match chars.next() {
                Some(c @ ('"' | '\\')) => key.push(c),
                _ => {
                    return Err(InvalidKey("quoted with a backslash before something other than a quote or backslash"));
                }
            },
            Some('"') => break,
            Some(c @ ' '..='~') => key.push(c),
            Some(_) => return Err(InvalidKey("not printable ASCII")),
            None => return Err(InvalidKey("a quoted text without its end")),
        }
    }
    if chars.as_str().is_empty() { Ok(key) } else { Err(InvalidKey("followed by something after its last quote")) }
}

fn bare(text: &str) -> Result<String, InvalidKey> {
    if text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | ',' | ';')) {
        return Ok(text.to_owned());
    }
    Err(InvalidKey("bare, with a character that only a quoted key may hold"))
}

impl Fingerprint {
    /// Of a request: its method, path and body.
    pub(super) fn of(method: &Method, path: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [method.as_str().as_bytes(), path.as_bytes(), body] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id of the job that this request makes under this key: the same at every run of it, so that a second run, after
    /// a crash before the reply was kept, finds the first one's job.
    pub(super) fn job(&self, scope: &str, key: &IdempotencyKey, since: Timestamp) -> JobId {
        let mut hash = Sha256::new();
        for part in [scope.as_bytes(), key.0.as_bytes(), &self.0] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut random = [0; 10];
        random.copy_from_slice(&digest[..10]);
        JobId::derived(since, &random)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(text: &str) -> Result<Option<String>, InvalidKey> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(text.as_bytes()).unwrap());
        IdempotencyKey::of(&headers).map(|key| key.map(|k| k.0))
    }

    #[test]
    fn a_quoted_key_and_the_same_one_bare_are_equal() {
        for (text, key) in [
            (r#""8e03978e-40d5""#, "8e03978e-40d5"),
            ("8e03978e-40d5", "8e03978e-40d5"),
            ("  8e03978e-40d5\t", "8e03978e-40d5"),
            (r#""a b;c,d""#, "a b;c,d"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
        ] {
            assert_eq!(read(text).unwrap().as_deref(), Some(key), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = format!("\"{}\"", "k".repeat(256));
        let bad = [
            "",
            " ",
            r#""""#,
            r#"""#,
            r#""a"#,
            r#"a""#,
            r#""a"b"#,
            r#""a";x=1"#,
            r#""a\b""#,
            r#""a\"#,
            "a b",
            "a,b",
            "é",
        ];
        for text in bad.into_iter().chain([long.as_str()]) {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(read(&"k".repeat(255)).unwrap(), Some("k".repeat(255)));
    }

    #[test]
    fn two_headers_are_no_key() {
        let mut headers = HeaderMap::new();
        assert_eq!(IdempotencyKey::of(&headers), Ok(None));
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert!(IdempotencyKey::of(&headers).is_err());
    }

    #[test]
    fn any_part_of_a_request_changes_its_fingerprint_and_its_job() {
        let post = Fingerprint::of(&Method::POST, "/a", b"x");
        for other in [
            Fingerprint::of(&Method::PUT, "/a", b"x"),
            Fingerprint::of(&Method::POST, "/b", b"x"),
            Fingerprint::of(&Method::POST, "/a", b"y"),
            Fingerprint::of(&Method::POST, "/ax", b""),
        ] {
            assert_ne!(post, other);
        }
        let (key, at) = (IdempotencyKey("k".into()), Timestamp::from_ms(1_767_323_045_000));
        let job = post.job("api:1", &key, at);
        assert_eq!(job, post.job("api:1", &key, at));
        assert_ne!(job, post.job("api:2", &key, at));
        assert_ne!(job, post.job("api:1", &IdempotencyKey("l".into()), at));
        assert_ne!(job, Fingerprint::of(&Method::POST, "/a", b"y").job("api:1", &key, at));
        assert!(job < post.job("api:1", &key, at.after(std::time::Duration::from_millis(1))), "later ones sort later");
    }
}
