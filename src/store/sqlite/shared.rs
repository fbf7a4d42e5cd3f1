//! The cache, idempotent replies and breakers.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::failure::During;
use super::txn::Txn;
use crate::clock::Timestamp;
use crate::store::shared::{CACHE_VALUE_MAX, REPLY_BODY_MAX};
use crate::store::{BreakerState, RememberedReply, Reservation, StoreError};

/// A value that has not expired.
pub(super) fn cache_get(
    conn: &Connection,
    tenant: &str,
    key: &str,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, StoreError> {
    conn.prepare_cached("select value from cache where tenant = ?1 and key = ?2 and expires_at > ?3")
        .and_then(|mut sql| sql.query_row((tenant, key, now.as_ms()), |row| row.get(0)).optional())
        .during("read the cache")
}

/// Keeps a value.
pub(super) fn cache_put(txn: &Txn<'_>, tenant: &str, key: &str, value: &[u8], ttl: Duration) -> Result<(), StoreError> {
    if value.len() > CACHE_VALUE_MAX {
        return Err(StoreError::TooMany { what: "the cached value (bytes)", len: value.len(), max: CACHE_VALUE_MAX });
    }
    txn.sql(
        "insert into cache (tenant, key, value, expires_at) values (?1, ?2, ?3, ?4)
         on conflict (tenant, key) do update set value = excluded.value, expires_at = excluded.expires_at",
    )?
    .execute((tenant, key, value, txn.now.after(ttl).as_ms()))
    .during("write the cache")?;
    Ok(())
}

/// Forgets a value; one that is not there is forgotten already.
pub(super) fn cache_delete(txn: &Txn<'_>, tenant: &str, key: &str) -> Result<(), StoreError> {
    txn.sql("delete from cache where tenant = ?1 and key = ?2")?.execute((tenant, key)).during("clear the cache")?;
    Ok(())
}

/// Reserves an idempotency key.
pub(super) fn reserve(
    txn: &Txn<'_>,
    scope: &str,
    key: &str,
    fingerprint: &[u8],
    (lease, ttl): (Duration, Duration),
) -> Result<Reservation, StoreError> {
    type Kept = (Vec<u8>, i64, i64, Option<u16>, Option<String>, Option<Vec<u8>>);
    let kept: Option<Kept> = txn
        .sql(
            "select fingerprint, reserved_at, busy_until, status, content_type, body from replies
             where scope = ?1 and key = ?2 and expires_at > ?3",
        )?
        .query_row((scope, key, txn.now.as_ms()), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })
        .optional()
        .during("look an idempotency key up")?;
    let busy_until = txn.now.after(lease).as_ms();
    match kept {
        Some((before, ..)) if before != fingerprint => Ok(Reservation::Mismatch),
        Some((.., Some(status), Some(content_type), Some(body))) => {
            Ok(Reservation::Done(RememberedReply { status, content_type, body }))
        }
        Some((_, _, busy, ..)) if busy > txn.now.as_ms() => Ok(Reservation::InProgress),
        Some((_, since, ..)) => {
            txn.sql("update replies set busy_until = ?3 where scope = ?1 and key = ?2")?
                .execute((scope, key, busy_until))
                .during("reserve an idempotency key again")?;
            Ok(Reservation::Granted { since: Timestamp::from_ms(since) })
        }
        None => {
            txn.sql(
                "insert into replies (scope, key, fingerprint, reserved_at, busy_until, expires_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6)
                 on conflict (scope, key) do update set fingerprint = excluded.fingerprint, status = null,
                    content_type = null, body = null, reserved_at = excluded.reserved_at,
                    busy_until = excluded.busy_until, expires_at = excluded.expires_at",
            )?
            .execute((scope, key, fingerprint, txn.now.as_ms(), busy_until, txn.now.after(ttl).as_ms()))
            .during("reserve an idempotency key")?;
            Ok(Reservation::Granted { since: txn.now })
        }
    }
}

/// Keeps the reply of a reserved key.
pub(super) fn remember(txn: &Txn<'_>, scope: &str, key: &str, reply: &RememberedReply) -> Result<(), StoreError> {
    if reply.body.len() > REPLY_BODY_MAX {
        let (what, len) = ("the kept reply (bytes)", reply.body.len());
        return Err(StoreError::TooMany { what, len, max: REPLY_BODY_MAX });
    }
    let rows = txn
        .sql(
            "update replies set status = ?3, content_type = ?4, body = ?5
             where scope = ?1 and key = ?2 and status is null",
        )?
        .execute((scope, key, reply.status, &reply.content_type, &reply.body))
        .during("keep an idempotent reply")?;
    if rows == 1 {
        return Ok(());
    }
    let detail = format!("the key `{key}` of {scope} is not reserved");
    Err(StoreError::Corrupt { place: "replies".into(), detail })
}

/// Ends the lease of a reserved key; a key with a reply stays as it is.
pub(super) fn release(txn: &Txn<'_>, scope: &str, key: &str) -> Result<(), StoreError> {
    txn.sql("update replies set busy_until = 0 where scope = ?1 and key = ?2 and status is null")?
        .execute((scope, key))
        .during("release an idempotency key")?;
    Ok(())
}

struct Breaker {
    failures: u32,
    until: Option<i64>,
    probing: bool,
}

fn kept(conn: &Connection, name: &str) -> Result<Breaker, StoreError> {
    let row = conn
        .prepare_cached("select failures, until, probing from breakers where name = ?1")
        .and_then(|mut sql| {
            sql.query_row([name], |row| Ok(Breaker { failures: row.get(0)?, until: row.get(1)?, probing: row.get(2)? }))
                .optional()
        })
        .during("read a breaker")?;
    Ok(row.unwrap_or(Breaker { failures: 0, until: None, probing: false }))
}

fn keep(txn: &Txn<'_>, name: &str, breaker: &Breaker) -> Result<(), StoreError> {
    txn.sql(
        "insert into breakers (name, failures, until, probing) values (?1, ?2, ?3, ?4)
         on conflict (name) do update set failures = excluded.failures, until = excluded.until,
            probing = excluded.probing",
    )?
    .execute((name, breaker.failures, breaker.until, breaker.probing))
    .during("keep a breaker")?;
    Ok(())
}

/// The state now. The one who asks first after the cooldown gets `HalfOpen` and is the probe; everybody else still
/// sees it open until the probe has reported (or another cooldown has passed).
pub(super) fn breaker(txn: &Txn<'_>, name: &str, probe_for: Duration) -> Result<BreakerState, StoreError> {
    let mut breaker = kept(txn.conn, name)?;
    let Some(until) = breaker.until else { return Ok(BreakerState::Closed { failures: breaker.failures }) };
    if txn.now.as_ms() < until {
        return Ok(BreakerState::Open { until: Timestamp::from_ms(until) });
    }
    breaker.until = Some(txn.now.after(probe_for).as_ms());
    breaker.probing = true;
    keep(txn, name, &breaker)?;
    Ok(BreakerState::HalfOpen)
}

/// A call's end.
pub(super) fn report(
    txn: &Txn<'_>,
    name: &str,
    ok: bool,
    threshold: u32,
    cooldown: Duration,
) -> Result<BreakerState, StoreError> {
    let mut breaker = kept(txn.conn, name)?;
    if ok {
        breaker = Breaker { failures: 0, until: None, probing: false };
    } else {
        breaker.failures = breaker.failures.saturating_add(1);
        if breaker.failures >= threshold.max(1) {
            breaker.until = Some(txn.now.after(cooldown).as_ms());
            breaker.probing = false;
        } else if breaker.probing {
            // It was opened for less: a probe that fails is one failure more.
            breaker.until = None;
            breaker.probing = false;
        }
    }
    keep(txn, name, &breaker)?;
    Ok(match breaker.until {
        Some(until) => BreakerState::Open { until: Timestamp::from_ms(until) },
        None => BreakerState::Closed { failures: breaker.failures },
    })
}

/// Closes a breaker by hand.
pub(super) fn reset(txn: &Txn<'_>, name: &str) -> Result<(), StoreError> {
    keep(txn, name, &Breaker { failures: 0, until: None, probing: false })
}
