//! Webhooks out: from something that happened to a signed POST at every endpoint that asked for it.
//!
//! [`Event::into_spec`] makes the `webhook.fanout` job; it writes one message and one delivery row for each matching
//! endpoint, and enqueues a `webhook.deliver` job for each. A delivery is an ordinary job: retries, leases and the
//! dead list exist once.
//!
//! Nothing here knows of HTTP routes; the operators' API calls what stands here.

mod event;

pub use event::{Event, InvalidEvent};
