//! `Content-Encoding`: refused, unless the source takes gzip; then what comes out of it is capped as a plain body is.
//!
//! What a sender signs is the body without the encoding, so that is what is checked, kept and handed to the handler.

use std::io::Read as _;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::source::Source;
use crate::problem::Problem;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    Gzip,
}

impl Coding {
    /// What the request says, if the source takes it.
    pub(super) fn of(headers: &HeaderMap, source: &Source) -> Result<Self, Problem> {
        let mut named =
            headers.get_all(CONTENT_ENCODING).iter().filter(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"));
        match (named.next(), named.next()) {
            (None, _) => Ok(Self::Plain),
            (Some(one), None) if source.allow_gzip && one.as_bytes().eq_ignore_ascii_case(b"gzip") => Ok(Self::Gzip),
            (Some(value), _) => {
                let given = String::from_utf8_lossy(value.as_bytes()).into_owned();
                let allowed = if source.allow_gzip { "gzip, identity, or none" } else { "identity, or none" };
                Err(Problem::unsupported(&CONTENT_ENCODING, given, allowed).closing())
            }
        }
    }

    /// The body without the encoding, at most `limit` bytes.
    pub(super) fn open(self, body: Bytes, limit: usize) -> Result<Bytes, Problem> {
        if self == Self::Plain {
            return Ok(body);
        }
        let mut plain = Vec::new();
        let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        MultiGzDecoder::new(&body[..])
            .take(one_more)
            .read_to_end(&mut plain)
            .map_err(|_| Problem::bad_request("the body is not what `content-encoding: gzip` promises"))?;
        if plain.len() > limit { Err(Problem::body_too_large(limit)) } else { Ok(plain.into()) }
    }
}
