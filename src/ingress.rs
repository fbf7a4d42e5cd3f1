//! Webhooks in: verify the raw bytes, keep one durable job, answer. Nothing else happens in the request.
//!
//! [`Receiver`] serves the whole road: a [`Source`] turns a request into a [`Verified`] event or a refusal, the event becomes
//! one [`WebhookReceived`] job under a key made of the source and the sender's own id, and only a durable job is answered
//! with 2xx. A sender that retries, or two copies at the same instant, make no second job. A source without its secret
//! refuses to start; nothing here skips the check. How each sender signs stands in `scheme`, one file a sender.

mod describe;
mod encoding;
mod intake;
mod key;
mod meter;
mod pick;
mod plaid;
mod receive;
mod received;
mod receiver;
mod repeats;
mod reply;
mod scheme;
mod senders;
mod signature;
mod source;
mod template;
mod throttle;
mod verify;

use crate::config::ingress::{IngressConfig, MAX_BODY_BYTES};
use crate::listener::ListenerLimits;

pub use receive::Ingress;
pub use received::{RawBody, WebhookReceived};
pub use receiver::Receiver;
pub use repeats::{EVENTS_MAX, Repeat, Repeats};
pub use reply::Reply;
pub use senders::{SenderReport, Senders, Voice};
pub use source::{Source, SourceError, Sources};
pub use verify::{Admitted, Incoming, Verified, VerifyError};

/// The listener's limits as configured. Bodies may be as large as any source takes; a smaller cap of its own acts in the handler.
pub fn limits(config: &IngressConfig) -> ListenerLimits {
    ListenerLimits::configured("public", &config.limits, MAX_BODY_BYTES)
}
