//! Who is there: a link's text becomes a session's cookie, and a cookie becomes a [`Consumer`], or the request ends here.
//!
//! The cookie is signed and kept nowhere; the link's row is asked at each request, so that a link that was taken back ends
//! its sessions at once. Whatever is wrong with a link or a cookie, the answer is the same. A request counts before it costs
//! the database anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use super::links::Link;
use super::token::{LinkText, SessionText};
use super::trouble::Trouble;
use super::{PATH, Portal};
use crate::audit::Actor;
use crate::clock::Timestamp;

/// A session ends with its link, and after this at the latest.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
const NAME: &str = "tidemill-portal";

/// The proof that somebody came in by a link that is good now. Made here alone.
#[derive(Debug)]
pub(super) struct Session {
    text: SessionText,
    read_only: bool,
    peer: IpAddr,
}

/// Somebody of a tenant, at work. All that pages show is asked for through this.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) portal: Portal,
    session: Session,
}

impl Portal {
    /// Counts a request by this link.
    async fn look(&self, link: &str) -> Result<(), Trouble> {
        match self.0.looks.exceeded(&**self.0.queue.store(), link).await? {
            None => Ok(()),
            Some(wait) => Err(Trouble::TooFast(wait)),
        }
    }
}

/// Lets somebody in by a link's text: the link, and the cookie of a new session. Not while a session of another tenant is good
/// in the same browser: a link that a stranger slips in must not have its consumer work in the stranger's name unawares.
pub(super) async fn enter(
    portal: &Portal,
    text: &str,
    headers: &HeaderMap,
) -> Result<(Link, Option<HeaderValue>), Trouble> {
    // What is not signed by us counts nowhere and reaches no table.
    let said = LinkText::open(portal.0.links.sealer(), text).ok_or(Trouble::Outside)?;
    portal.look(&said.id).await?;
    if let Some(present) = signed(portal, headers).filter(|present| present.tenant != said.tenant)
        && portal.0.links.standing(&present.tenant, &present.link).await?.is_some()
    {
        return Err(Trouble::NotNow(
            "You are in for somebody else in this browser. Go to the overview, leave there, and open this link again.",
        ));
    }
    let link = portal.0.links.enter(&said).await?.ok_or(Trouble::Outside)?;
    let cookie = begin(portal, &link);
    Ok((link, cookie))
}

impl Session {
    /// Whose it is.
    pub(super) fn tenant(&self) -> &str {
        &self.text.tenant
    }

    /// The link by which it began.
    pub(super) fn link(&self) -> &str {
        &self.text.link
    }

    pub(super) fn may_change(&self) -> bool {
        !self.read_only
    }

    pub(super) fn ends_at(&self) -> Timestamp {
        self.text.ends_at
    }

    /// As the audit log shows it.
    pub(super) fn actor(&self) -> Actor {
        let name = format!("tenant:{} via link {}", self.tenant(), self.link());
        Actor { name: name.into(), source: self.peer.to_string().into() }
    }
}

impl Consumer {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The code that this session's forms carry.
    pub(super) fn form_code(&self) -> String {
        self.session.text.form_code(self.portal.0.links.sealer())
    }

    pub(super) fn is_form_code(&self, code: &str) -> bool {
        self.session.text.is_form_code(self.portal.0.links.sealer(), code)
    }
}

/// The cookie of a new session.
fn begin(portal: &Portal, link: &Link) -> Option<HeaderValue> {
    let now = portal.0.clock.now();
    let text = SessionText {
        tenant: link.tenant.clone(),
        link: link.id.clone(),
        ends_at: link.expires_at.min(now.after(LONGEST)),
        nonce: portal.0.entropy.uuid().simple().to_string(),
    };
    cookie(portal, &text.sign(portal.0.links.sealer()), text.ends_at.since(now))
}

/// The cookie that takes a session's away.
pub(super) fn end(portal: &Portal) -> Option<HeaderValue> {
    cookie(portal, "", Duration::ZERO)
}

/// Over https no other host and no plain connection can set or read it (`__Host-`). Lax, because whoever comes in by a link
/// comes from another site; only looking works that way, changes have checks of their own.
fn cookie(portal: &Portal, value: &str, lasts: Duration) -> Option<HeaderValue> {
    let place = if is_secure(portal) { "Path=/; Secure".to_owned() } else { format!("Path={PATH}") };
    let text = format!("{}={value}; {place}; HttpOnly; SameSite=Lax; Max-Age={}", name(portal), lasts.as_secs());
    HeaderValue::from_str(&text).ok()
}

fn is_secure(portal: &Portal) -> bool {
    portal.0.links.base().scheme() == "https"
}

fn name(portal: &Portal) -> String {
    if is_secure(portal) { format!("__Host-{NAME}") } else { NAME.to_owned() }
}

/// What the browser's cookie says, where we have signed it and it has not ended.
fn signed(portal: &Portal, headers: &HeaderMap) -> Option<SessionText> {
    let text = SessionText::open(portal.0.links.sealer(), presented(headers, &name(portal))?)?;
    (text.ends_at > portal.0.clock.now()).then_some(text)
}

fn presented<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).into_iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value)
}

impl FromRequestParts<Portal> for Consumer {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, portal: &Portal) -> Result<Self, Trouble> {
        let text = signed(portal, &parts.headers).ok_or(Trouble::Outside)?;
        portal.look(&text.link).await?;
        let link = portal.0.links.standing(&text.tenant, &text.link).await?.ok_or(Trouble::Outside)?;
        // Without the listener (a router called by a test) all requests come from one unspecified address.
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip().to_canonical());
        let session = Session { text, read_only: link.read_only, peer };
        Ok(Self { portal: portal.clone(), session })
    }
}
