//! Standard Webhooks signatures: secrets, and the `webhook-signature` list they make.
//!
//! A [`Secret`] never shows itself in a log; [`Secret::reveal`] is the one way to its text. All unexpired secrets of an
//! endpoint sign, the current one first, so a receiver may change over at any time during a rotation.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::clock::Entropy;

const PREFIX: &str = "whsec_";
const NEW_BYTES: usize = 32;

/// A signing secret: `whsec_` and 24 to 64 bytes in base64.
#[derive(Clone)]
pub struct Secret {
    text: SecretString,
    key: secrecy::SecretSlice<u8>,
}

/// Text that is no secret. Does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing secret is not `whsec_` followed by 24 to 64 bytes in base64")]
pub struct InvalidSecret;

impl Secret {
    /// A new one of 32 random bytes.
    pub fn generate(entropy: &Entropy) -> Self {
        let mut key = vec![0; NEW_BYTES];
        entropy.fill(&mut key);
        Self { text: format!("{PREFIX}{}", STANDARD.encode(&key)).into(), key: key.into() }
    }

    /// Its text, to be shown once to the one who registers the endpoint, and to be kept.
    pub fn reveal(&self) -> &str {
        self.text.expose_secret()
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let key = text.strip_prefix(PREFIX).and_then(|b64| STANDARD.decode(b64).ok()).ok_or(InvalidSecret)?;
        if !(24..=64).contains(&key.len()) {
            return Err(InvalidSecret);
        }
        Ok(Self { text: text.to_owned().into(), key: key.into() })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The value of `webhook-signature`: one `v1,…` for each secret, joined by spaces.
pub fn sign(secrets: &[Secret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let mut list = String::new();
    for secret in secrets {
        let mac = Hmac::<Sha256>::new_from_slice(secret.key.expose_secret());
        // HMAC takes a key of any length, so there is nothing to refuse here.
        let Ok(mut mac) = mac else { continue };
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        if !list.is_empty() {
            list.push(' ');
        }
        list.push_str("v1,");
        STANDARD.encode_string(mac.finalize().into_bytes(), &mut list);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_webhooks_vector_is_reproduced() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let list = sign(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(list, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_secret_signs() {
        let entropy = Entropy::seeded(1);
        let (old, new) = (Secret::generate(&entropy), Secret::generate(&entropy));
        let both = sign(&[new.clone(), old.clone()], "msg_1", 1, b"{}");
        let apart = [sign(&[new], "msg_1", 1, b"{}"), sign(&[old], "msg_1", 1, b"{}")];
        assert_eq!(both.split(' ').collect::<Vec<_>>(), apart);
        assert_ne!(apart[0], apart[1]);
    }

    #[test]
    fn a_secret_keeps_its_text_and_does_not_show_it() {
        let secret = Secret::generate(&Entropy::seeded(2));
        let again: Secret = secret.reveal().parse().unwrap();
        assert_eq!(again.reveal(), secret.reveal());
        assert!(!format!("{secret:?}").contains(&secret.reveal()[6..]));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_repeated() {
        let (short, long) =
            (format!("whsec_{}", STANDARD.encode([1; 23])), format!("whsec_{}", STANDARD.encode([1; 65])));
        for text in ["", "whsec_", "secret", "whsec_!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &short, &long] {
            let error = text.parse::<Secret>().unwrap_err().to_string();
            assert_eq!(error, InvalidSecret.to_string());
        }
    }
}
