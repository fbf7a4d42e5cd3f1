//! How a sender signs: where signature and time stand, how they are written, and what is signed.
//!
//! All schemes that are an HMAC over the body differ in these axes alone, so Stripe and Standard Webhooks are two values of
//! one type. Reading a header is total: it never fails early, so that every refusal takes the same way through the check.

use axum::http::{HeaderMap, HeaderName};

use super::verify::VerifyError;
use crate::config::ingress::{Encoding, HmacConfig};

/// More signatures in one header are an attack on the verifier's time, not a rotation.
const MAX_ITEMS: usize = 16;
/// Seconds since 1970 with up to twelve digits reach the year 33658.
const MAX_TIME_DIGITS: usize = 12;
const MAX_ID_BYTES: usize = 200;

/// One way to sign.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) header: HeaderName,
    pub(super) grammar: Grammar,
    pub(super) encoding: Encoding,
    pub(super) template: Vec<Piece>,
    pub(super) timestamp_header: Option<HeaderName>,
}

/// What the header's text looks like.
#[derive(Clone, Debug)]
pub(super) enum Grammar {
    /// One signature behind a fixed prefix.
    Plain { prefix: String },
    /// Labelled items; those with the label `version` are signatures.
    List { separator: char, joint: char, version: String, timestamp: Option<String> },
}

/// A part of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Id,
    Time,
    Body,
}

/// What the headers say; `wrong` is the first thing about them that can't be right.
#[derive(Debug, Default)]
pub(super) struct Claim<'a> {
    pub(super) candidates: Vec<&'a str>,
    pub(super) time: Option<&'a str>,
    pub(super) wrong: Option<VerifyError>,
}

impl Signature {
    /// `Stripe-Signature: t=<unix>,v1=<hex>[,v1=…][,v0=…]` over `{t}.{body}`.
    pub(super) fn stripe() -> Self {
        Self {
            header: HeaderName::from_static("stripe-signature"),
            grammar: Grammar::List {
                separator: ',',
                joint: '=',
                version: "v1".to_owned(),
                timestamp: Some("t".to_owned()),
            },
            encoding: Encoding::Hex,
            template: vec![Piece::Time, Piece::Text(".".to_owned()), Piece::Body],
            timestamp_header: None,
        }
    }

    /// `webhook-signature: v1,<base64>[ v1,…]` over `{webhook-id}.{webhook-timestamp}.{body}`.
    pub(super) fn standard_webhooks() -> Self {
        let dot = || Piece::Text(".".to_owned());
        Self {
            header: HeaderName::from_static("webhook-signature"),
            grammar: Grammar::List { separator: ' ', joint: ',', version: "v1".to_owned(), timestamp: None },
            encoding: Encoding::Base64,
            template: vec![Piece::Id, dot(), Piece::Time, dot(), Piece::Body],
            timestamp_header: Some(HeaderName::from_static("webhook-timestamp")),
        }
    }

    /// As the configuration describes it. `Err`: the key that is wrong and why.
    pub(super) fn configured(config: &HmacConfig) -> Result<Self, (&'static str, String)> {
        let header = header_name("hmac.signature_header", &config.signature_header)?;
        let template = parse_template(&config.template)?;
        let grammar = match &config.list {
            None => Grammar::Plain { prefix: config.prefix.clone() },
            Some(_) if !config.prefix.is_empty() => {
                return Err(("hmac.prefix", "a header is either a prefix and one signature or a list".to_owned()));
            }
            Some(list) if list.version.is_empty() => {
                return Err((
                    "hmac.list.version",
                    "an empty label; name the one of the signatures that count".to_owned(),
                ));
            }
            Some(list) if Some(&list.version) == list.timestamp.as_ref() => {
                return Err(("hmac.list.timestamp", "time and signatures can't have the same label".to_owned()));
            }
            Some(list) => Grammar::List {
                separator: list.separator,
                joint: list.joint,
                version: list.version.clone(),
                timestamp: list.timestamp.clone(),
            },
        };
        let timestamp_header =
            config.timestamp_header.as_deref().map(|name| header_name("hmac.timestamp_header", name)).transpose()?;
        let signature = Self { header, grammar, encoding: config.encoding, template, timestamp_header };
        signature.check_time().map(|()| signature)
    }

    fn check_time(&self) -> Result<(), (&'static str, String)> {
        let in_list = matches!(&self.grammar, Grammar::List { timestamp: Some(_), .. });
        let signed = self.template.contains(&Piece::Time);
        match (in_list || self.timestamp_header.is_some(), signed) {
            (true, false) => Err(("hmac.template", "has no `{ts}`, so the time would not be signed".to_owned())),
            (false, true) => Err(("hmac.timestamp_header", "is missing, and `{ts}` is signed".to_owned())),
            _ if in_list && self.timestamp_header.is_some() => {
                Err(("hmac.timestamp_header", "the time is in the list already".to_owned()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn signs_id(&self) -> bool {
        self.template.contains(&Piece::Id)
    }

    /// A signed id must not be able to pass for what stands beside it, so it has none of the characters between the parts.
    pub(super) fn can_sign_id(&self, id: &str) -> bool {
        let between = |c: char| self.template.iter().any(|p| matches!(p, Piece::Text(text) if text.contains(c)));
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic() && !between(c))
    }

    pub(super) fn signs_time(&self) -> bool {
        self.template.contains(&Piece::Time)
    }

    /// Reads what the headers claim.
    pub(super) fn read<'a>(&self, headers: &'a HeaderMap) -> Claim<'a> {
        let mut claim = Claim::default();
        match single(headers, &self.header) {
            Ok(text) => self.read_signatures(text, &mut claim),
            Err(wrong) => claim.wrong = Some(wrong),
        }
        if let Some(name) = &self.timestamp_header {
            match single(headers, name) {
                Ok(text) => claim.time = Some(text),
                Err(_) => claim.blame(VerifyError::BadTime),
            }
        }
        claim
    }

    fn read_signatures<'a>(&self, text: &'a str, claim: &mut Claim<'a>) {
        match &self.grammar {
            Grammar::Plain { prefix } => match text.strip_prefix(prefix.as_str()) {
                Some(signature) => claim.candidates.push(signature),
                None => claim.blame(VerifyError::Malformed),
            },
            Grammar::List { separator, joint, version, timestamp } => {
                for (n, item) in text.split(*separator).enumerate() {
                    if n == MAX_ITEMS {
                        return claim.blame(VerifyError::TooMany);
                    }
                    let Some((label, value)) = item.trim_start_matches(' ').split_once(*joint) else { continue };
                    if label == version {
                        claim.candidates.push(value);
                    } else if Some(label) == timestamp.as_deref() && claim.time.replace(value).is_some() {
                        claim.blame(VerifyError::Malformed);
                    }
                }
                if claim.candidates.is_empty() {
                    claim.blame(VerifyError::NoKnownVersion);
                }
            }
        }
    }
}

impl Claim<'_> {
    pub(super) fn blame(&mut self, wrong: VerifyError) {
        self.wrong.get_or_insert(wrong);
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

/// Seconds since 1970: digits alone, no sign, no fraction, no space.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    let plain = (1..=MAX_TIME_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

pub(super) fn header_name(key: &'static str, text: &str) -> Result<HeaderName, (&'static str, String)> {
    text.parse().map_err(|_| (key, format!("`{text}` is not a header's name")))
}

fn parse_template(text: &str) -> Result<Vec<Piece>, (&'static str, String)> {
    let wrong = |why: &str| ("hmac.template", format!("`{text}` {why}"));
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, from)) = rest.split_once('{') {
        let (name, after) = from.split_once('}').ok_or_else(|| wrong("has a `{` without its `}`"))?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(match name {
            "id" => Piece::Id,
            "ts" => Piece::Time,
            "body" => Piece::Body,
            _ => return Err(wrong("names something else than `{id}`, `{ts}` and `{body}`")),
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    for piece in [Piece::Id, Piece::Time, Piece::Body] {
        if pieces.iter().filter(|p| **p == piece).count() > 1 {
            return Err(wrong("names a part twice"));
        }
    }
    let is_text = |p: Option<&Piece>| matches!(p, None | Some(Piece::Text(_)));
    for (n, _) in pieces.iter().enumerate().filter(|(_, p)| **p == Piece::Id) {
        if !is_text(pieces.get(n + 1)) || !is_text(n.checked_sub(1).and_then(|before| pieces.get(before))) {
            return Err(wrong("has nothing between `{id}` and its neighbour, so one could pass for the other"));
        }
    }
    if !pieces.contains(&Piece::Body) {
        return Err(wrong("has no `{body}`, so the body would not be signed"));
    }
    Ok(pieces)
}
