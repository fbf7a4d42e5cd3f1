//! Keys that signatures are checked with: read from where the configuration points, held ready, never shown.
//!
//! Each key knows the name of its place, which is told when it fits. A shared secret makes the expected signature, as the
//! sender would write it, and compares texts; a public key decodes what came, in exactly one form, and checks that.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signature as Ed25519Signature;
use hmac::{Hmac, KeyInit as _, Mac};
use p256::ecdsa::Signature as P256Signature;
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq as _};

use super::signature::{Candidate, Version};
use crate::config::ingress::{Encoding, Hash, SecretForm};

/// Checked in the place of a signature that can't be one, so that it costs what a wrong one costs.
const DECOY: [u8; 64] = [
    0x28, 0xb4, 0xab, 0x5f, 0x09, 0xcc, 0xe3, 0x0c, 0x7f, 0x7f, 0x4a, 0xb4, 0xb4, 0x7c, 0x31, 0x1f, 0x0c, 0xe8, 0x3d,
    0xd8, 0xfe, 0xc0, 0x6d, 0x34, 0xe4, 0x02, 0xc4, 0x4d, 0x64, 0x22, 0x3b, 0xe5, 0x01, 0x6f, 0x95, 0x33, 0x9e, 0x64,
    0xbd, 0xab, 0xcb, 0xd3, 0x95, 0xe9, 0x14, 0x7a, 0xfe, 0x3f, 0x8c, 0xd0, 0x24, 0x86, 0x83, 0x30, 0xab, 0x41, 0x01,
    0x4a, 0xe5, 0x1b, 0x55, 0x73, 0xa0, 0x09,
];

/// How the secrets of a scheme are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyForm {
    /// An HMAC's secret.
    Mac(SecretForm, Hash),
    /// Standard Webhooks: `whsec_` for `v1`, `whpk_` for `v1a`.
    Standard,
    /// An Ed25519 public key in hexadecimal.
    Ed25519Hex,
    /// A P-256 public key: base64 of its SubjectPublicKeyInfo.
    P256Spki,
}

/// One key, and where it came from.
#[derive(Clone)]
pub(super) struct Key {
    place: String,
    sort: Sort,
}

#[derive(Clone)]
enum Sort {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

impl Key {
    /// `Err`: what is wrong with the secret, without a word of it.
    pub(super) fn new(place: String, secret: &str, form: KeyForm) -> Result<Self, &'static str> {
        if secret.is_empty() {
            return Err("is empty");
        }
        let sort = match form {
            KeyForm::Mac(form, hash) => mac(secret, form, hash)?,
            KeyForm::Standard if secret.starts_with("whsk_") => {
                return Err("is a private key (`whsk_`), which belongs to the sender; a receiver takes `whpk_`");
            }
            KeyForm::Standard => match secret.strip_prefix("whpk_") {
                Some(text) => ed25519(&STANDARD.decode(text).map_err(|_| "is not `whpk_` and base64")?)?,
                None => mac(secret, SecretForm::Whsec, Hash::Sha256)?,
            },
            KeyForm::Ed25519Hex => ed25519(&hex::decode(secret).map_err(|_| "is not hexadecimal")?)?,
            KeyForm::P256Spki => {
                let der = STANDARD.decode(secret).map_err(|_| "is not base64")?;
                let key = p256::ecdsa::VerifyingKey::from_public_key_der(&der);
                Sort::P256(key.map_err(|_| "is not a P-256 public key (SubjectPublicKeyInfo)")?)
            }
        };
        Ok(Self { place, sort })
    }

    /// Where it came from: `env:<variable>` or `file:<path>`.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Which signatures it is for.
    pub(super) fn version(&self) -> Version {
        match self.sort {
            Sort::Sha1(_) | Sort::Sha256(_) | Sort::Sha512(_) => Version::Shared,
            Sort::Ed25519(_) | Sort::P256(_) => Version::Public,
        }
    }

    /// Whether one of the candidates signs all `parts` in a row. Looks at each of them, also after one that fits.
    pub(super) fn fits(&self, parts: &[Cow<'_, [u8]>], candidates: &[Candidate<'_>], encoding: Encoding) -> Choice {
        let mine = candidates.iter().filter(|c| c.version == self.version()).map(|c| c.text);
        let Some(expected) = self.sign(parts, encoding) else {
            let (message, mut texts) = (parts.concat(), mine.collect::<Vec<_>>());
            if texts.is_empty() {
                // Nothing to check costs what a wrong signature costs.
                texts.push("");
            }
            return texts.iter().fold(Choice::from(0), |fits, text| fits | self.proves(&message, text, encoding));
        };
        // Slices of different lengths are unequal, so neither a part of a signature nor a longer one will do.
        mine.fold(Choice::from(0), |fits, text| fits | expected.as_bytes().ct_eq(text.as_bytes()))
    }

    /// What a sender with this secret would write; `None`: only it can.
    fn sign(&self, parts: &[Cow<'_, [u8]>], encoding: Encoding) -> Option<String> {
        let mac = match &self.sort {
            Sort::Sha1(key) => finish(key.clone(), parts),
            Sort::Sha256(key) => finish(key.clone(), parts),
            Sort::Sha512(key) => finish(key.clone(), parts),
            Sort::Ed25519(_) | Sort::P256(_) => return None,
        };
        Some(write(&mac, encoding))
    }

    fn proves(&self, message: &[u8], text: &str, encoding: Encoding) -> Choice {
        let bytes = read(text, encoding);
        let good = match &self.sort {
            Sort::Ed25519(key) => {
                let given = bytes.as_deref().and_then(|b| <[u8; 64]>::try_from(b).ok());
                let signature = Ed25519Signature::from_bytes(&given.unwrap_or(DECOY));
                // Strict: a key or a point of small order proves nothing.
                key.verify_strict(message, &signature).is_ok() & given.is_some()
            }
            Sort::P256(key) => {
                let given = bytes.as_deref().and_then(|b| P256Signature::from_der(b).ok());
                given.or_else(decoy).is_some_and(|signature| key.verify(message, &signature).is_ok() & given.is_some())
            }
            Sort::Sha1(_) | Sort::Sha256(_) | Sort::Sha512(_) => false,
        };
        Choice::from(u8::from(good))
    }
}

/// A P-256 signature of nothing.
pub(super) fn decoy() -> Option<P256Signature> {
    P256Signature::from_slice(&DECOY).ok()
}

fn mac(secret: &str, form: SecretForm, hash: Hash) -> Result<Sort, &'static str> {
    let bytes = match form {
        SecretForm::Raw => secret.as_bytes().to_vec(),
        SecretForm::Base64 => STANDARD.decode(secret).map_err(|_| "is not base64")?,
        SecretForm::Hex => hex::decode(secret).map_err(|_| "is not hexadecimal")?,
        SecretForm::Whsec => {
            let text = secret.strip_prefix("whsec_").unwrap_or(secret);
            STANDARD.decode(text).map_err(|_| "is not `whsec_` and base64")?
        }
    };
    if bytes.is_empty() {
        return Err("is empty");
    }
    // An HMAC takes keys of any length; the error exists for other algorithms.
    let unusable = |_| "can't be used as a key";
    Ok(match hash {
        Hash::Sha1 => Sort::Sha1(Hmac::new_from_slice(&bytes).map_err(unusable)?),
        Hash::Sha256 => Sort::Sha256(Hmac::new_from_slice(&bytes).map_err(unusable)?),
        Hash::Sha512 => Sort::Sha512(Hmac::new_from_slice(&bytes).map_err(unusable)?),
    })
}

fn ed25519(bytes: &[u8]) -> Result<Sort, &'static str> {
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| "is not 32 bytes long")?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| "is not an Ed25519 public key")?;
    if key.is_weak() { Err("is an Ed25519 key that anybody can sign for") } else { Ok(Sort::Ed25519(key)) }
}

fn finish(mut mac: impl Mac, parts: &[Cow<'_, [u8]>]) -> Vec<u8> {
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn write(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex => lower_hex(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}

/// As `hex::encode`, which goes by single characters.
pub(super) fn lower_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes that `text` stands for, if it is the one way to write them.
fn read(text: &str, encoding: Encoding) -> Option<Vec<u8>> {
    let bytes = match encoding {
        Encoding::Hex => hex::decode(text).ok()?,
        Encoding::Base64 => STANDARD.decode(text).ok()?,
    };
    (write(&bytes, encoding) == text).then_some(bytes)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.place)
    }
}
