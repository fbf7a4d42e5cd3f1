//! Seals what must not be readable in the database: XChaCha20-Poly1305 with a random 24-byte nonce.
//!
//! A sealed value names the key that made it, so that keys can be changed: new values use the current key, old ones
//! stay readable as long as their key is given as a previous one. The caller's context (`tenant|item`) is
//! authenticated with the value; a value moved to another row does not open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::clock::Entropy;

const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// Why a value was not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key's text is none.
    #[error("not 32 bytes in base64; make one with `openssl rand -base64 32`")]
    Key,
    /// Nobody gave a key.
    #[error("there is no data key: set TIDEMILL_DATA_KEY or TIDEMILL_DATA_KEY_FILE as the service has it")]
    NoKey,
    /// The key that sealed it was not given.
    #[error("sealed with key `{0}`, which is not configured: give it as TIDEMILL_DATA_KEY_PREVIOUS")]
    UnknownKey(String),
    /// It was changed, cut, or belongs to another row.
    #[error("does not open: it was changed, or it belongs to another row")]
    Broken,
}

/// A sealed value as a row keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Which key made it.
    pub key_id: String,
    /// Nonce and ciphertext.
    pub bytes: Vec<u8>,
}

/// Seals with the current key, opens with any that it knows.
#[derive(Clone)]
pub struct Sealer {
    current: NamedKey,
    previous: Vec<NamedKey>,
}

#[derive(Clone)]
struct NamedKey {
    id: String,
    cipher: XChaCha20Poly1305,
    /// What codes are made with; derived, so that a code says nothing of the key that seals.
    codes: [u8; KEY_BYTES],
}

impl Sealer {
    /// Takes keys as base64 text of 32 bytes.
    ///
    /// # Errors
    /// [`SealError::Key`] when one of them is none.
    pub fn new(current: &SecretString, previous: &[SecretString]) -> Result<Self, SealError> {
        let previous = previous.iter().map(NamedKey::parse).collect::<Result<_, _>>()?;
        Ok(Self { current: NamedKey::parse(current)?, previous })
    }

    /// A new key's text: 32 random bytes in base64.
    pub fn new_key(entropy: &Entropy) -> SecretString {
        let mut bytes = [0; KEY_BYTES];
        entropy.fill(&mut bytes);
        STANDARD.encode(bytes).into()
    }

    /// The id of the key that seals new values; it gives nothing of the key away.
    pub fn current_key(&self) -> &str {
        &self.current.id
    }

    /// Says whether it can open what the key with this id has sealed.
    pub fn knows(&self, key_id: &str) -> bool {
        self.keys().any(|key| key.id == key_id)
    }

    /// Seals `plain` for the row that `context` names.
    ///
    /// # Errors
    /// [`SealError::Broken`] when `plain` is longer than the cipher allows (256 GiB).
    pub fn seal(&self, context: &str, plain: &SecretString, entropy: &Entropy) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let payload = Payload { msg: plain.expose_secret().as_bytes(), aad: context.as_bytes() };
        let ciphertext =
            self.current.cipher.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| SealError::Broken)?;
        Ok(Sealed { key_id: self.current.id.clone(), bytes: [&nonce[..], &ciphertext].concat() })
    }

    /// Opens what was sealed for the same row.
    ///
    /// # Errors
    /// When its key is not known, or it is not what was sealed for this row.
    pub fn open(&self, context: &str, sealed: &Sealed) -> Result<SecretString, SealError> {
        let key = self
            .keys()
            .find(|key| key.id == sealed.key_id)
            .ok_or_else(|| SealError::UnknownKey(sealed.key_id.clone()))?;
        let (nonce, ciphertext) = sealed.bytes.split_at_checked(NONCE_BYTES).ok_or(SealError::Broken)?;
        let payload = Payload { msg: ciphertext, aad: context.as_bytes() };
        let plain = key.cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| SealError::Broken)?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| SealError::Broken)
    }

    /// A code that only a holder of the current key can make for `message`. Codes of one `purpose` are good for no other.
    pub fn code(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        self.current.code(purpose, message).finalize().into_bytes().into()
    }

    /// Says whether any of the keys made this code for `message`, in constant time for each key.
    pub fn made(&self, purpose: &str, message: &[u8], code: &[u8]) -> bool {
        self.keys().any(|key| key.code(purpose, message).verify_slice(code).is_ok())
    }

    fn keys(&self) -> impl Iterator<Item = &NamedKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("current", &self.current.id).field("previous", &self.previous.len()).finish()
    }
}

impl NamedKey {
    fn parse(text: &SecretString) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(text.expose_secret().trim()).map_err(|_| SealError::Key)?;
        let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| SealError::Key)?;
        // The id tells keys apart and gives nothing of the key away.
        let digest = Sha256::new().chain_update(b"tidemill data key id\0").chain_update(bytes).finalize();
        let cipher = <XChaCha20Poly1305 as chacha20poly1305::KeyInit>::new(Key::from_slice(&bytes));
        let codes = keyed(&bytes).chain_update(b"tidemill codes\0").finalize().into_bytes().into();
        Ok(Self { id: hex::encode(&digest[..8]), cipher, codes })
    }

    fn code(&self, purpose: &str, message: &[u8]) -> Hmac<Sha256> {
        let own: [u8; KEY_BYTES] = keyed(&self.codes).chain_update(purpose.as_bytes()).finalize().into_bytes().into();
        keyed(&own).chain_update(message)
    }
}

fn keyed(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    // A key of a whole block can't be of the wrong length; shorter ones are filled with zeros, as HMAC has it.
    let mut block = [0; 64];
    block[..KEY_BYTES].copy_from_slice(key);
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretString {
        STANDARD.encode([byte; 32]).into()
    }

    #[test]
    fn a_sealed_value_opens_only_for_its_own_row() {
        let sealer = Sealer::new(&key(1), &[]).unwrap();
        let sealed = sealer.seal("t1|item_1", &"access-1".into(), &Entropy::seeded(1)).unwrap();
        assert_eq!(sealer.open("t1|item_1", &sealed).unwrap().expose_secret(), "access-1");
        assert_eq!(sealer.open("t2|item_1", &sealed).unwrap_err(), SealError::Broken);
        assert!(!sealed.bytes.windows(8).any(|w| w == b"access-1"));
    }

    #[test]
    fn a_changed_or_cut_value_does_not_open() {
        let sealer = Sealer::new(&key(1), &[]).unwrap();
        let sealed = sealer.seal("c", &"access-1".into(), &Entropy::seeded(1)).unwrap();
        for at in [0, NONCE_BYTES, sealed.bytes.len() - 1] {
            let mut changed = sealed.clone();
            changed.bytes[at] ^= 1;
            assert_eq!(sealer.open("c", &changed).unwrap_err(), SealError::Broken);
        }
        let cut = Sealed { bytes: sealed.bytes[..10].to_vec(), ..sealed };
        assert_eq!(sealer.open("c", &cut).unwrap_err(), SealError::Broken);
    }

    #[test]
    fn a_nonce_is_never_used_twice() {
        let (sealer, entropy) = (Sealer::new(&key(1), &[]).unwrap(), Entropy::seeded(7));
        let one = sealer.seal("c", &"same".into(), &entropy).unwrap();
        let two = sealer.seal("c", &"same".into(), &entropy).unwrap();
        assert_ne!(one.bytes, two.bytes);
    }

    #[test]
    fn old_values_open_with_a_previous_key_and_name_it_when_it_is_missing() {
        let old = Sealer::new(&key(1), &[]).unwrap().seal("c", &"v".into(), &Entropy::seeded(1)).unwrap();
        let rotated = Sealer::new(&key(2), &[key(1)]).unwrap();
        assert_eq!(rotated.open("c", &old).unwrap().expose_secret(), "v");
        assert_ne!(rotated.seal("c", &"v".into(), &Entropy::seeded(1)).unwrap().key_id, old.key_id);
        let forgot = Sealer::new(&key(2), &[]).unwrap();
        assert_eq!(forgot.open("c", &old).unwrap_err(), SealError::UnknownKey(old.key_id.clone()));
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        assert_eq!(Sealer::new(&STANDARD.encode([1; 16]).into(), &[]).unwrap_err(), SealError::Key);
        assert_eq!(Sealer::new(&"not base64!".into(), &[]).unwrap_err(), SealError::Key);
    }

    #[test]
    fn a_code_holds_for_its_key_its_purpose_and_its_message_only() {
        let (one, two) = (Sealer::new(&key(1), &[]).unwrap(), Sealer::new(&key(2), &[]).unwrap());
        let code = one.code("links", b"acme");
        assert!(one.made("links", b"acme", &code));
        assert!(!one.made("links", b"acmf", &code) && !one.made("forms", b"acme", &code));
        assert!(!two.made("links", b"acme", &code) && !one.made("links", b"acme", &code[..31]));
        assert!(!one.made("links", b"acme", b""));
        let rotated = Sealer::new(&key(2), &[key(1)]).unwrap();
        assert!(rotated.made("links", b"acme", &code), "what an older key made still holds");
        assert_eq!(rotated.code("links", b"acme"), two.code("links", b"acme"));
    }
}
