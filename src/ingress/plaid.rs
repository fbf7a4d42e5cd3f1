//! Plaid's proof: a JWT over the body's hash, checked with a key that Plaid's API gives out.
//!
//! What costs nothing comes first: algorithm, age, body hash. Only a token that passes them may make us ask Plaid for a key. A
//! refusal costs one check of a signature whatever the reason; only one that had to ask takes longer.

mod cache;
mod jwt;
mod keys;

use std::time::Duration;

use axum::http::HeaderName;
use p256::ecdsa::VerifyingKey;
use p256::ecdsa::signature::Verifier as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use self::jwt::Token;
pub(super) use self::keys::PlaidKeys;
use super::key::decoy;
use super::signature::single;
use super::verify::{Incoming, VerifyError, is_stale};
use crate::clock::Timestamp;

/// Where the token is.
pub(super) const HEADER: HeaderName = HeaderName::from_static("plaid-verification");

/// Checks Plaid's tokens.
#[derive(Clone, Debug)]
pub(super) struct Plaid {
    keys: PlaidKeys,
}

impl Plaid {
    pub(super) fn new(keys: PlaidKeys) -> Self {
        Self { keys }
    }

    /// The key that fits: `plaid:<kid>`.
    pub(super) async fn prove(
        &self,
        incoming: Incoming<'_>,
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<String, VerifyError> {
        let digest = hex::encode(Sha256::digest(incoming.body));
        let token = single(incoming.headers, &HEADER).and_then(Token::read);
        let token = token.and_then(|token| claims_hold(&token, &digest, now, tolerance).map(|()| token));
        let found = match token {
            Ok(token) => self.keys.get(&token.kid, now).await.map(|key| (token, key)),
            Err(wrong) => Err(wrong),
        };
        match found {
            Ok((token, key)) => match key.verify(token.signed, &token.signature) {
                Ok(()) => Ok(format!("plaid:{}", token.kid)),
                Err(_) => Err(VerifyError::Mismatch),
            },
            Err(wrong) => {
                in_vain(incoming.body);
                Err(wrong)
            }
        }
    }
}

fn claims_hold(token: &Token<'_>, digest: &str, now: Timestamp, tolerance: Duration) -> Result<(), VerifyError> {
    let same_body = bool::from(digest.as_bytes().ct_eq(token.body_digest.as_bytes()));
    if is_stale(token.issued_at, now, tolerance) {
        return Err(VerifyError::Stale);
    }
    if same_body { Ok(()) } else { Err(VerifyError::Mismatch) }
}

/// The work of one check, for nothing: the key and the signature are nobody's.
fn in_vain(message: &[u8]) {
    let nobody = VerifyingKey::from_affine(p256::AffinePoint::GENERATOR);
    if let (Ok(key), Some(signature)) = (nobody, decoy()) {
        std::hint::black_box(key.verify(&message[..message.len().min(256)], &signature).is_ok());
    }
}
