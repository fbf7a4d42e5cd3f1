//! The check, and the only maker of [`Verified`].
//!
//! Every request takes the whole way: the signature over the whole body with every key, compared in constant time with
//! every candidate, whatever was already wrong with the headers. So no refusal is faster than another, and all look the
//! same from outside; the reason goes to the metric and the log.

use std::time::Duration;

use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use subtle::Choice;

use super::key::Key;
use super::received::{RawBody, WebhookReceived};
use super::reply::Reply;
use super::signature::Signature;
use super::source::{Proof, Source};
use super::template::Values;
use crate::clock::Timestamp;

/// A request as it came, as far as a signature can cover it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// All its headers.
    pub headers: &'a HeaderMap,
    /// Its target; only the query is looked at.
    pub uri: &'a Uri,
    /// Its whole body, byte for byte.
    pub body: &'a Bytes,
}

/// A request whose signature was good.
#[derive(Debug)]
pub enum Admitted {
    /// An event, to be kept before it is answered.
    Event(Verified<WebhookReceived>),
    /// A handshake: answered at once, and nothing to keep.
    Greeting(Reply),
}

/// Something whose signature was good. Only [`Source::verify`] makes one.
#[derive(Debug)]
pub struct Verified<T> {
    inner: T,
    reply: Option<Reply>,
}

impl<T> Verified<T> {
    /// What was verified.
    pub fn get(&self) -> &T {
        &self.inner
    }

    /// What its sender is told once it is durable, if that is more than a 2xx. For a duplicate it is the same.
    pub fn reply(&self) -> Option<&Reply> {
        self.reply.as_ref()
    }

    pub(super) fn into_inner(self) -> T {
        self.inner
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
    /// Too many items in the header, or in a form that is signed field by field.
    #[error("the signature header or the signed form has too many items")]
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
    /// A token of another algorithm than the one there is.
    #[error("the token names another algorithm than ES256")]
    WrongAlgorithm,
    /// The sender doesn't know this key.
    #[error("the token's key is unknown to the sender's API")]
    UnknownKey,
    /// The sender has withdrawn this key.
    #[error("the token's key has been withdrawn by its sender")]
    ExpiredKey,
    /// Whether the sender knows this key can't be asked just now.
    #[error("the token's key could not be fetched")]
    KeyUnavailable,
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
            Self::WrongAlgorithm => "algorithm_wrong",
            Self::UnknownKey => "key_unknown",
            Self::ExpiredKey => "key_expired",
            Self::KeyUnavailable => "key_unavailable",
        }
    }

    /// The same request may be found good later: it is put off, not refused.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::KeyUnavailable)
    }
}

impl Source {
    /// Checks a request's raw bytes and reads from them who they are. Waits for nothing, unless the scheme's key must be
    /// fetched first.
    ///
    /// # Errors
    /// When the sender can't be proven.
    pub async fn verify(&self, incoming: Incoming<'_>, now: Timestamp) -> Result<Admitted, VerifyError> {
        let with = match &self.proof {
            Proof::Signature { signature, keys } => prove(signature, keys, incoming, now, self.tolerance)?.to_owned(),
            Proof::Plaid(plaid) => plaid.prove(incoming, now, self.tolerance).await?,
        };
        let json = if self.pick.is_empty() { None } else { self.pick.read(incoming.body) };
        let json = json.as_ref();
        if let Some(reply) = self.answers.greet(json) {
            return Ok(Admitted::Greeting(reply));
        }
        let event_id = self.look.id(incoming, json);
        let event_type = self.look.event_type(incoming, json);
        let reply = self.answers.thank(&event_id, json);
        let inner = WebhookReceived {
            source: self.name.clone(),
            event_id,
            handle_as: self.kinds.get(&event_type).or_else(|| self.kinds.get("*")).cloned(),
            event_type,
            received_at: now,
            verified_with: Some(with),
            headers: self.look.headers(incoming.headers),
            body: RawBody::new(incoming.body.clone()),
        };
        Ok(Admitted::Event(Verified { inner, reply }))
    }
}

/// The place of the key that fits.
fn prove<'k>(
    signature: &Signature,
    keys: &'k [Key],
    incoming: Incoming<'_>,
    now: Timestamp,
    tolerance: Duration,
) -> Result<&'k str, VerifyError> {
    let mut claim = signature.read(incoming.headers);
    let mut fits = vec![Choice::from(0); keys.len()];
    let no_url = [String::new()];
    for url in if signature.urls.is_empty() { &no_url[..] } else { &signature.urls[..] } {
        let (id, time) = (claim.id.unwrap_or_default(), claim.time.unwrap_or_default());
        let (parts, filled) = signature.template.fill(Values { id, time, url, incoming });
        if let Err(wrong) = filled {
            claim.blame(wrong);
        }
        for (fits, key) in fits.iter_mut().zip(keys) {
            *fits |= key.fits(&parts, &claim.candidates, signature.encoding);
        }
    }
    if let Some(wrong) = claim.wrong {
        return Err(wrong);
    }
    let key = fits.iter().zip(keys).find(|(fits, _)| bool::from(**fits)).ok_or(VerifyError::Mismatch)?.1;
    if claim.at.is_some_and(|at| is_stale(at, now, tolerance)) {
        return Err(VerifyError::Stale);
    }
    Ok(key.place())
}

/// Too old, or too far ahead.
pub(super) fn is_stale(at: Timestamp, now: Timestamp, tolerance: Duration) -> bool {
    at.since(now).max(now.since(at)) > tolerance
}
