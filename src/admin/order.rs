//! What a person or a program orders over HTTP or on the command line: a job of a kind known here, with a payload that
//! this kind would accept. Everything a caller may not decide (state, attempts, epoch) has no field.

use std::time::Duration;

use chrono::DateTime;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::{InvalidName, JobSpec, PayloadError, Priority, QueueName, RunAt};
use crate::queue::MAX_DELAY;
use crate::worker::{Entry, Registry};

const AN_INSTANT: &str = "an RFC 3339 time like `2026-01-02T03:04:05Z`";

/// A job as it is asked for. Fields are as a person gives them; [`Order::spec`] checks them.
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
    pub queue: Option<String>,
    /// 0 first, 9 last.
    #[serde(default)]
    pub priority: Option<i64>,
    /// Not before so many milliseconds have passed.
    #[serde(default)]
    pub delay_ms: Option<i64>,
    /// Not before this time, RFC 3339; not together with `delay_ms`.
    #[serde(default)]
    pub run_at: Option<String>,
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
        let queue = self.queue.as_deref().map_or(Ok(entry.queue.clone()), queue_name)?;
        let mut spec = JobSpec::raw(queue, entry.kind, payload.to_owned());
        spec.max_attempts = entry.max_attempts;
        spec.timeout = entry.timeout;
        spec.priority = self.priority.map_or(Ok(Priority::NORMAL), priority)?;
        spec.tenant = self.tenant.map(Into::into);
        spec.correlation_id = self.correlation_id.map(Into::into);
        spec.tags = self.tags;
        spec.run_at = run_at(self.delay_ms, self.run_at.as_deref())?;
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

fn queue_name(text: &str) -> Result<QueueName, OrderError> {
    text.parse().map_err(|e: InvalidName| invalid("queue", e.value, e.allowed))
}

fn priority(n: i64) -> Result<Priority, OrderError> {
    let priority = u8::try_from(n).ok().and_then(|n| Priority::try_from(n).ok());
    priority.ok_or_else(|| invalid("priority", n, "0 (first) to 9 (last)"))
}

fn run_at(delay_ms: Option<i64>, at: Option<&str>) -> Result<RunAt, OrderError> {
    match (delay_ms, at) {
        (Some(delay), Some(_)) => Err(invalid("delay_ms", delay, "either `delay_ms` or `run_at`, not both")),
        (Some(delay), None) => Ok(RunAt::After(millis("delay_ms", delay)?)),
        (None, Some(text)) => match DateTime::parse_from_rfc3339(text) {
            Ok(at) => Ok(RunAt::At(at.to_utc().into())),
            Err(_) => Err(invalid("run_at", text.chars().take(80).collect::<String>(), AN_INSTANT)),
        },
        (None, None) => Ok(RunAt::Now),
    }
}

fn millis(field: &'static str, ms: i64) -> Result<Duration, OrderError> {
    let duration = u64::try_from(ms).ok().map(Duration::from_millis).filter(|d| *d <= MAX_DELAY);
    let allowed = || format!("0 to {} milliseconds (366 days)", MAX_DELAY.as_millis());
    duration.ok_or_else(|| invalid(field, ms, allowed()))
}

fn invalid(field: &'static str, value: impl ToString, allowed: impl Into<String>) -> OrderError {
    OrderError::Invalid { field, value: value.to_string(), allowed: allowed.into() }
}
