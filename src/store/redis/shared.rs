//! The cache, idempotent replies and breakers. Rows carry their own expiry, judged by the store's clock.

use std::time::Duration;

use redis::Value;

use super::failure::misread;
use super::jobs::yes;
use super::link::Access;
use super::parts::Parts;
use super::wire::millis;
use super::workers::count;
use super::{RedisStore, script};
use crate::clock::Timestamp;
use crate::store::shared::{CACHE_VALUE_MAX, PROBE_FOR, REPLY_BODY_MAX};
use crate::store::{BreakerState, RememberedReply, Reservation, StoreError};

/// What two bytes hold.
const SHORT_MAX: usize = u16::MAX as usize;

impl RedisStore {
    pub(super) async fn cached(&self, tenant: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let step = "read the cache";
        let mut cmd = self.link.call(&script::CACHE_GET);
        cmd.arg(field(tenant, key));
        match self.link.run(Access::Read, step, &script::CACHE_GET, &cmd).await? {
            Value::Nil => Ok(None),
            Value::BulkString(value) => Ok(Some(value)),
            _ => Err(misread(step, "bytes")),
        }
    }

    pub(super) async fn cache(&self, tenant: &str, key: &str, value: &[u8], ttl: Duration) -> Result<(), StoreError> {
        bounded("the cached value (bytes)", value.len(), CACHE_VALUE_MAX)?;
        let mut cmd = self.link.call(&script::CACHE_PUT);
        cmd.arg(field(tenant, key)).arg(value).arg(millis(ttl));
        self.link.run(Access::Read, "write the cache", &script::CACHE_PUT, &cmd).await.map(drop)
    }

    pub(super) async fn uncache(&self, tenant: &str, key: &str) -> Result<(), StoreError> {
        let mut cmd = self.link.call(&script::CACHE_DROP);
        cmd.arg(field(tenant, key));
        self.link.run(Access::Read, "clear the cache", &script::CACHE_DROP, &cmd).await.map(drop)
    }

    pub(super) async fn reserve_key(
        &self,
        scope: &str,
        key: &str,
        fingerprint: &[u8],
        (lease, ttl): (Duration, Duration),
    ) -> Result<Reservation, StoreError> {
        let step = "reserve an idempotency key";
        bounded("the request's fingerprint (bytes)", fingerprint.len(), SHORT_MAX)?;
        let mut cmd = self.link.call(&script::RESERVE);
        cmd.arg(field(scope, key)).arg(fingerprint).arg(millis(lease)).arg(millis(ttl));
        let mut parts = Parts::of(step, self.link.run(Access::Write, step, &script::RESERVE, &cmd).await?)?;
        match parts.bytes()?.as_slice() {
            b"granted" => Ok(Reservation::Granted { since: Timestamp::from_ms(parts.number()?) }),
            b"mismatch" => Ok(Reservation::Mismatch),
            b"busy" => Ok(Reservation::InProgress),
            b"done" => read_reply(&parts.bytes()?).map(Reservation::Done).ok_or_else(|| misread(step, "whole reply")),
            _ => Err(misread(step, "known word")),
        }
    }

    pub(super) async fn remember_reply(
        &self,
        scope: &str,
        key: &str,
        reply: &RememberedReply,
    ) -> Result<(), StoreError> {
        bounded("the kept reply (bytes)", reply.body.len(), REPLY_BODY_MAX)?;
        let mut cmd = self.link.call(&script::REMEMBER);
        cmd.arg(field(scope, key)).arg(reply_bytes(reply)?);
        if yes(&self.link.run(Access::Write, "keep an idempotent reply", &script::REMEMBER, &cmd).await?) {
            return Ok(());
        }
        let detail = format!("the key `{key}` of {scope} is not reserved");
        Err(StoreError::Corrupt { place: "replies".into(), detail })
    }

    pub(super) async fn release_key(&self, scope: &str, key: &str) -> Result<(), StoreError> {
        let mut cmd = self.link.call(&script::RELEASE);
        cmd.arg(field(scope, key));
        self.link.run(Access::Write, "release an idempotency key", &script::RELEASE, &cmd).await.map(drop)
    }

    pub(super) async fn breaker_state(&self, name: &str) -> Result<BreakerState, StoreError> {
        let step = "read a breaker";
        let mut cmd = self.link.call(&script::BREAKER);
        cmd.arg(name).arg(millis(PROBE_FOR));
        state(Parts::of(step, self.link.run(Access::Read, step, &script::BREAKER, &cmd).await?)?)
    }

    pub(super) async fn report_to_breaker(
        &self,
        name: &str,
        ok: bool,
        threshold: u32,
        cooldown: Duration,
    ) -> Result<BreakerState, StoreError> {
        let step = "report to a breaker";
        let mut cmd = self.link.call(&script::BREAKER_REPORT);
        cmd.arg(name).arg(u8::from(ok)).arg(threshold.max(1)).arg(millis(cooldown));
        state(Parts::of(step, self.link.run(Access::Read, step, &script::BREAKER_REPORT, &cmd).await?)?)
    }

    pub(super) async fn close_breaker(&self, name: &str) -> Result<(), StoreError> {
        let key = format!("{}breakers", self.link.prefix());
        self.link.send("close a breaker", redis::cmd("HDEL").arg(key).arg(name)).await.map(drop)
    }
}

/// Two names as one that no other two make.
fn field(space: &str, key: &str) -> String {
    format!("{}:{space}{key}", space.len())
}

fn bounded(what: &'static str, len: usize, max: usize) -> Result<(), StoreError> {
    if len > max { Err(StoreError::TooMany { what, len, max }) } else { Ok(()) }
}

/// A reply as it is kept: status, length of the content type (two bytes each), content type, body.
fn reply_bytes(reply: &RememberedReply) -> Result<Vec<u8>, StoreError> {
    let (what, len) = ("the reply's content type (bytes)", reply.content_type.len());
    let short = u16::try_from(len).map_err(|_| StoreError::TooMany { what, len, max: SHORT_MAX })?;
    let mut out = Vec::with_capacity(4 + len + reply.body.len());
    out.extend_from_slice(&reply.status.to_le_bytes());
    out.extend_from_slice(&short.to_le_bytes());
    out.extend_from_slice(reply.content_type.as_bytes());
    out.extend_from_slice(&reply.body);
    Ok(out)
}

fn read_reply(bytes: &[u8]) -> Option<RememberedReply> {
    let (status, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (content_type, body) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let content_type = String::from_utf8(content_type.to_vec()).ok()?;
    Some(RememberedReply { status: u16::from_le_bytes(*status), content_type, body: body.to_vec() })
}

fn state(mut parts: Parts) -> Result<BreakerState, StoreError> {
    match parts.bytes()?.as_slice() {
        b"closed" => Ok(BreakerState::Closed { failures: count(&mut parts)? }),
        b"open" => Ok(BreakerState::Open { until: Timestamp::from_ms(parts.number()?) }),
        b"probe" => Ok(BreakerState::HalfOpen),
        _ => Err(misread("read a breaker", "known word")),
    }
}
