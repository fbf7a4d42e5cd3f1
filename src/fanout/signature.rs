//! Standard Webhooks signatures: secrets of both schemes, and the `webhook-signature` list they make.
//!
//! `v1` is HMAC-SHA256 with a key that both sides hold (`whsec_…`). `v1a` is Ed25519: the private key (`whsk_…`) never
//! leaves this side, the receiver gets the public one (`whpk_…`). A [`Secret`] never shows itself in a log;
//! [`Secret::handed_out`] is what its receiver gets, [`Secret::reveal`] the one way to the text that is kept. All
//! unexpired secrets of an endpoint sign, the current one first, so a receiver may change over at any time during a
//! rotation.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::clock::Entropy;

const SHARED_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";
const NEW_BYTES: usize = 32;

/// How a signature is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// HMAC-SHA256 with a shared secret.
    #[default]
    V1,
    /// Ed25519; the receiver holds only the public key.
    V1a,
}

impl Scheme {
    /// The word before the comma of a signature.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1a => "v1a",
        }
    }
}

/// A word that is no scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a signature scheme; allowed: v1 (HMAC-SHA256), v1a (Ed25519)")]
pub struct InvalidScheme(String);

impl FromStr for Scheme {
    type Err = InvalidScheme;

    fn from_str(text: &str) -> Result<Self, InvalidScheme> {
        let found = [Self::V1, Self::V1a].into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| InvalidScheme(text.chars().take(80).collect()))
    }
}

/// A signing secret: `whsec_` and 24 to 64 bytes in base64, or `whsk_` and an Ed25519 key pair of 64 bytes.
#[derive(Clone)]
pub struct Secret {
    text: SecretString,
    key: Key,
}

#[derive(Clone)]
enum Key {
    Shared(secrecy::SecretSlice<u8>),
    Pair { private: Box<SigningKey>, public: String },
}

/// Text that is no secret. Does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the signing secret is neither `whsec_` followed by 24 to 64 bytes in base64 nor `whsk_` followed by an Ed25519 key \
     pair of 64 bytes in base64"
)]
pub struct InvalidSecret;

impl Secret {
    /// A new one of 32 random bytes.
    pub fn generate(scheme: Scheme, entropy: &Entropy) -> Self {
        let mut bytes = [0; NEW_BYTES];
        entropy.fill(&mut bytes);
        match scheme {
            Scheme::V1 => {
                let text = format!("{SHARED_PREFIX}{}", STANDARD.encode(bytes));
                Self { text: text.into(), key: Key::Shared(bytes.to_vec().into()) }
            }
            Scheme::V1a => Self::pair(SigningKey::from_bytes(&bytes)),
        }
    }

    /// Its text, to be kept; not to be shown to anybody but the one who brought it.
    pub fn reveal(&self) -> &str {
        self.text.expose_secret()
    }

    /// What a receiver needs to verify its signatures: the shared secret itself, or the public key.
    pub fn handed_out(&self) -> &str {
        match &self.key {
            Key::Shared(_) => self.text.expose_secret(),
            Key::Pair { public, .. } => public,
        }
    }

    /// How it signs.
    pub fn scheme(&self) -> Scheme {
        match &self.key {
            Key::Shared(_) => Scheme::V1,
            Key::Pair { .. } => Scheme::V1a,
        }
    }

    fn pair(private: SigningKey) -> Self {
        let text = format!("{PRIVATE_PREFIX}{}", STANDARD.encode(private.to_keypair_bytes()));
        let public = format!("{PUBLIC_PREFIX}{}", STANDARD.encode(private.verifying_key().as_bytes()));
        Self { text: text.into(), key: Key::Pair { private: Box::new(private), public } }
    }

    /// Adds `v1,…` or `v1a,…` to the list.
    fn sign(&self, content: &[u8], list: &mut String) {
        match &self.key {
            Key::Shared(key) => {
                // HMAC takes a key of any length, so there is nothing to refuse here.
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret()) else { return };
                mac.update(content);
                list.push_str("v1,");
                STANDARD.encode_string(mac.finalize().into_bytes(), list);
            }
            Key::Pair { private, .. } => {
                list.push_str("v1a,");
                STANDARD.encode_string(private.sign(content).to_bytes(), list);
            }
        }
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        if let Some(pair) = text.strip_prefix(PRIVATE_PREFIX) {
            let bytes: [u8; 64] = STANDARD.decode(pair).ok().and_then(|b| b.try_into().ok()).ok_or(InvalidSecret)?;
            // Refused when the second half is not the public key of the first.
            return SigningKey::from_keypair_bytes(&bytes).map(Self::pair).map_err(|_| InvalidSecret);
        }
        let key = text.strip_prefix(SHARED_PREFIX).and_then(|b64| STANDARD.decode(b64).ok()).ok_or(InvalidSecret)?;
        if !(24..=64).contains(&key.len()) {
            return Err(InvalidSecret);
        }
        Ok(Self { text: text.to_owned().into(), key: Key::Shared(key.into()) })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The value of `webhook-signature`: one `v1,…` or `v1a,…` for each secret, joined by spaces.
pub fn sign(secrets: &[Secret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let content = [format!("{id}.{timestamp_s}.").as_bytes(), body].concat();
    let mut list = String::new();
    for secret in secrets {
        if !list.is_empty() {
            list.push(' ');
        }
        secret.sign(&content, &mut list);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const PAIR: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";

    #[test]
    fn the_standard_webhooks_vectors_of_both_schemes_are_reproduced() {
        let shared: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(
            sign(std::slice::from_ref(&shared), ID, AT, BODY),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        let pair: Secret = PAIR.parse().unwrap();
        let signature = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        assert_eq!(sign(std::slice::from_ref(&pair), ID, AT, BODY), signature);
        assert_eq!((pair.reveal(), pair.scheme()), (PAIR, Scheme::V1a));
        let both = format!("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= {signature}");
        assert_eq!(sign(&[shared, pair], ID, AT, BODY), both);
    }

    #[test]
    fn a_receiver_of_ed25519_gets_the_public_key_and_of_hmac_the_shared_one() {
        let pair: Secret = PAIR.parse().unwrap();
        assert_eq!(pair.handed_out(), "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=");
        let shared = Secret::generate(Scheme::V1, &Entropy::seeded(3));
        assert_eq!(shared.handed_out(), shared.reveal());
    }

    #[test]
    fn every_secret_signs() {
        let entropy = Entropy::seeded(1);
        let (old, new) = (Secret::generate(Scheme::V1, &entropy), Secret::generate(Scheme::V1a, &entropy));
        let both = sign(&[new.clone(), old.clone()], "msg_1", 1, b"{}");
        let apart = [sign(&[new], "msg_1", 1, b"{}"), sign(&[old], "msg_1", 1, b"{}")];
        assert_eq!(both.split(' ').collect::<Vec<_>>(), apart);
        assert_ne!(apart[0], apart[1]);
    }

    #[test]
    fn a_secret_keeps_its_text_and_does_not_show_it() {
        for scheme in [Scheme::V1, Scheme::V1a] {
            let secret = Secret::generate(scheme, &Entropy::seeded(2));
            let again: Secret = secret.reveal().parse().unwrap();
            assert_eq!((again.reveal(), again.scheme()), (secret.reveal(), scheme));
            assert!(!format!("{secret:?}").contains(&secret.reveal()[6..]));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_repeated() {
        let (short, long) =
            (format!("whsec_{}", STANDARD.encode([1; 23])), format!("whsec_{}", STANDARD.encode([1; 65])));
        let (half, unpaired) =
            (format!("whsk_{}", STANDARD.encode([1; 32])), format!("whsk_{}", STANDARD.encode([1; 64])));
        let public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
        let bare = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for text in ["", "whsec_", "secret", "whsec_!!", bare, &short, &long, &half, &unpaired, public] {
            let error = text.parse::<Secret>().unwrap_err().to_string();
            assert_eq!(error, InvalidSecret.to_string());
        }
    }
}
