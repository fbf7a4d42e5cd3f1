//! Rate limits: one row a key, exact integer arithmetic on the store's clock.
//!
//! What `level` and `previous` mean: fixed window: used in the window that began at `at`; sliding window: used in it and in the
//! one before; token bucket: whole tokens left as of `at`, and what there is of the next one in parts of `window_ms` (so that
//! refilling is a whole number of parts a millisecond). Products of a limit and a window do not fit into 64 bits.

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
        RateLimit::TokenBucket { .. } => level.level -= i64::from(cost),
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
            let Some(kept) = kept else { return Level { at: now, level: i64::from(burst), previous: 0 } };
            let passed = i128::from((now - kept.at).max(0));
            let parts = parts(kept, window_ms).saturating_add(passed * i128::from(limit));
            let (whole, window) = (parts.div_euclid(wide(window_ms)), wide(window_ms));
            if whole >= i128::from(burst) {
                return Level { at: kept.at.max(now), level: i64::from(burst), previous: 0 };
            }
            Level { at: kept.at.max(now), level: narrow(whole), previous: narrow(parts.rem_euclid(window)) }
        }
    }
}

/// A bucket's tokens in parts of its window.
fn parts(level: Level, window_ms: u64) -> i128 {
    i128::from(level.level) * wide(window_ms) + i128::from(level.previous)
}

fn remaining(level: Level, limit: RateLimit, now: i64) -> u32 {
    let left = match limit {
        RateLimit::FixedWindow { limit, .. } => i64::from(limit) - level.level,
        RateLimit::SlidingWindow { limit, window_ms } => {
            i64::from(limit) - level.level - in_view(level, window_ms, now)
        }
        RateLimit::TokenBucket { .. } => level.level,
    };
    u32::try_from(left.max(0)).unwrap_or(u32::MAX)
}

/// The share of the window before that is still in view, rounded up.
fn in_view(level: Level, window_ms: u64, now: i64) -> i64 {
    let window = ms(window_ms);
    let unseen = (now - level.at).clamp(0, window);
    narrow((i128::from(level.previous) * i128::from(window - unseen) + wide(window_ms) - 1) / wide(window_ms))
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
            let missing = i128::from(cost) * wide(window_ms) - parts(level, window_ms);
            let limit = i128::from(limit.max(1));
            narrow(missing.div_euclid(limit) + i128::from(missing.rem_euclid(limit) != 0))
        }
    };
    Duration::from_millis(u64::try_from(ms.max(1)).unwrap_or(1))
}

/// How far into a window at most `room` of the `used` ones before it are in view.
fn fade(window: i64, used: i64, room: i64) -> i64 {
    if used <= room { 0 } else { window - narrow(i128::from(room) * i128::from(window) / i128::from(used)) }
}

fn full_at(level: Level, limit: RateLimit, otherwise: i64) -> i64 {
    match limit {
        RateLimit::FixedWindow { .. } | RateLimit::SlidingWindow { .. } => otherwise,
        RateLimit::TokenBucket { burst, limit, window_ms } => {
            let missing = i128::from(burst) * wide(window_ms) - parts(level, window_ms);
            level.at.saturating_add(narrow(missing / i128::from(limit.max(1))).saturating_add(1))
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

fn wide(window_ms: u64) -> i128 {
    i128::from(ms(window_ms))
}

/// What is too large for the clock is as good as for ever.
fn narrow(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_MS: u64 = 366 * 24 * 3_600_000;
    const NOW: i64 = 1_800_000_000_000;

    fn bucket(burst: u32, limit: u32) -> RateLimit {
        RateLimit::TokenBucket { burst, limit, window_ms: LONG_MS }
    }

    #[test]
    fn the_largest_bucket_gives_all_its_tokens_and_says_when_the_next_ones_come() {
        let limit = bucket(u32::MAX, u32::MAX);
        let full = current(None, limit, NOW);
        assert_eq!(remaining(full, limit, NOW), u32::MAX);
        let empty = Level { level: full.level - i64::from(u32::MAX), ..full };
        assert_eq!(remaining(empty, limit, NOW), 0);
        assert_eq!(wait(empty, limit, NOW, u32::MAX), Duration::from_millis(LONG_MS));
        let half = current(Some(empty), limit, NOW + ms(LONG_MS) / 2);
        assert_eq!(remaining(half, limit, NOW), u32::MAX / 2);
        let long_after = current(Some(half), limit, NOW + 100 * ms(LONG_MS));
        assert_eq!((long_after.level, long_after.previous), (i64::from(u32::MAX), 0));
        assert_eq!(full_at(empty, limit, 0), NOW + ms(LONG_MS) + 1);
    }

    #[test]
    fn a_slow_bucket_fills_by_parts_and_never_waits_past_the_clock() {
        let limit = bucket(u32::MAX, 1);
        let empty = Level { at: NOW, level: 0, previous: 0 };
        let parts = current(Some(empty), limit, NOW + 10);
        assert_eq!((parts.level, parts.previous), (0, 10));
        assert_eq!(wait(parts, limit, NOW + 10, 1), Duration::from_millis(LONG_MS - 10));
        assert!(wait(empty, limit, NOW, u32::MAX) > Duration::from_millis(LONG_MS));
        assert_eq!(full_at(empty, limit, 0), i64::MAX);
    }

    #[test]
    fn the_largest_sliding_window_fades_without_overflowing() {
        let limit = RateLimit::SlidingWindow { limit: u32::MAX, window_ms: LONG_MS };
        let begin = current(None, limit, NOW).at;
        let used = Level { at: begin, level: i64::from(u32::MAX), previous: i64::from(u32::MAX) };
        assert_eq!(remaining(used, limit, begin), 0);
        let next = current(Some(used), limit, begin + ms(LONG_MS));
        let middle = next.at + ms(LONG_MS) / 2;
        assert_eq!(remaining(next, limit, middle), u32::MAX / 2);
        assert_eq!(wait(used, limit, begin, 1).as_millis(), u128::from(LONG_MS) + 8);
    }
}
