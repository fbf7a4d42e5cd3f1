//! Webhooks in: verify the raw bytes, keep one durable job, answer. Nothing else happens in the request.
//!
//! [`receive`] is the whole road: a [`Source`] turns a request into a [`Verified`] event or a refusal, the event becomes
//! one [`WebhookReceived`] job under a key made of the source and the sender's own id, and only a durable job is answered
//! with 2xx. A sender that retries, or two copies at the same instant, make no second job. A source without its secret
//! refuses to start; nothing here skips the check.

mod receive;
mod received;
mod secret;
mod signature;
mod source;
mod verify;

use std::time::Duration;

use crate::config::ingress::IngressConfig;
use crate::listener::ListenerLimits;

pub use receive::{Ingress, router};
pub use received::{RawBody, WebhookReceived};
pub use source::{Source, SourceError, Sources};
pub use verify::{Verified, VerifyError};

/// The listener's limits as configured.
pub fn limits(config: &IngressConfig) -> ListenerLimits {
    let (limits, size) = (&config.limits, |n: u64| usize::try_from(n).unwrap_or(usize::MAX));
    ListenerLimits {
        name: "public",
        connections: size(limits.connections),
        head: Duration::from_secs(limits.head_timeout_seconds),
        idle: Duration::from_secs(limits.idle_timeout_seconds),
        request: Duration::from_secs(limits.request_timeout_seconds),
        head_bytes: size(limits.head_bytes),
        // The largest that any source takes; a smaller cap of its own acts in the handler.
        body_bytes: size(crate::config::ingress::MAX_BODY_BYTES),
        grace: Duration::from_secs(limits.shutdown_grace_seconds),
    }
}
