//! The operators' edge: who may look at or change what, and the record of who did.
//!
//! A request goes `auth` (a key becomes a [`May<R>`]) → `http` (reads it) → [`Desk`] (shows or changes, with the audit
//! log around each change) → store. The command line enters at the desk with [`May::local`]. Nothing here runs jobs.
//!
//! - There is no change without a row in the audit log, written before it.
//! - Nobody gets to a handler that changes things without the role its type demands.
//! - Payloads and results are shown to operators and admins, not to viewers; secrets to nobody, after they were made.
//! - Every list is paged by key, 1 to 200 items a page.

mod attempts;
mod auth;
mod desk;
mod health;
mod http;
mod idempotency;
mod inbox;
mod keys;
mod order;
mod page;
mod refusal;
mod role;
mod scrape;
mod vitals;

pub use crate::audit::{Actor, AuditEntry};
pub use desk::{
    Desk, DeskParts, EndpointPatch, EventDraft, InboundOnDesk, JobOnDesk, MessageInFull, MessageOnDesk, Ordered,
    Published, Purged, Toggled,
};
pub use health::{Condition, Finding, Health, Report};
pub use http::routes::{RouteEntry, inventory};
pub use http::{Operators, router};
pub use inbox::{Inbound, InboundContent, Inbox, InboxFilter, InboxPage, InboxPlace};
pub use keys::{ApiKeys, InvalidKeyId, KeyError, KeyId, KeyRecord};
pub use order::{Order, OrderError};
pub use page::{Ask, InvalidLimit, InvalidPlace, Limit, Paged, Place};
pub use refusal::{Refusal, Sort};
pub use role::{Admin, AtLeast, InvalidRole, May, Operator, Rank, Role, Viewer};
pub use vitals::Vitals;

/// The longest body that any of the operators' routes takes.
pub const MAX_BODY_BYTES: u64 = 2 * 1024 * 1024;
