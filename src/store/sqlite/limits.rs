//! Rate limits: one row a key, exact integer arithmetic on the store's clock.
//!
//! What `level` and `previous` mean: fixed window: used in the window that began at `at`; sliding window: used in it and in the
//! one before; token bucket: tokens left, times `window_ms`, as of `at` (so that refilling is a whole number a millisecond).

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::failure::During;
use super::txn::Txn;
use crate::clock::Timestamp;
use crate::store::{Budget, RateDecision, RateLimit, StoreError};

#[derive(Clone, Copy, Debug)]
struct Level {
    at: i64,
    level: i64,
    previous: i64,
}

/// How many may be taken now.
pub(super) fn available(txn: &Txn<'_>, key: &str, limit: RateLimit) -> Result<u32, StoreError> {
    let level = current(read(txn.conn, key)?, limit, txn.now.as_ms());
    Ok(remaining(level, limit, txn.now.as_ms()))
}

/// Takes `cost`, or says when that will be possible.
pub(super) fn take(txn: &Txn<'_>, key: &str, limit: RateLimit, cost: u32) -> Result<RateDecision, StoreError> {
    let now = txn.now.as_ms();
    let mut level = current(read(txn.conn, key)?, limit, now);
    let left = remaining(level, limit, now);
    if left < cost {
        return Ok(RateDecision::Limited { retry_after: wait(level, limit, now, cost) });
    }
    match limit {
        RateLimit::FixedWindow { .. } | RateLimit::SlidingWindow { .. } => level.level += i64::from(cost),
        RateLimit::TokenBucket { window_ms, .. } => level.level -= i64::from(cost) * ms(window_ms),
    }
    let keep_until = now.saturating_add(2 * ms(window_of(limit))).saturating_add(1_000);
    txn.sql(
        "insert into limits (key, at, level, previous, expires_at) values (?1, ?2, ?3, ?4, ?5)
         on conflict (key) do update set at = excluded.at, level = excluded.level, previous = excluded.previous,
            expires_at = excluded.expires_at",
    )?
    .execute((key, level.at, level.level, level.previous, full_at(level, limit, keep_until)))
    .during("keep a rate limit")?;
    Ok(RateDecision::Allowed { remaining: remaining(level, limit, now) })
}

/// What is left, without taking.
pub(super) fn budget(conn: &Connection, key: &str, limit: RateLimit, now: Timestamp) -> Result<Budget, StoreError> {
    let level = current(read(conn, key)?, limit, now.as_ms());
    let resets_at = match limit {
        RateLimit::FixedWindow { window_ms, .. } => level.at + ms(window_ms),
        RateLimit::SlidingWindow { window_ms, .. } => level.at + 2 * ms(window_ms),
        RateLimit::TokenBucket { .. } => full_at(level, limit, now.as_ms()),
    };
    Ok(Budget { remaining: remaining(level, limit, now.as_ms()), resets_at: Timestamp::from_ms(resets_at) })
}

/// When the next single one can be taken; `now` when it can already.
pub(super) fn next_at(conn: &Connection, key: &str, limit: RateLimit, now: Timestamp) -> Result<Timestamp, StoreError> {
    let level = current(read(conn, key)?, limit, now.as_ms());
    if remaining(level, limit, now.as_ms()) > 0 {
        return Ok(now);
    }
    Ok(now.after(wait(level, limit, now.as_ms(), 1)))
}

fn read(conn: &Connection, key: &str) -> Result<Option<Level>, StoreError> {
    conn.prepare_cached("select at, level, previous from limits where key = ?1")
        .and_then(|mut sql| {
            sql.query_row([key], |row| Ok(Level { at: row.get(0)?, level: row.get(1)?, previous: row.get(2)? }))
                .optional()
        })
        .during("read a rate limit")
}

/// The kept level brought forward to `now`.
fn current(kept: Option<Level>, limit: RateLimit, now: i64) -> Level {
    match limit {
        RateLimit::FixedWindow { window_ms, .. } | RateLimit::SlidingWindow { window_ms, .. } => {
            let window = ms(window_ms);
            let begin = now - now.rem_euclid(window);
            match kept {
                Some(kept) if kept.at == begin => kept,
                Some(kept) if kept.at == begin - window => Level { at: begin, level: 0, previous: kept.level },
                // A clock that went back must not give the window out twice.
                Some(kept) if kept.at > begin => kept,
                _ => Level { at: begin, level: 0, previous: 0 },
            }
        }
        RateLimit::TokenBucket { burst, limit, window_ms } => {
            let full = i64::from(burst) * ms(window_ms);
            let Some(kept) = kept else { return Level { at: now, level: full, previous: 0 } };
            let passed = (now - kept.at).max(0);
            let level = kept.level.saturating_add(passed.saturating_mul(i64::from(limit))).min(full);
            Level { at: kept.at.max(now), level, previous: 0 }
        }
    }
}

fn remaining(level: Level, limit: RateLimit, now: i64) -> u32 {
    let left = match limit {
        RateLimit::FixedWindow { limit, .. } => i64::from(limit) - level.level,
        RateLimit::SlidingWindow { limit, window_ms } => {
            i64::from(limit) - level.level - in_view(level, window_ms, now)
        }
        RateLimit::TokenBucket { window_ms, .. } => level.level / ms(window_ms),
    };
    u32::try_from(left.max(0)).unwrap_or(u32::MAX)
}

/// The share of the window before that is still in view, rounded up.
fn in_view(level: Level, window_ms: u64, now: i64) -> i64 {
    let window = ms(window_ms);
    let unseen = (now - level.at).clamp(0, window);
    (level.previous * (window - unseen) + window - 1) / window
}

fn wait(level: Level, limit: RateLimit, now: i64, cost: u32) -> Duration {
    let ms = match limit {
        RateLimit::FixedWindow { window_ms, .. } => level.at + ms(window_ms) - now,
        RateLimit::SlidingWindow { limit, window_ms } => {
            let window = ms(window_ms);
            let room = i64::from(limit) - i64::from(cost);
            if room >= level.level {
                level.at + fade(window, level.previous, room - level.level) - now
            } else {
                // Not in this window; in the next one what was used in this one must fade as well.
                level.at + window + fade(window, level.level, room.max(0)) - now
            }
        }
        RateLimit::TokenBucket { limit, window_ms, .. } => {
            let missing = i64::from(cost) * ms(window_ms) - level.level;
            missing.div_euclid(i64::from(limit.max(1))) + i64::from(missing % i64::from(limit.max(1)) != 0)
        }
    };
    Duration::from_millis(u64::try_from(ms.max(1)).unwrap_or(1))
}

/// How far into a window at most `room` of the `used` ones before it are in view.
fn fade(window: i64, used: i64, room: i64) -> i64 {
    if used <= room { 0 } else { window - room * window / used }
}

fn full_at(level: Level, limit: RateLimit, otherwise: i64) -> i64 {
    match limit {
        RateLimit::FixedWindow { .. } | RateLimit::SlidingWindow { .. } => otherwise,
        RateLimit::TokenBucket { burst, limit, window_ms } => {
            let missing = i64::from(burst) * ms(window_ms) - level.level;
            level.at.saturating_add(missing / i64::from(limit.max(1)) + 1)
        }
    }
}

fn window_of(limit: RateLimit) -> u64 {
    match limit {
        RateLimit::FixedWindow { window_ms, .. }
        | RateLimit::SlidingWindow { window_ms, .. }
        | RateLimit::TokenBucket { window_ms, .. } => window_ms,
    }
}

/// A window of at least a millisecond and at most a year.
fn ms(window_ms: u64) -> i64 {
    i64::try_from(window_ms.clamp(1, 366 * 24 * 3_600_000)).unwrap_or(1)
}
