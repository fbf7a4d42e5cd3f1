//! Which kinds this process can run: name → decode and run.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, Handler};
use crate::job::{Done, JobError, JobKind, QueueName, RetryPolicy};

/// A run that has its payload and only waits to be polled.
pub type Prepared = Pin<Box<dyn Future<Output = Result<Done, JobError>> + Send>>;

type Prepare = Box<dyn Fn(&str, Context) -> Result<Prepared, serde_json::Error> + Send + Sync>;
type Check = Box<dyn Fn(&str) -> Result<(), serde_json::Error> + Send + Sync>;

/// A kind that can't be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The name is taken.
    #[error("two handlers claim the kind `{0}`; a kind's name is never reused")]
    Duplicate(&'static str),
    /// Its queue has a name that is none.
    #[error("kind `{kind}`: {source}")]
    Queue {
        /// The kind.
        kind: &'static str,
        /// What is wrong with the name.
        source: crate::job::InvalidName,
    },
}

/// All that is known of one kind.
pub struct Entry {
    /// Its name.
    pub kind: &'static str,
    /// The queue it runs on by default.
    pub queue: QueueName,
    /// Attempts until it is dead.
    pub max_attempts: u32,
    /// An attempt that takes longer is stopped.
    pub timeout: Duration,
    /// Payloads above this are refused.
    pub max_payload_bytes: usize,
    /// When a failed attempt is tried again.
    pub retry: RetryPolicy,
    prepare: Prepare,
    check: Check,
}

impl Entry {
    /// Decodes `payload`; the run itself begins with the first poll.
    ///
    /// # Errors
    /// When the payload is not one of this kind.
    pub fn prepare(&self, payload: &str, ctx: Context) -> Result<Prepared, serde_json::Error> {
        (self.prepare)(payload, ctx)
    }

    /// Says whether `payload` would decode.
    ///
    /// # Errors
    /// When the payload is not one of this kind.
    pub fn check(&self, payload: &str) -> Result<(), serde_json::Error> {
        (self.check)(payload)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("kind", &self.kind).field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// All kinds, by name.
#[derive(Debug, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Entry>,
}

impl Registry {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind whose runs share `state`.
    ///
    /// # Errors
    /// When the name is taken or its queue's name is none.
    pub fn register<H: Handler>(&mut self, state: Arc<H::State>) -> Result<(), RegistryError> {
        let kind = <H as JobKind>::KIND;
        if self.kinds.contains_key(kind) {
            return Err(RegistryError::Duplicate(kind));
        }
        let entry = Entry {
            kind,
            queue: H::QUEUE.parse().map_err(|source| RegistryError::Queue { kind, source })?,
            max_attempts: H::MAX_ATTEMPTS,
            timeout: H::TIMEOUT,
            max_payload_bytes: H::MAX_PAYLOAD_BYTES,
            retry: H::retry_policy(),
            prepare: Box::new(move |payload, ctx| {
                let job: H = serde_json::from_str(payload)?;
                let state = Arc::clone(&state);
                Ok(Box::pin(async move { job.run(ctx, &state).await }))
            }),
            check: Box::new(|payload| serde_json::from_str::<H>(payload).map(drop)),
        };
        self.kinds.insert(kind, entry);
        Ok(())
    }

    /// What is known of `kind`.
    pub fn get(&self, kind: &str) -> Option<&Entry> {
        self.kinds.get(kind)
    }

    /// All kinds in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.kinds.values()
    }
}
