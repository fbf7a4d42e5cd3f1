//! Signing keys: read from where the configuration points, held ready to sign, never shown.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac};
use sha2::{Sha256, Sha512};

use crate::config::ingress::{Encoding, Hash, SecretForm};

/// One secret, keyed into its hash.
#[derive(Clone)]
pub(super) enum Key {
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl Key {
    /// `Err`: what is wrong with the secret, without a word of it.
    pub(super) fn new(secret: &str, form: SecretForm, hash: Hash) -> Result<Self, &'static str> {
        let bytes = match form {
            SecretForm::Raw => secret.as_bytes().to_vec(),
            SecretForm::Base64 => STANDARD.decode(secret).map_err(|_| "is not base64")?,
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
            Hash::Sha256 => Self::Sha256(Hmac::new_from_slice(&bytes).map_err(unusable)?),
            Hash::Sha512 => Self::Sha512(Hmac::new_from_slice(&bytes).map_err(unusable)?),
        })
    }

    /// The signature of all `parts` in a row, as the sender would write it.
    pub(super) fn sign(&self, parts: &[&[u8]], encoding: Encoding) -> String {
        let mac = match self {
            Self::Sha256(key) => finish(key.clone(), parts),
            Self::Sha512(key) => finish(key.clone(), parts),
        };
        match encoding {
            Encoding::Hex => hex::encode(mac),
            Encoding::Base64 => STANDARD.encode(mac),
        }
    }
}

fn finish(mut mac: impl Mac, parts: &[&[u8]]) -> Vec<u8> {
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
