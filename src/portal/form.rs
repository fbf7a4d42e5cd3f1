//! A form that was sent: checked until it can only be what somebody sent from one of our own pages, in this session.
//!
//! In this order: a session; the browser says that the form came from our own origin; a form's media type; at most 64 KiB
//! and 50 fields of UTF-8, each named once; the session's own code, compared in constant time; a link that allows changes;
//! and a rate that holds over all processes. Only then there is a [`Changer`], and only that changes anything.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ORIGIN};

use super::Portal;
use super::session::Consumer;
use super::trouble::Trouble;
use crate::problem::read_body;
use crate::store::Reservation;

const MAX_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 50;
/// A form that makes something is good once, for so long; a session lasts no longer.
const ONCE_FOR: Duration = Duration::from_secs(24 * 3600);

/// A [`Consumer`] that may make one change.
#[derive(Debug)]
pub(super) struct Changer {
    consumer: Consumer,
}

/// What was filled in.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, String>);

/// A form of this session, sent from our own page.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) consumer: Consumer,
    pub(super) fields: Fields,
}

/// Such a form of somebody who may change things.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) changer: Changer,
    pub(super) fields: Fields,
}

impl Fields {
    /// A field without the spaces around it; empty where it was not sent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }

    /// Of a query: the first of each name counts, and what nobody asks for is passed over.
    pub(super) fn of_query(query: &str) -> Self {
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()).take(MAX_FIELDS) {
            fields.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
        Self(fields)
    }

    fn of_body(body: &[u8]) -> Result<Self, Trouble> {
        let bad = |what| Err(Trouble::BadForm(what));
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            // The parser puts this where bytes are no UTF-8.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return bad("it holds bytes that are no UTF-8 text");
            }
            if fields.len() == MAX_FIELDS {
                return bad("it has more fields than any of our forms");
            }
            // Browsers send the lines of a text area with CR LF.
            if fields.insert(name.into_owned(), value.replace("\r\n", "\n")).is_some() {
                return bad("it names a field twice");
            }
        }
        Ok(Self(fields))
    }
}

impl Changer {
    pub(super) fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Uses a form up: what makes something may be sent once, on whatever process it arrives.
    pub(super) async fn once(&self, fields: &Fields) -> Result<(), Trouble> {
        let (key, tenant) = (fields.text("once"), self.consumer.tenant());
        if key.len() != 32 || !key.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Trouble::BadForm("it is none of our forms"));
        }
        let scope = format!("portal:{tenant}");
        let store = self.consumer.portal.0.queue.store();
        match store.reserve(&scope, key, b"form", ONCE_FOR, ONCE_FOR).await? {
            Reservation::Granted { .. } => Ok(()),
            Reservation::Done(_) | Reservation::InProgress | Reservation::Mismatch => Err(Trouble::SentBefore),
        }
    }

    async fn take(&self) -> Result<(), Trouble> {
        let parts = &self.consumer.portal.0;
        match parts.changes.exceeded(&**parts.queue.store(), self.consumer.session().link()).await? {
            None => Ok(()),
            Some(wait) => Err(Trouble::TooMany(wait)),
        }
    }
}

impl FromRequest<Portal> for Own {
    type Rejection = Trouble;

    async fn from_request(request: Request, portal: &Portal) -> Result<Self, Trouble> {
        let (mut parts, body) = request.into_parts();
        let consumer = Consumer::from_request_parts(&mut parts, portal).await?;
        if !is_from_here(&parts.headers, &portal.0.links.base().origin().ascii_serialization()) {
            return Err(Trouble::Foreign);
        }
        let given = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).and_then(|v| v.split(';').next());
        if !given.is_some_and(|given| given.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
            return Err(Trouble::NoForm);
        }
        let declared = parts.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let body = read_body(body, declared, MAX_BYTES).await.map_err(|problem| Trouble::Body(problem.status()))?;
        let fields = Fields::of_body(&body)?;
        if !consumer.is_form_code(fields.text("code")) {
            return Err(Trouble::Foreign);
        }
        Ok(Self { consumer, fields })
    }
}

impl FromRequest<Portal> for Form {
    type Rejection = Trouble;

    async fn from_request(request: Request, portal: &Portal) -> Result<Self, Trouble> {
        let Own { consumer, fields } = Own::from_request(request, portal).await?;
        if !consumer.session().may_change() {
            return Err(Trouble::ReadOnly);
        }
        let changer = Changer { consumer };
        changer.take().await?;
        Ok(Self { changer, fields })
    }
}

/// What the browser says of where the form stood. Our pages forbid referrers, so a browser says `Origin: null` even of our own
/// forms; then `Sec-Fetch-Site`, which no page can set, must vouch for it. One that says neither is no browser of these
/// years, and the form's code decides.
fn is_from_here(headers: &HeaderMap, own: &str) -> bool {
    let one = |name: &str| headers.get_all(name).into_iter().map(|v| v.to_str().unwrap_or("?")).collect::<Vec<_>>();
    let (sites, origins) = (one("sec-fetch-site"), one(ORIGIN.as_str()));
    let vouched = match sites[..] {
        [] => false,
        ["same-origin"] => true,
        _ => return false,
    };
    match origins[..] {
        [] => true,
        ["null"] => vouched,
        [origin] => origin == own,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_counts_only_where_the_browser_says_it_is_ours() {
        let from = |site: Option<&str>, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            site.map(|v| headers.insert("sec-fetch-site", v.parse().unwrap()));
            origin.map(|v| headers.insert("origin", v.parse().unwrap()));
            is_from_here(&headers, "https://hooks.example.com")
        };
        let own = Some("https://hooks.example.com");
        for (site, origin) in [(None, None), (Some("same-origin"), None), (Some("same-origin"), own), (None, own)] {
            assert!(from(site, origin), "{site:?} {origin:?}");
        }
        assert!(from(Some("same-origin"), Some("null")), "what browsers say under a policy of no referrers");
        for site in [Some("cross-site"), Some("same-site"), Some("none"), Some("SAME-ORIGIN"), Some("")] {
            assert!(!from(site, own), "{site:?}");
        }
        let others = ["null", "http://hooks.example.com", "https://hooks.example.com:8443", "https://example.com", ""];
        others.into_iter().for_each(|origin| assert!(!from(None, Some(origin)), "{origin}"));
    }

    #[test]
    fn a_body_that_no_form_of_ours_makes_is_refused() {
        assert_eq!(Fields::of_body(b"url=+https%3A%2F%2Fa+&x=1%0D%0A2").unwrap().text("url"), "https://a");
        assert_eq!(Fields::of_body(b"x=1%0D%0A2").unwrap().text("x"), "1\n2");
        let many = (0..=MAX_FIELDS).map(|n| format!("f{n}=&")).collect::<String>();
        for bad in [&b"a=%ff"[..], b"%c3%28=1", b"a=1&a=2", b"\xff\xfe", many.as_bytes()] {
            assert!(Fields::of_body(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
