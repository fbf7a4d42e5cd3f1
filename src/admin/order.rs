//! What a person or a program orders over HTTP or on the command line: a job of a kind known here, with a payload that
//! this kind would accept. Everything a caller may not decide (state, attempts, epoch) has no field.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::job::{JobSpec, PayloadError, Priority, QueueName};
use crate::queue::MAX_DELAY;
use crate::worker::{Entry, Registry};

/// A job as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// A kind from the registry.
    pub kind: String,
    /// What the kind takes; left out: `{}`.
    #[serde(default)]
    pub payload: Option<Box<RawValue>>,
    /// Another queue than the kind's own.
    #[serde(default)]
    pub queue: Option<QueueName>,
    /// 0 first, 9 last.
    #[serde(default)]
    pub priority: Option<Priority>,
    /// Not before so many milliseconds have passed.
    #[serde(default)]
    pub delay_ms: Option<i64>,
    /// Not before this time; not together with `delay_ms`.
    #[serde(default)]
    pub run_at: Option<Timestamp>,
    /// Whose work this is.
    #[serde(default)]
    pub tenant: Option<String>,
    /// At most one job with this key lives.
    #[serde(default)]
    pub unique_key: Option<String>,
    /// And for so many milliseconds from now, finished or not.
    #[serde(default)]
    pub unique_for_ms: Option<i64>,
    /// Ties it to what caused it.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// An order that can't become a job.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// No handler of this name.
    #[error("there is no kind `{kind}`; known kinds: {known}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: String,
    },
    /// The kind would not take this payload.
    #[error("the payload is not one of `{kind}`: {source}")]
    Payload {
        /// The kind.
        kind: &'static str,
        /// Its decoder's reason.
        source: serde_json::Error,
    },
    /// The payload is too long.
    #[error(transparent)]
    TooLarge(PayloadError),
    /// A field is out of range.
    #[error("{field} is {value}; allowed: {allowed}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        allowed: String,
    },
}

impl Order {
    /// An order of `kind` with nothing else said.
    pub fn of(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            payload: None,
            queue: None,
            priority: None,
            delay_ms: None,
            run_at: None,
            tenant: None,
            unique_key: None,
            unique_for_ms: None,
            correlation_id: None,
            tags: Vec::new(),
        }
    }

    /// The job, with the kind's defaults where nothing was said.
    ///
    /// # Errors
    /// When the kind is unknown, would not take the payload, or a field is out of range.
    pub fn spec(self, kinds: &Registry, by: &str) -> Result<JobSpec, OrderError> {
        let entry = kinds.get(&self.kind).ok_or_else(|| unknown(&self.kind, kinds))?;
        let payload = self.payload.as_deref().map_or("{}", RawValue::get);
        check_payload(entry, payload)?;
        let mut spec = JobSpec::raw(self.queue.unwrap_or_else(|| entry.queue.clone()), entry.kind, payload.to_owned());
        spec.max_attempts = entry.max_attempts;
        spec.timeout = entry.timeout;
        spec.priority = self.priority.unwrap_or_default();
        spec.tenant = self.tenant.map(Into::into);
        spec.correlation_id = self.correlation_id.map(Into::into);
        spec.tags = self.tags;
        match (self.delay_ms, self.run_at) {
            (Some(delay), Some(_)) => {
                return Err(invalid("delay_ms", delay, "either `delay_ms` or `run_at`, not both"));
            }
            (Some(delay), None) => spec = spec.after(millis("delay_ms", delay)?),
            (None, Some(at)) => spec = spec.at(at),
            (None, None) => {}
        }
        spec = match (self.unique_key, self.unique_for_ms) {
            (None, Some(ms)) => return Err(invalid("unique_for_ms", ms, "only together with `unique_key`")),
            (Some(key), ms) => spec.unique_for(&key, millis("unique_for_ms", ms.unwrap_or(0))?),
            (None, None) => spec,
        };
        Ok(spec.by(by))
    }
}

fn unknown(kind: &str, kinds: &Registry) -> OrderError {
    let known = kinds.entries().map(|e| e.kind).collect::<Vec<_>>().join(", ");
    OrderError::UnknownKind { kind: kind.chars().take(80).collect(), known }
}

fn check_payload(entry: &Entry, payload: &str) -> Result<(), OrderError> {
    if payload.len() > entry.max_payload_bytes {
        let (bytes, limit) = (payload.len(), entry.max_payload_bytes);
        return Err(OrderError::TooLarge(PayloadError::TooLarge { kind: entry.kind.to_owned(), bytes, limit }));
    }
    // Read as a value first: a kind that skips what it does not know would let any depth of nesting pass.
    serde_json::from_str::<Value>(payload)
        .map(drop)
        .and_then(|()| entry.check(payload))
        .map_err(|source| OrderError::Payload { kind: entry.kind, source })
}

fn millis(field: &'static str, ms: i64) -> Result<Duration, OrderError> {
    let duration = u64::try_from(ms).ok().map(Duration::from_millis).filter(|d| *d <= MAX_DELAY);
    duration.ok_or_else(|| invalid(field, ms, &format!("0 to {} milliseconds (366 days)", MAX_DELAY.as_millis())))
}

fn invalid(field: &'static str, value: i64, allowed: &str) -> OrderError {
    OrderError::Invalid { field, value: value.to_string(), allowed: allowed.to_owned() }
}
