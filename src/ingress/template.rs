//! What is signed: a row of parts of the request and fixed text between them.
//!
//! A template can't leave the body out, nor let one part pass for its neighbour where a sender could choose both.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::verify::{Incoming, VerifyError};

/// A form with more fields is nobody's webhook, and sorting them would cost more than the rest of the check.
const MAX_PARAMS: usize = 2_000;
const MAX_ID_BYTES: usize = 200;

/// What is signed, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(pub(super) Vec<Piece>);

/// A part of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Fixed text.
    Text(String),
    /// The sender's id of the event.
    Id,
    /// The time, as it came.
    Time,
    /// The public address with the request's query.
    Url,
    /// The form's names and values, each name followed by its value, sorted, equal pairs once.
    Params,
    /// As [`Piece::Params`]; nothing when the signed URL has the body's SHA-256 as `bodySHA256`.
    ParamsOrDigest,
    /// The raw body.
    Body,
}

/// What a template is filled with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) id: &'a str,
    pub(super) time: &'a str,
    pub(super) url: &'a str,
    pub(super) incoming: Incoming<'a>,
}

impl Template {
    /// Reads `{id}`, `{ts}`, `{url}`, `{params}`, `{body}` and text between. `Err`: what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, from)) = rest.split_once('{') {
            let (name, after) = from.split_once('}').ok_or_else(|| format!("`{text}` has a `{{` without its `}}`"))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(match name {
                "id" => Piece::Id,
                "ts" => Piece::Time,
                "url" => Piece::Url,
                "params" => Piece::Params,
                "body" => Piece::Body,
                _ => {
                    let known = "`{id}`, `{ts}`, `{url}`, `{params}` and `{body}`";
                    return Err(format!("`{text}` names something else than {known}"));
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let template = Self(pieces);
        template.check().map_err(|why| format!("`{text}` {why}"))?;
        Ok(template)
    }

    fn check(&self) -> Result<(), &'static str> {
        let count = |piece: &Piece| self.0.iter().filter(|p| *p == piece).count();
        if [Piece::Id, Piece::Time, Piece::Url, Piece::Params, Piece::Body].iter().any(|p| count(p) > 1) {
            return Err("names a part twice");
        }
        let is_text = |p: Option<&Piece>| matches!(p, None | Some(Piece::Text(_)));
        for (n, _) in self.0.iter().enumerate().filter(|(_, p)| **p == Piece::Id) {
            if !is_text(self.0.get(n + 1)) || !is_text(n.checked_sub(1).and_then(|before| self.0.get(before))) {
                return Err("has nothing between `{id}` and its neighbour, so one could pass for the other");
            }
        }
        match (count(&Piece::Body), count(&Piece::Params)) {
            (0, 0) => Err("has neither `{body}` nor `{params}`, so the body would not be signed"),
            (1, 1) => Err("has `{body}` and `{params}`; one of them is enough"),
            _ => Ok(()),
        }
    }

    /// Whether this is a part of it.
    pub(super) fn has(&self, piece: &Piece) -> bool {
        self.0.contains(piece)
    }

    /// A signed id must not be able to pass for what stands beside it, so it has none of the characters between the parts.
    pub(super) fn can_sign_id(&self, id: &str) -> bool {
        let between = |c: char| self.0.iter().any(|p| matches!(p, Piece::Text(text) if text.contains(c)));
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic() && !between(c))
    }

    /// The parts that are signed. `Err` beside them: why they can't be what the sender signed.
    pub(super) fn fill<'a>(&'a self, values: Values<'a>) -> (Vec<Cow<'a, [u8]>>, Result<(), VerifyError>) {
        let mut wrong = Ok(());
        let parts = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => Cow::Borrowed(text.as_bytes()),
            Piece::Id => Cow::Borrowed(values.id.as_bytes()),
            Piece::Time => Cow::Borrowed(values.time.as_bytes()),
            Piece::Url => Cow::Owned(whole_url(values)),
            Piece::Body => Cow::Borrowed(&values.incoming.body[..]),
            Piece::Params | Piece::ParamsOrDigest => {
                let (signed, checked) = match (piece, body_digest(values.incoming)) {
                    (Piece::ParamsOrDigest, Some(digest)) => (Vec::new(), same_body(&digest, values.incoming.body)),
                    _ => params(values.incoming.body),
                };
                wrong = checked;
                Cow::Owned(signed)
            }
        });
        let parts = parts.collect();
        (parts, wrong)
    }
}

fn whole_url(values: Values<'_>) -> Vec<u8> {
    match values.incoming.uri.query() {
        Some(query) => [values.url, "?", query].concat().into_bytes(),
        None => values.url.as_bytes().to_vec(),
    }
}

fn body_digest(incoming: Incoming<'_>) -> Option<String> {
    let query = incoming.uri.query()?.as_bytes();
    form_urlencoded::parse(query).find(|(name, _)| name == "bodySHA256").map(|(_, digest)| digest.into_owned())
}

fn same_body(digest: &str, body: &[u8]) -> Result<(), VerifyError> {
    let expected = hex::encode(Sha256::digest(body));
    if bool::from(expected.as_bytes().ct_eq(digest.as_bytes())) { Ok(()) } else { Err(VerifyError::Mismatch) }
}

fn params(body: &[u8]) -> (Vec<u8>, Result<(), VerifyError>) {
    // Counted before equal ones fall together: what lies beyond the cap would not be signed.
    let too_many = form_urlencoded::parse(body).nth(MAX_PARAMS).is_some();
    let pairs: BTreeSet<_> = form_urlencoded::parse(body).take(MAX_PARAMS).collect();
    let checked = if too_many { Err(VerifyError::TooMany) } else { Ok(()) };
    (pairs.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).flatten().copied().collect(), checked)
}
