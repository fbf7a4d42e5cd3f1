//! Small state that the whole cluster shares: rate limits, idempotent replies, breakers, a TTL cache.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// What a cached value may weigh.
pub(super) const CACHE_VALUE_MAX: usize = 256 * 1024;
/// What a kept reply's body may weigh.
pub(super) const REPLY_BODY_MAX: usize = 64 * 1024;
/// A breaker's probe that has not reported after this is given up.
pub(super) const PROBE_FOR: Duration = Duration::from_secs(60);

/// How many in a time, and how it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RateLimit {
    /// `limit` in each window that begins at a multiple of `window_ms` since the epoch.
    FixedWindow {
        /// How many.
        limit: u32,
        /// The window.
        window_ms: u64,
    },
    /// `limit` in any window: the last one counts by the share of it still in view.
    SlidingWindow {
        /// How many.
        limit: u32,
        /// The window.
        window_ms: u64,
    },
    /// `burst` at once, refilled evenly by `limit` in `window_ms`.
    TokenBucket {
        /// The bucket's size.
        burst: u32,
        /// Refill.
        limit: u32,
        /// Refill time.
        window_ms: u64,
    },
}

/// The answer to a [`take`](super::Store::take).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RateDecision {
    /// Go on.
    Allowed {
        /// How many are left now.
        remaining: u32,
    },
    /// Not now; nothing was taken.
    Limited {
        /// Try again after this.
        retry_after: Duration,
    },
}

/// What a limit has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// How many may be taken now.
    pub remaining: u32,
    /// When it is full again.
    pub resets_at: Timestamp,
}

/// A reply kept for an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedReply {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// The body, at most 64 KiB.
    pub body: Vec<u8>,
}

/// The answer to a [`reserve`](super::Store::reserve).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// The key is yours: do it, then remember or release.
    Granted {
        /// When an equal request was granted it first: the same at every grant.
        since: Timestamp,
    },
    /// Done before with the same fingerprint: this was the reply.
    Done(RememberedReply),
    /// The first request with this key has not finished.
    InProgress,
    /// The key was used for another request.
    Mismatch,
}

/// A breaker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// Calls are refused until then.
    Open {
        /// When one probe is allowed.
        until: Timestamp,
    },
    /// One probe is under way.
    HalfOpen,
}
