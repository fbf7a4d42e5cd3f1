//! Reads a JWT (RFC 7519, compact form) as Plaid makes them, and nothing else.
//!
//! ES256 is the only algorithm there is: any other word in `alg`, `none` and other spellings included, is refused before a key
//! is looked for, so no key can be used for what it is not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::Signature;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::clock::Timestamp;
use crate::ingress::verify::VerifyError;

/// Plaid's are below one KiB.
const MAX_BYTES: usize = 4096;
const MAX_KID_BYTES: usize = 100;
/// In seconds, the year 33658.
const MAX_ISSUED_AT: u64 = 999_999_999_999;

/// A token, read and not yet checked.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// Which key.
    pub(super) kid: String,
    /// `iat`.
    pub(super) issued_at: Timestamp,
    /// `request_body_sha256`.
    pub(super) body_digest: String,
    /// Header and claims as they came.
    pub(super) signed: &'a [u8],
    /// Over `signed`.
    pub(super) signature: Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// Extensions that must be understood: none are.
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iat: u64,
    request_body_sha256: String,
}

impl<'a> Token<'a> {
    /// Reads one.
    pub(super) fn read(text: &'a str) -> Result<Self, VerifyError> {
        let malformed = VerifyError::Malformed;
        if text.len() > MAX_BYTES {
            return Err(malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        let header: Header = part(header)?;
        if header.alg != "ES256" {
            return Err(VerifyError::WrongAlgorithm);
        }
        let kid_fits = (1..=MAX_KID_BYTES).contains(&header.kid.len());
        if header.crit.is_some() || !kid_fits || !header.kid.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed);
        }
        let claims: Claims = part(claims)?;
        let seconds = Some(claims.iat).filter(|s| *s <= MAX_ISSUED_AT).and_then(|s| i64::try_from(s).ok());
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?;
        Ok(Self {
            kid: header.kid,
            issued_at: Timestamp::from_ms(seconds.ok_or(VerifyError::BadTime)? * 1000),
            body_digest: claims.request_body_sha256,
            signed: signed.as_bytes(),
            signature: Signature::from_slice(&signature).map_err(|_| malformed)?,
        })
    }
}

fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, VerifyError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| VerifyError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| VerifyError::Malformed)
}
