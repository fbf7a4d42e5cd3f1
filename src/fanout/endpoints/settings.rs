//! What an endpoint may be given beside its URL and patterns: a filter, static headers, a prefix, metadata.
//!
//! Static headers can't change how a request is framed or routed, nor pass for a signature: names that do are refused,
//! and so are values with control characters.

use std::collections::BTreeMap;

use super::super::Filter;
use super::EndpointError;
use super::error::invalid;

const MAX_HEADERS: usize = 20;
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 1_024;
const MAX_PREFIX: usize = 40;
const MAX_METADATA: usize = 50;
const MAX_METADATA_KEY: usize = 64;
const MAX_METADATA_VALUE: usize = 500;

/// Ours to set, or one hop's own.
const RESERVED: [&str; 17] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "expect",
    "http2-settings",
];

/// Names and values, in the order of the names.
pub type Texts = BTreeMap<String, String>;

pub(super) fn check_headers(headers: &Texts) -> Result<(), EndpointError> {
    if headers.len() > MAX_HEADERS {
        return Err(invalid("headers", &format!("{} of them", headers.len()), "at most 20"));
    }
    let mut seen = Vec::new();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if !is_token(name) {
            return Err(invalid("headers", &begun(name), "names of 1 to 64 of A-Z a-z 0-9 - _"));
        }
        if RESERVED.contains(&lower.as_str()) || lower.starts_with("webhook-") {
            let allowed = "no names that belong to the connection, to the body, or to the signature (webhook-…)";
            return Err(invalid("headers", name, allowed));
        }
        if seen.contains(&lower) {
            return Err(invalid("headers", name, "each name once, whatever its case"));
        }
        seen.push(lower);
        // The value may be a credential, so it is not repeated.
        if value.len() > MAX_VALUE || !value.bytes().all(|b| matches!(b, b' '..=b'~')) {
            let allowed = "values of at most 1024 printable ASCII characters, no CR, LF or NUL";
            return Err(invalid("headers", name, allowed));
        }
    }
    Ok(())
}

pub(super) fn check_prefix(prefix: &str) -> Result<(), EndpointError> {
    let allowed = "1 to 40 of A-Z a-z 0-9 -, a letter first and no - last, not `webhook`; X-GPUScout for example";
    let fits = prefix.len() <= MAX_PREFIX
        && prefix.starts_with(|c: char| c.is_ascii_alphabetic())
        && !prefix.ends_with('-')
        && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !prefix.eq_ignore_ascii_case("webhook");
    if fits { Ok(()) } else { Err(invalid("header_prefix", prefix, allowed)) }
}

/// A static header must not pass for one that the prefix makes.
pub(super) fn check_together(headers: &Texts, prefix: Option<&str>) -> Result<(), EndpointError> {
    let Some(prefix) = prefix else { return Ok(()) };
    let start = format!("{}-", prefix.to_ascii_lowercase());
    match headers.keys().find(|name| name.to_ascii_lowercase().starts_with(&start)) {
        Some(name) => Err(invalid("headers", name, "no names that begin with the endpoint's header_prefix")),
        None => Ok(()),
    }
}

/// All that a new endpoint wears.
pub(in super::super) fn check_dress(
    headers: &Texts,
    prefix: Option<&str>,
    metadata: &Texts,
) -> Result<(), EndpointError> {
    prefix.map(check_prefix).transpose()?;
    check_headers(headers)?;
    check_together(headers, prefix)?;
    check_metadata(metadata)
}

pub(super) fn check_metadata(metadata: &Texts) -> Result<(), EndpointError> {
    let fits = |(key, value): (&String, &String)| {
        (1..=MAX_METADATA_KEY).contains(&key.len())
            && value.len() <= MAX_METADATA_VALUE
            && !key.chars().chain(value.chars()).any(char::is_control)
    };
    if metadata.len() > MAX_METADATA || !metadata.iter().all(fits) {
        let allowed = "at most 50 entries, keys of 1 to 64 bytes, values of at most 500, no control characters";
        return Err(invalid("metadata", &format!("{} entries", metadata.len()), allowed));
    }
    Ok(())
}

/// Empty text is no filter.
pub(in super::super) fn parse_filter(text: &str) -> Result<Option<Filter>, EndpointError> {
    if text.is_empty() { Ok(None) } else { Ok(Some(text.parse()?)) }
}

fn is_token(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(in_token)
}

fn in_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// As much of it as is a header's name. Who writes `Authorization: Bearer …` into it has written a credential, and what an error
/// says is shown, logged, and kept in the audit log.
pub fn begun(name: &str) -> String {
    let begun: String = name.chars().take_while(|c| in_token(*c)).take(MAX_NAME).collect();
    if begun.len() == name.len() { begun } else { format!("{begun}…") }
}
