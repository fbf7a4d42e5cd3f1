//! What somebody asks for: a [`JobSpec`], checked before any store sees it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{InvalidName, JobKind, QueueName};
use crate::clock::Timestamp;

/// Payloads above this are refused unless the kind says otherwise.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// Which of two ready jobs of a queue goes first: 0 before 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// Before everything else.
    pub const FIRST: Self = Self(0);
    /// Where nothing is said.
    pub const NORMAL: Self = Self(5);
    /// After everything else.
    pub const LAST: Self = Self(9);

    /// The bare number, 0 to 9.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl TryFrom<u8> for Priority {
    type Error = String;

    fn try_from(n: u8) -> Result<Self, String> {
        if n <= 9 { Ok(Self(n)) } else { Err(format!("priority {n} is not allowed: 0 (first) to 9 (last)")) }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// When a job may first run; the store's clock decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RunAt {
    /// At once.
    #[default]
    Now,
    /// This long after the store has accepted it.
    After(Duration),
    /// Not before this instant.
    At(Timestamp),
}

impl RunAt {
    /// The instant, given the store's `now`; never before `now`.
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::After(delay) => now.after(delay),
            Self::At(at) => at.max(now),
        }
    }
}

/// At most one job per key: while one lives, and for `keep_for` after it was enqueued, a second is a duplicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// The key, at most 255 bytes, one namespace for the whole store: prefix it with the kind or source.
    pub key: Arc<str>,
    /// How long after enqueue it keeps duplicates away though its job is finished; zero: only while it lives.
    pub keep_for: Duration,
}

/// A payload that can't be enqueued.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It does not become JSON.
    #[error("the payload of `{kind}` can't be written as JSON: {source}")]
    Encode {
        /// The kind.
        kind: String,
        /// serde's reason.
        source: serde_json::Error,
    },
    /// It is too long.
    #[error(
        "the payload of `{kind}` has {bytes} bytes; at most {limit} are allowed: keep the data elsewhere and enqueue a reference"
    )]
    TooLarge {
        /// The kind.
        kind: String,
        /// Its length as JSON.
        bytes: usize,
        /// The kind's limit.
        limit: usize,
    },
    /// The kind's queue has a name that is none.
    #[error(transparent)]
    Queue(#[from] InvalidName),
}

/// A job that somebody wants to have run.
///
/// ```
/// use std::time::Duration;
/// use serde::{Deserialize, Serialize};
/// use tidemill::job::{JobKind, JobSpec};
///
/// #[derive(Serialize, Deserialize)]
/// struct SyncAccounts { item: String }
/// impl JobKind for SyncAccounts {
///     const KIND: &'static str = "accounts.sync";
///     const QUEUE: &'static str = "medium_priority";
/// }
///
/// let spec = JobSpec::of(&SyncAccounts { item: "item_1".into() })?
///     .tenant("tenant_1")
///     .after(Duration::from_secs(30))
///     .unique("accounts.sync:item_1");
/// # Ok::<(), tidemill::job::PayloadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The queue it runs on.
    pub queue: QueueName,
    /// Its kind's name.
    pub kind: Arc<str>,
    /// JSON text.
    pub payload: Arc<str>,
    /// Whose work this is.
    pub tenant: Option<Arc<str>>,
    /// Before or after other ready jobs of the queue.
    pub priority: Priority,
    /// When it may first run.
    pub run_at: RunAt,
    /// Attempts until it is dead, at least 1.
    pub max_attempts: u32,
    /// An attempt that takes longer is stopped.
    pub timeout: Duration,
    /// Keeps a second one away.
    pub unique: Option<UniqueKey>,
    /// Ties together all that came from one cause.
    pub correlation_id: Option<Arc<str>>,
    /// W3C trace context of the cause.
    pub traceparent: Option<Arc<str>>,
    /// Who asked: `webhook:stripe`, `schedule:market.poll`, `api:<key id>`, `job:<id>`.
    pub enqueued_by: Arc<str>,
    /// Free words to find it by, at most 16.
    pub tags: Vec<String>,
}

impl JobSpec {
    /// A job of `K` with the kind's defaults.
    ///
    /// # Errors
    /// When the payload is no JSON or longer than the kind allows.
    pub fn of<K: JobKind>(payload: &K) -> Result<Self, PayloadError> {
        Self::of_on(payload, K::QUEUE.parse()?, K::KIND.into())
    }

    /// As [`JobSpec::of`], on `queue`; `kind` is the kind's name, which who makes many of them has at hand.
    ///
    /// # Errors
    /// As [`JobSpec::of`].
    pub fn of_on<K: JobKind>(payload: &K, queue: QueueName, kind: Arc<str>) -> Result<Self, PayloadError> {
        debug_assert_eq!(&*kind, K::KIND, "the name of another kind");
        let encode = |source| PayloadError::Encode { kind: K::KIND.to_owned(), source };
        let mut json = Vec::with_capacity(payload.json_bytes());
        payload.write_json(&mut json).map_err(encode)?;
        if json.len() > K::MAX_PAYLOAD_BYTES {
            let (bytes, limit) = (json.len(), K::MAX_PAYLOAD_BYTES);
            return Err(PayloadError::TooLarge { kind: K::KIND.to_owned(), bytes, limit });
        }
        let json = std::str::from_utf8(&json).map_err(|e| encode(serde::ser::Error::custom(e)))?;
        let mut spec = Self::bare(queue, kind, json.into());
        spec.max_attempts = K::MAX_ATTEMPTS;
        spec.timeout = K::TIMEOUT;
        Ok(spec)
    }

    /// A job of a kind known only by name, with JSON text that the caller has checked.
    pub fn raw(queue: QueueName, kind: &str, payload: String) -> Self {
        Self::bare(queue, kind.into(), payload.into())
    }

    fn bare(queue: QueueName, kind: Arc<str>, payload: Arc<str>) -> Self {
        Self {
            queue,
            kind,
            payload,
            tenant: None,
            priority: Priority::NORMAL,
            run_at: RunAt::Now,
            max_attempts: 12,
            timeout: Duration::from_secs(60),
            unique: None,
            correlation_id: None,
            traceparent: None,
            enqueued_by: "unknown".into(),
            tags: Vec::new(),
        }
    }

    /// Whose work this is.
    #[must_use]
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// On another queue than the kind's own.
    #[must_use]
    pub fn on(mut self, queue: QueueName) -> Self {
        self.queue = queue;
        self
    }

    /// Before or after other ready jobs.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Not before `delay` has passed on the store's clock.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.run_at = RunAt::After(delay);
        self
    }

    /// Not before `at`.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.run_at = RunAt::At(at);
        self
    }

    /// At most one job with this key while it lives.
    #[must_use]
    pub fn unique(self, key: &str) -> Self {
        self.unique_for(key, Duration::ZERO)
    }

    /// At most one job with this key while it lives, and in any case for `keep_for` from now.
    #[must_use]
    pub fn unique_for(mut self, key: &str, keep_for: Duration) -> Self {
        self.unique = Some(UniqueKey { key: key.into(), keep_for });
        self
    }

    /// Ties it to what caused it.
    #[must_use]
    pub fn correlation(mut self, id: &str) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// The W3C trace context of what caused it.
    #[must_use]
    pub fn trace(mut self, traceparent: &str) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// Who asked for it.
    #[must_use]
    pub fn by(mut self, who: &str) -> Self {
        self.enqueued_by = who.into();
        self
    }

    /// A word to find it by.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }
}
