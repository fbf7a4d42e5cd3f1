//! Names that must not be mixed up: [`JobId`], [`QueueName`], [`Incarnation`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Entropy, Timestamp};

/// A name or id that is not one; the message says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {what}: {allowed}")]
pub struct InvalidName {
    /// What it should have been, `job id` or `queue name`.
    pub what: &'static str,
    /// What was given, cut at 80 characters.
    pub value: String,
    /// What would be accepted.
    pub allowed: &'static str,
}

impl InvalidName {
    fn new(what: &'static str, value: &str, allowed: &'static str) -> Self {
        Self { what, value: value.chars().take(80).collect(), allowed }
    }
}

/// A job's id: a UUIDv7, so later jobs sort later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id for a job made at `at`.
    pub fn new(at: Timestamp, entropy: &Entropy) -> Self {
        Self(entropy.uuid_at(at))
    }

    /// An id made at `at` from what is known at every run of the same request, so that each run makes the same one.
    pub fn derived(at: Timestamp, bytes: &[u8; 10]) -> Self {
        let ms = u64::try_from(at.as_ms()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(ms, bytes).into_uuid())
    }

    /// The id as sixteen bytes, as stores keep it.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id that [`JobId::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for JobId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| InvalidName::new("job id", text, "a UUID like 0198c5b2-7f00-7000-8000-000000000000"))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A queue's name: 1 to 64 of `a-z 0-9 _`, starting with a letter. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::new("queue name", text, "1 to 64 of a-z, 0-9 and _, starting with a letter"))
        }
    }
}

impl TryFrom<String> for QueueName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<QueueName> for String {
    fn from(name: QueueName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of one worker process: random at each start, never a host name, so that a process that
/// comes back is somebody new and can't speak for the dead one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// A new life.
    pub fn new(entropy: &Entropy) -> Self {
        Self(entropy.uuid())
    }

    /// As sixteen bytes, as stores keep it.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The incarnation that [`Incarnation::as_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for Incarnation {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidName::new("worker id", text, "a UUID"))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
