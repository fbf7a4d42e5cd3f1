//! What all pages for people share: one stylesheet and one icon, the rules that browsers are given, how times are written.
//!
//! Everything is in the binary and comes from our own origin; there is no script and no inline style, so the policy
//! forbids both, and a payload that holds markup is text even where somebody forgets to escape it. Assets carry the hash of
//! their bytes in their names: they may be kept for ever, and a new release has new names.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;

/// Nothing but our own style and pictures; forms go home; nobody may frame us.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                          frame-ancestors 'none'";

const KEPT: &str = "public, max-age=31536000, immutable";

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("tidemill", "css", "text/css; charset=utf-8", include_str!("pages/style.css")));
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("pages/icon.svg")));

/// A file of the binary, under a name that changes with its bytes.
#[derive(Debug)]
pub struct Asset {
    name: String,
    etag: String,
    media_type: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, media_type: &'static str, text: &'static str) -> Self {
        let hash = hex::encode(&Sha256::digest(text)[..8]);
        Self { name: format!("{stem}-{hash}.{extension}"), etag: format!("\"{hash}\""), media_type, text }
    }

    /// What it is asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The stylesheet.
pub fn style() -> &'static Asset {
    &STYLE
}

/// The icon.
pub fn icon() -> &'static Asset {
    &ICON
}

/// Answers a request for the asset `name`; none has it: `None`.
pub fn asset(name: &str, headers: &HeaderMap) -> Option<Response> {
    let asset = [&*STYLE, &*ICON].into_iter().find(|asset| asset.name == name)?;
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let known =
        known.is_some_and(|known| known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { asset.text.into_response() };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(KEPT));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(etag) = HeaderValue::from_str(&asset.etag) {
        headers.insert(ETAG, etag);
    }
    Some(response)
}

/// A page, as it goes to a browser.
pub fn page(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => {
            let mut response = (status, html).into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            guarded(response)
        }
        Err(error) => unrendered(&error),
    }
}

/// Only a formatter that fails could do this, and none of ours does.
fn unrendered(error: &askama::Error) -> Response {
    tracing::error!(%error, "a page could not be written");
    guarded((StatusCode::INTERNAL_SERVER_ERROR, "Something failed on our side.").into_response())
}

/// Any reply that is somebody's own, with the rules for browsers. What it says of keeping it stays.
pub fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let rules: [(HeaderName, &'static str); 6] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in rules {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A time as people read it: in UTC, and how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub at: Timestamp,
    /// When it is read.
    pub now: Timestamp,
}

impl Moment {
    /// For a page; made of digits and our own words alone.
    pub fn html(&self) -> String {
        let Self { at, .. } = self;
        format!(
            "<span class=\"moment\"><time datetime=\"{at}\">{self} UTC</time> <span class=\"age\">{}</span></span>",
            self.age()
        )
    }

    /// `3 min ago`, `in 2 h`.
    pub fn age(&self) -> String {
        let ahead = self.at > self.now;
        let span = if ahead { self.at.since(self.now) } else { self.now.since(self.at) };
        match (span_in_words(span), ahead) {
            (None, _) => "just now".to_owned(),
            (Some(words), true) => format!("in {words}"),
            (Some(words), false) => format!("{words} ago"),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.to_datetime() {
            Some(at) => write!(f, "{}", at.format("%Y-%m-%d %H:%M:%S")),
            None => write!(f, "{}", self.at),
        }
    }
}

/// Its largest unit; none: less than a second.
fn span_in_words(span: Duration) -> Option<String> {
    let seconds = span.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    units.into_iter().find(|(size, _)| seconds >= *size).map(|(size, unit)| format!("{} {unit}", seconds / size))
}

/// Text from strangers, for showing: what can't be seen or turns the reading direction gets a visible stand-in.
pub fn visible(text: &str) -> String {
    let stand_in = |c: char| match c {
        '\n' | '\t' => c,
        '\r' => '\u{240d}',
        // The pictures of control characters stand in the same order as these.
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        _ => c,
    };
    text.chars().map(stand_in).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let now = Timestamp::from_ms(1_000_000_000_000);
        let age = |seconds: i64| Moment { at: Timestamp::from_ms(now.as_ms() - seconds * 1_000), now }.age();
        let expected = [
            (0, "just now"),
            (1, "1 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3_599, "59 min ago"),
            (7_200, "2 h ago"),
            (86_400 * 3, "3 d ago"),
            (-90, "in 1 min"),
            (-1, "in 1 s"),
        ];
        expected.into_iter().for_each(|(seconds, words)| assert_eq!(age(seconds), words));
        let moment = Moment { at: now, now };
        let html = concat!(
            "<span class=\"moment\"><time datetime=\"2001-09-09T01:46:40.000Z\">2001-09-09 01:46:40 UTC</time> ",
            "<span class=\"age\">just now</span></span>"
        );
        assert_eq!(moment.html(), html);
    }

    #[test]
    fn what_strangers_write_can_be_seen_and_turns_nothing_round() {
        assert_eq!(visible("a\tb\nc"), "a\tb\nc");
        assert_eq!(visible("\0\u{1b}[31m\r\u{7f}"), "␀␛[31m␍␡");
        assert_eq!(visible("paid\u{202e}diap\u{feff}"), "paid\u{fffd}diap\u{fffd}");
    }

    #[test]
    fn an_asset_is_found_by_the_name_with_its_hash_only_and_is_not_sent_twice() {
        let ask = |name: &str, known: Option<&str>| {
            let mut headers = HeaderMap::new();
            known.map(|tag| headers.insert(IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap()));
            asset(name, &headers)
        };
        let first = ask(style().name(), None).unwrap();
        assert_eq!(
            (first.status(), &first.headers()[CACHE_CONTROL]),
            (StatusCode::OK, &HeaderValue::from_static(KEPT))
        );
        let tag = first.headers()[ETAG].to_str().unwrap();
        assert_eq!(ask(style().name(), Some(tag)).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(style().name(), Some("\"other\"")).unwrap().status(), StatusCode::OK);
        for unknown in ["", "tidemill.css", "../pages.rs", "icon-0000000000000000.svg"] {
            assert!(ask(unknown, None).is_none(), "{unknown}");
        }
    }
}
