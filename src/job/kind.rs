//! What is fixed for all jobs of one kind.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{MAX_PAYLOAD_BYTES, RetryPolicy};

/// A kind of job; the type itself is its payload.
///
/// What stands here is the default for every job of the kind; a [`JobSpec`](super::JobSpec) may override all
/// but the name. The code that runs it is [`Handler`](crate::worker::Handler).
pub trait JobKind: Serialize + DeserializeOwned + Send + 'static {
    /// The kind's name, `noun.verb` in lower case, the same in table, metric and log. Never reused.
    const KIND: &'static str;
    /// The queue it runs on.
    const QUEUE: &'static str;
    /// Attempts until it is dead.
    const MAX_ATTEMPTS: u32 = 12;
    /// An attempt that takes longer is stopped and counts as failed.
    const TIMEOUT: Duration = Duration::from_secs(60);
    /// Payloads above this are refused.
    const MAX_PAYLOAD_BYTES: usize = MAX_PAYLOAD_BYTES;

    /// About how long it is as JSON, so that it is written in one piece.
    fn json_bytes(&self) -> usize {
        128
    }

    /// Writes it as JSON, as [`Serialize`] would. For a kind that knows a cheaper way.
    ///
    /// # Errors
    /// When it is no JSON.
    fn write_json(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        serde_json::to_writer(out, self)
    }

    /// When a failed attempt is tried again.
    fn retry_policy() -> RetryPolicy {
        RetryPolicy::default()
    }
}
