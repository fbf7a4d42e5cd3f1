//! How a sender signs: where signature and time stand, how they are written, and what is signed.
//!
//! Senders that sign in a header differ in these axes alone, so all such schemes are values of one type. Reading a header
//! is total: it never fails early, so that every refusal takes the same way through the check.

use axum::http::{HeaderMap, HeaderName};

use super::key::Key;
use super::template::{Piece, Template};
use super::verify::VerifyError;
use crate::clock::Timestamp;
use crate::config::ingress::{Encoding, HmacConfig, TimeUnit};

/// More signatures in one header are an attack on the verifier's time, not a rotation.
const MAX_ITEMS: usize = 16;
/// Checking one against a public key costs as much as a hundred MACs.
const MAX_PUBLIC: usize = 4;
/// Seconds since 1970 with up to twelve digits reach the year 33658; milliseconds have three digits more.
const MAX_TIME_DIGITS: usize = 15;

/// One way to sign.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    /// Where it is looked for: the first whose signature header is there, else the first.
    pub(super) names: Vec<Names>,
    pub(super) grammar: Grammar,
    pub(super) encoding: Encoding,
    pub(super) template: Template,
    pub(super) unit: TimeUnit,
    /// The public addresses that the sender may have signed, without a query.
    pub(super) urls: Vec<String>,
}

/// The headers that belong together.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) signature: HeaderName,
    pub(super) timestamp: Option<HeaderName>,
    pub(super) id: Option<HeaderName>,
}

/// What the header's text looks like.
#[derive(Clone, Debug)]
pub(super) enum Grammar {
    /// One signature behind a fixed prefix.
    Plain { prefix: String, version: Version },
    /// Labelled items; those with one of the labels are signatures, of the version beside it.
    List { separator: char, joint: char, labels: Vec<(String, Version)>, timestamp: Option<String> },
}

/// What sort of key a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// A secret that both sides know.
    Shared,
    /// The sender's private key.
    Public,
}

/// A signature as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) version: Version,
    pub(super) text: &'a str,
}

/// What the headers say; `wrong` is the first thing about them that can't be right.
#[derive(Debug, Default)]
pub(super) struct Claim<'a> {
    pub(super) candidates: Vec<Candidate<'a>>,
    pub(super) id: Option<&'a str>,
    pub(super) time: Option<&'a str>,
    pub(super) at: Option<Timestamp>,
    pub(super) wrong: Option<VerifyError>,
}

/// The key that is wrong, and why.
pub(super) type Wrong = (&'static str, String);

impl Signature {
    /// As the configuration describes it.
    pub(super) fn configured(config: &HmacConfig, id: Option<HeaderName>) -> Result<Self, Wrong> {
        let header = header_name("hmac.signature_header", &config.signature_header)?;
        let template = Template::parse(&config.template).map_err(|why| ("hmac.template", why))?;
        let timestamp =
            config.timestamp_header.as_deref().map(|name| header_name("hmac.timestamp_header", name)).transpose()?;
        if template.has(&Piece::Id) && id.is_none() {
            return Err(("id", "must be a `header:…`, because the template signs `{id}`".to_owned()));
        }
        let names = vec![Names { signature: header, timestamp, id: id.filter(|_| template.has(&Piece::Id)) }];
        let (grammar, encoding, unit) = (configured_grammar(config)?, config.encoding, config.timestamp_unit);
        let signature = Self { names, grammar, encoding, template, unit, urls: Vec::new() };
        signature.check_time().map(|()| signature)
    }

    fn check_time(&self) -> Result<(), Wrong> {
        let in_list = matches!(&self.grammar, Grammar::List { timestamp: Some(_), .. });
        let in_header = self.names.iter().any(|n| n.timestamp.is_some());
        match (in_list || in_header, self.signs_time()) {
            (true, false) => Err(("hmac.template", "has no `{ts}`, so the time would not be signed".to_owned())),
            (false, true) => Err(("hmac.timestamp_header", "is missing, and `{ts}` is signed".to_owned())),
            _ if in_list && in_header => Err(("hmac.timestamp_header", "the time is in the list already".to_owned())),
            _ => Ok(()),
        }
    }

    /// Signatures of versions that none of these keys is for are passed over.
    pub(super) fn keep_versions_of(&mut self, keys: &[Key]) {
        if let Grammar::List { labels, .. } = &mut self.grammar {
            labels.retain(|(_, version)| keys.iter().any(|key| key.version() == *version));
        }
    }

    pub(super) fn signs_time(&self) -> bool {
        self.template.has(&Piece::Time)
    }

    /// Reads what the headers claim.
    pub(super) fn read<'a>(&self, headers: &'a HeaderMap) -> Claim<'a> {
        let mut claim = Claim::default();
        let there = self.names.iter().find(|names| headers.contains_key(&names.signature));
        let Some(names) = there.or(self.names.first()) else { return claim };
        match single(headers, &names.signature) {
            Ok(text) => self.read_signatures(text, &mut claim),
            Err(wrong) => claim.wrong = Some(wrong),
        }
        if self.template.has(&Piece::Id) {
            let id = names.id.as_ref().and_then(|name| single(headers, name).ok());
            claim.id = id.filter(|id| self.template.can_sign_id(id));
            claim.blame_unless(claim.id.is_some(), VerifyError::BadId);
        }
        if let Some(name) = &names.timestamp {
            claim.time = single(headers, name).ok();
        }
        if self.signs_time() {
            claim.at = claim.time.and_then(|text| parse_time(text, self.unit));
            claim.blame_unless(claim.at.is_some(), VerifyError::BadTime);
        }
        claim
    }

    fn read_signatures<'a>(&self, text: &'a str, claim: &mut Claim<'a>) {
        match &self.grammar {
            Grammar::Plain { prefix, version } => match text.strip_prefix(prefix.as_str()) {
                Some(text) => claim.candidates.push(Candidate { version: *version, text }),
                None => claim.blame(VerifyError::Malformed),
            },
            Grammar::List { separator, joint, labels, timestamp } => {
                for (n, item) in text.split(*separator).enumerate() {
                    if n == MAX_ITEMS {
                        claim.blame(VerifyError::TooMany);
                        break;
                    }
                    let Some((label, text)) = item.trim_start_matches(' ').split_once(*joint) else { continue };
                    if let Some((_, version)) = labels.iter().find(|(known, _)| known == label) {
                        claim.add(Candidate { version: *version, text });
                    } else if Some(label) == timestamp.as_deref() && claim.time.replace(text).is_some() {
                        claim.blame(VerifyError::Malformed);
                    }
                }
                claim.blame_unless(!claim.candidates.is_empty(), VerifyError::NoKnownVersion);
            }
        }
    }
}

fn configured_grammar(config: &HmacConfig) -> Result<Grammar, Wrong> {
    let version = Version::Shared;
    match &config.list {
        None => Ok(Grammar::Plain { prefix: config.prefix.clone(), version }),
        Some(_) if !config.prefix.is_empty() => {
            Err(("hmac.prefix", "a header is either a prefix and one signature or a list".to_owned()))
        }
        Some(list) if list.version.is_empty() => {
            Err(("hmac.list.version", "an empty label; name the one of the signatures that count".to_owned()))
        }
        Some(list) if Some(&list.version) == list.timestamp.as_ref() => {
            Err(("hmac.list.timestamp", "time and signatures can't have the same label".to_owned()))
        }
        Some(list) => Ok(Grammar::List {
            separator: list.separator,
            joint: list.joint,
            labels: vec![(list.version.clone(), version)],
            timestamp: list.timestamp.clone(),
        }),
    }
}

impl<'a> Claim<'a> {
    pub(super) fn blame(&mut self, wrong: VerifyError) {
        self.wrong.get_or_insert(wrong);
    }

    fn blame_unless(&mut self, good: bool, wrong: VerifyError) {
        if !good {
            self.blame(wrong);
        }
    }

    fn add(&mut self, candidate: Candidate<'a>) {
        let public = self.candidates.iter().filter(|c| c.version == Version::Public).count();
        if candidate.version == Version::Public && public == MAX_PUBLIC {
            return self.blame(VerifyError::TooMany);
        }
        self.candidates.push(candidate);
    }
}

/// The text of a header that must be there exactly once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, VerifyError> {
    let mut all = headers.get_all(name).iter();
    let first = all.next().ok_or(VerifyError::Missing)?;
    if all.next().is_some() {
        return Err(VerifyError::Repeated);
    }
    first.to_str().map_err(|_| VerifyError::Malformed)
}

/// Digits alone, no sign, no fraction, no space.
fn parse_time(text: &str, unit: TimeUnit) -> Option<Timestamp> {
    let (digits, factor) = match unit {
        TimeUnit::Seconds => (MAX_TIME_DIGITS - 3, 1000),
        TimeUnit::Milliseconds => (MAX_TIME_DIGITS, 1),
    };
    let plain = (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let number: i64 = if plain { text.parse().ok()? } else { return None };
    Some(Timestamp::from_ms(number.checked_mul(factor)?))
}

pub(super) fn header_name(key: &'static str, text: &str) -> Result<HeaderName, Wrong> {
    text.parse().map_err(|_| (key, format!("`{text}` is not a header's name")))
}
