//! The check, and the only maker of [`Verified`].
//!
//! Every request takes the whole way: the MAC over the whole body with every secret, compared in constant time with every
//! candidate, whatever was already wrong with the headers. So no refusal is faster than another, and all look the same from
//! outside; the reason goes to the metric and the log.

use std::collections::BTreeMap;

use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::received::{RawBody, WebhookReceived};
use super::signature::{Claim, Piece, parse_time, single};
use super::source::{At, Source};
use crate::clock::Timestamp;

const MAX_ID_BYTES: usize = 200;
const MAX_TYPE_CHARS: usize = 128;
/// Signature lists are the longest of the headers that are kept.
const MAX_HEADER_CHARS: usize = 1024;

/// Something whose signature was good. Only [`Source::verify`] makes one.
#[derive(Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// What was verified.
    pub fn get(&self) -> &T {
        &self.0
    }

    pub(super) fn into_inner(self) -> T {
        self.0
    }
}

/// Why a request is not from who it says. For metrics and logs only; the sender sees 401 whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No signature.
    #[error("the signature header is missing")]
    Missing,
    /// The header came more than once.
    #[error("the signature header came more than once")]
    Repeated,
    /// The header can't be read.
    #[error("the signature header is malformed")]
    Malformed,
    /// Too many items in the header.
    #[error("the signature header has too many items")]
    TooMany,
    /// Only signatures of versions that don't count.
    #[error("the signature header has no signature of a version that counts")]
    NoKnownVersion,
    /// The time is missing or not one.
    #[error("the timestamp is missing or malformed")]
    BadTime,
    /// The id that is signed is missing or not one.
    #[error("the event id is missing or malformed")]
    BadId,
    /// No signature fits.
    #[error("no signature fits the body")]
    Mismatch,
    /// Signed too long ago or too far ahead.
    #[error("the timestamp is outside the tolerance")]
    Stale,
}

impl VerifyError {
    /// The reason's one word, as the metric shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Repeated => "signature_repeated",
            Self::Malformed => "signature_malformed",
            Self::TooMany => "signature_too_many",
            Self::NoKnownVersion => "signature_unknown_version",
            Self::BadTime => "timestamp_malformed",
            Self::BadId => "id_malformed",
            Self::Mismatch => "signature_mismatch",
            Self::Stale => "timestamp_stale",
        }
    }
}

impl Source {
    /// Checks a request's raw bytes and reads from them who they are.
    ///
    /// # Errors
    /// When the sender can't be proven.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: Bytes,
        now: Timestamp,
    ) -> Result<Verified<WebhookReceived>, VerifyError> {
        let mut claim = self.signature.read(headers);
        let id = self.signed_id(headers, &mut claim);
        let time = self.signed_time(&mut claim);
        let matched = self.matches(&claim, id.unwrap_or_default(), &body);
        if let Some(wrong) = claim.wrong {
            return Err(wrong);
        }
        if !bool::from(matched) {
            return Err(VerifyError::Mismatch);
        }
        if time.is_some_and(|at| at.since(now).max(now.since(at)) > self.tolerance) {
            return Err(VerifyError::Stale);
        }
        Ok(Verified(self.describe(headers, body, now)))
    }

    fn signed_id<'a>(&self, headers: &'a HeaderMap, claim: &mut Claim<'_>) -> Option<&'a str> {
        if !self.signature.signs_id() {
            return None;
        }
        let id = match &self.id {
            Some(At::Header(name)) => single(headers, name).ok().filter(|id| self.signature.can_sign_id(id)),
            Some(At::Body(_)) | None => None,
        };
        if id.is_none() {
            claim.blame(VerifyError::BadId);
        }
        id
    }

    fn signed_time(&self, claim: &mut Claim<'_>) -> Option<Timestamp> {
        if !self.signature.signs_time() {
            return None;
        }
        let seconds = claim.time.and_then(parse_time);
        if seconds.is_none() {
            claim.blame(VerifyError::BadTime);
        }
        // Twelve digits times a thousand fit.
        seconds.map(|s| Timestamp::from_ms(s * 1000))
    }

    fn matches(&self, claim: &Claim<'_>, id: &str, body: &[u8]) -> Choice {
        let parts: Vec<&[u8]> = self
            .signature
            .template
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Id => id.as_bytes(),
                Piece::Time => claim.time.unwrap_or_default().as_bytes(),
                Piece::Body => body,
            })
            .collect();
        let mut matched = Choice::from(0);
        for key in &self.keys {
            let expected = key.sign(&parts, self.signature.encoding);
            for candidate in &claim.candidates {
                // Slices of different lengths are unequal, so neither a part of a signature nor a longer one will do.
                matched |= expected.as_bytes().ct_eq(candidate.as_bytes());
            }
        }
        matched
    }

    fn describe(&self, headers: &HeaderMap, body: Bytes, now: Timestamp) -> WebhookReceived {
        let json = self.looks_into_body().then(|| serde_json::from_slice::<Value>(&body).ok()).flatten();
        let find = |at: &Option<At>| match at.as_ref()? {
            At::Header(name) => headers.get(name)?.to_str().ok().map(str::to_owned),
            At::Body(pointer) => match json.as_ref()?.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            },
        };
        WebhookReceived {
            source: self.name.clone(),
            event_id: find(&self.id).map_or_else(|| digest(&body), usable_id),
            event_type: find(&self.event_type).and_then(usable_type).unwrap_or_else(|| "unknown".to_owned()),
            handle_as: None,
            received_at: now,
            verified_with: None,
            headers: self.kept_headers(headers),
            body: RawBody::new(body),
        }
    }

    fn looks_into_body(&self) -> bool {
        [&self.id, &self.event_type].into_iter().any(|at| matches!(at, Some(At::Body(_))))
    }

    fn kept_headers(&self, headers: &HeaderMap) -> BTreeMap<String, String> {
        let at = |place: &Option<At>| match place {
            Some(At::Header(name)) => Some(name.clone()),
            Some(At::Body(_)) | None => None,
        };
        let own = [self.signature.timestamp_header.clone(), at(&self.id), at(&self.event_type)];
        let always = [self.signature.header.clone(), CONTENT_TYPE, USER_AGENT, HeaderName::from_static("traceparent")];
        own.into_iter()
            .flatten()
            .chain(always)
            .filter_map(|name| {
                let text =
                    String::from_utf8_lossy(headers.get(&name)?.as_bytes()).chars().take(MAX_HEADER_CHARS).collect();
                Some((name.as_str().to_owned(), text))
            })
            .collect()
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// An id that can't be a key as it is becomes its digest, which tells events apart as well.
fn usable_id(id: String) -> String {
    let fits = (1..=MAX_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control);
    if fits { id } else { digest(id.as_bytes()) }
}

fn usable_type(text: String) -> Option<String> {
    let clean: String = text.chars().filter(|c| !c.is_control()).take(MAX_TYPE_CHARS).collect();
    (!clean.is_empty()).then_some(clean)
}
