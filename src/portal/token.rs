//! What a consumer holds: the link's text, the session's cookie, and the code in each form. All are signed, none is kept.
//!
//! Each is made with the data key for a purpose of its own, so that none passes for another. What is not signed by us is
//! refused before the database is asked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::sealing::Sealer;

/// Longer ones are not ours: a tenant has at most 64 bytes.
const MAX_TEXT: usize = 512;
const LINK: &str = "portal link 1";
const SESSION: &str = "portal session 1";
const FORM: &str = "portal form 1";

/// What a link's text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkText {
    pub(super) tenant: String,
    pub(super) id: String,
    pub(super) expires_at: Timestamp,
}

/// What a session's cookie says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionText {
    pub(super) tenant: String,
    pub(super) link: String,
    pub(super) ends_at: Timestamp,
    /// Tells two sessions of one link apart.
    pub(super) nonce: String,
}

impl LinkText {
    pub(super) fn sign(&self, sealer: &Sealer) -> String {
        sign(sealer, LINK, &[&self.tenant, &self.id, &self.expires_at.as_ms().to_string()])
    }

    pub(super) fn open(sealer: &Sealer, text: &str) -> Option<Self> {
        let [tenant, id, expires_at] = open(sealer, LINK, text)?;
        Some(Self { tenant, id, expires_at: time(&expires_at)? })
    }
}

impl SessionText {
    pub(super) fn sign(&self, sealer: &Sealer) -> String {
        sign(sealer, SESSION, &[&self.tenant, &self.link, &self.ends_at.as_ms().to_string(), &self.nonce])
    }

    pub(super) fn open(sealer: &Sealer, text: &str) -> Option<Self> {
        let [tenant, link, ends_at, nonce] = open(sealer, SESSION, text)?;
        Some(Self { tenant, link, ends_at: time(&ends_at)?, nonce })
    }

    /// The code that this session's forms carry.
    pub(super) fn form_code(&self, sealer: &Sealer) -> String {
        URL_SAFE_NO_PAD.encode(sealer.code(FORM, self.form_text().as_bytes()))
    }

    /// Says whether a form carries this session's code.
    pub(super) fn is_form_code(&self, sealer: &Sealer, code: &str) -> bool {
        code.len() <= MAX_TEXT
            && URL_SAFE_NO_PAD.decode(code).is_ok_and(|code| sealer.made(FORM, self.form_text().as_bytes(), &code))
    }

    fn form_text(&self) -> String {
        format!("{}|{}|{}", self.tenant, self.link, self.nonce)
    }
}

/// None of the parts holds the separator: tenants, ids, numbers and hex have no `|`.
fn sign(sealer: &Sealer, purpose: &str, parts: &[&str]) -> String {
    let text = parts.join("|");
    let code = sealer.code(purpose, text.as_bytes());
    format!("{}.{}", URL_SAFE_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(code))
}

fn open<const N: usize>(sealer: &Sealer, purpose: &str, signed: &str) -> Option<[String; N]> {
    if signed.len() > MAX_TEXT {
        return None;
    }
    let (text, code) = signed.split_once('.')?;
    let (text, code) = (URL_SAFE_NO_PAD.decode(text).ok()?, URL_SAFE_NO_PAD.decode(code).ok()?);
    if !sealer.made(purpose, &text, &code) {
        return None;
    }
    let parts: Vec<String> = String::from_utf8(text).ok()?.split('|').map(str::to_owned).collect();
    parts.try_into().ok()
}

fn time(ms: &str) -> Option<Timestamp> {
    ms.parse().ok().map(Timestamp::from_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Entropy;

    fn sealer(seed: u64) -> Sealer {
        Sealer::new(&Sealer::new_key(&Entropy::seeded(seed)), &[]).unwrap()
    }

    fn link() -> LinkText {
        LinkText { tenant: "acme".into(), id: "lnk_1".into(), expires_at: Timestamp::from_ms(1_000) }
    }

    fn session() -> SessionText {
        let (tenant, link, nonce) = ("acme".into(), "lnk_1".into(), "00ff".into());
        SessionText { tenant, link, ends_at: Timestamp::from_ms(1_000), nonce }
    }

    #[test]
    fn a_text_opens_with_its_key_and_says_what_was_signed() {
        let (ours, other) = (sealer(1), sealer(2));
        assert_eq!(LinkText::open(&ours, &link().sign(&ours)), Some(link()));
        assert_eq!(SessionText::open(&ours, &session().sign(&ours)), Some(session()));
        assert_eq!(LinkText::open(&other, &link().sign(&ours)), None);
    }

    #[test]
    fn no_text_passes_for_another_sort() {
        let ours = sealer(1);
        assert_eq!(SessionText::open(&ours, &link().sign(&ours)), None);
        assert_eq!(LinkText::open(&ours, &session().sign(&ours)), None);
        assert!(!session().is_form_code(&ours, &session().sign(&ours)));
        let other = SessionText { nonce: "00fe".into(), ..session() };
        assert!(session().is_form_code(&ours, &session().form_code(&ours)));
        assert!(!session().is_form_code(&ours, &other.form_code(&ours)));
        assert!(!session().is_form_code(&ours, ""));
    }

    #[test]
    fn each_bit_that_is_changed_and_each_cut_is_refused() {
        let ours = sealer(1);
        let signed = link().sign(&ours);
        for at in 0..signed.len() {
            let mut bytes = signed.clone().into_bytes();
            for bit in 0..7 {
                bytes[at] ^= 1 << bit;
                let changed = String::from_utf8(bytes.clone()).unwrap();
                assert_eq!(LinkText::open(&ours, &changed), None, "byte {at}, bit {bit}: {changed}");
                bytes[at] ^= 1 << bit;
            }
            assert_eq!(LinkText::open(&ours, &signed[..at]), None, "cut at {at}");
        }
        for junk in
            ["", ".", "..", "a.b", &"A".repeat(600), "\u{0}.\u{0}", &format!("{signed}A"), &format!(" {signed}")]
        {
            assert_eq!(LinkText::open(&ours, junk), None, "{junk}");
        }
    }
}
