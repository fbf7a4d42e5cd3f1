//! The gate of the operators' listener: a key in `X-API-Key` or `Authorization: Bearer` becomes a [`May<R>`], or the
//! request ends here.
//!
//! No key, a malformed, unknown, wrong, expired and a revoked one get the same 401. Only who holds a valid key learns,
//! by a 403, that its role is too low. Wrong keys are counted per address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use metrics::counter;

use super::attempts::FailedAttempts;
use super::{Actor, ApiKeys, KeyError, KeyRecord, May, Operators, Rank};
use crate::clock::Clock;
use crate::metrics::AUTH_REFUSED;
use crate::problem::Problem;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const HOW: &str = "send a key that is valid now in `X-API-Key` or as `Authorization: Bearer`; \
                   `tidemill keys create` makes one";

/// Checks keys.
#[derive(Debug)]
pub(super) struct Gate {
    keys: ApiKeys,
    failed: FailedAttempts,
}

impl Gate {
    pub(super) fn new(keys: ApiKeys, clock: Clock) -> Self {
        Self { keys, failed: FailedAttempts::new(clock) }
    }

    async fn check(&self, headers: &HeaderMap, peer: IpAddr) -> Result<KeyRecord, Problem> {
        if let Some(wait) = self.failed.wait(peer) {
            counter!(AUTH_REFUSED, "reason" => "limited").increment(1);
            return Err(Problem::too_many("too many wrong keys came from this address", wait));
        }
        let Some(presented) = presented(headers) else {
            counter!(AUTH_REFUSED, "reason" => "no_key").increment(1);
            return Err(unauthorized());
        };
        match self.keys.verify(presented).await {
            Ok(key) => Ok(key),
            Err(KeyError::Refused) => {
                self.failed.failed(peer);
                counter!(AUTH_REFUSED, "reason" => "wrong_key").increment(1);
                tracing::warn!(%peer, "a request with a key that is not accepted");
                Err(unauthorized())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl<R: Rank> FromRequestParts<Operators> for May<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, operators: &Operators) -> Result<Self, Problem> {
        // Without the listener (a router called by a test) all requests come from one unspecified address.
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip().to_canonical());
        let key = operators.gate.check(&parts.headers, peer).await?;
        let actor = Actor { name: format!("key:{}", key.id).into(), source: peer.to_string().into() };
        May::granted(actor, key.role).ok_or_else(|| {
            counter!(AUTH_REFUSED, "reason" => "role").increment(1);
            Problem::forbidden(format!("this needs the role {}; the key's role is {}", R::ROLE, key.role))
        })
    }
}

fn unauthorized() -> Problem {
    Problem::unauthorized(HOW, "Bearer")
}

/// The one key of a request. Two that differ are as good as none: it would be a guess which one was meant.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let plain = headers.get_all(API_KEY).into_iter().map(|v| v.to_str().ok());
    let bearer = headers.get_all(AUTHORIZATION).into_iter().map(|v| {
        let (scheme, token) = v.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let mut all = plain.chain(bearer);
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}
