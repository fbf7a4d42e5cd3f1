//! What this application publishes. The one place that makes outgoing events; handlers hand them to
//! [`Done::then`](tidemill::job::Done::then), so that an event goes out if and only if its cause is done.
//!
//! Each type is [declared](declarations) with a schema and an example: declared to receivers when a service starts, and kept
//! here, where a payload that does not fit is refused. An event's id is made from its cause (`stripe:evt_1`), so that a cause
//! that is handled twice is told once.

use anyhow::anyhow;
use serde_json::Value;
use tidemill::fanout::event_types::{self, Declaration, EventTypeError};
use tidemill::fanout::{Event, FanoutState};
use tidemill::job::{JobError, JobSpec};

mod declared;

use declared::declared;

/// Whose events they are when the job that caused them belongs to nobody.
pub const DEFAULT_TENANT: &str = "default";

/// New market figures were kept.
pub const MARKET_UPDATED: &str = "market.updated";
/// A subscription was made, changed or ended.
pub const SUBSCRIPTION_CHANGED: &str = "billing.subscription.changed";
/// An invoice was paid.
pub const INVOICE_PAID: &str = "billing.invoice.paid";
/// An attempt to collect an invoice failed.
pub const INVOICE_FAILED: &str = "billing.invoice.failed";
/// Stripe was compared with the mirror.
pub const RECONCILE_STRIPE_FINISHED: &str = "reconcile.stripe.finished";
/// All types, for those who choose what to listen to.
pub const ALL: [&str; 5] =
    [MARKET_UPDATED, SUBSCRIPTION_CHANGED, INVOICE_PAID, INVOICE_FAILED, RECONCILE_STRIPE_FINISHED];

/// All types with what they mean, what their payloads look like, and an example.
pub fn declarations() -> Vec<(&'static str, Declaration)> {
    ALL.into_iter().filter_map(|name| declared(name).map(|said| (name, said))).collect()
}

/// Declares all types, as they stand here from now on.
///
/// # Errors
/// When the database does not answer.
pub async fn declare(state: &FanoutState) -> Result<(), EventTypeError> {
    for (name, said) in declarations() {
        event_types::declare(state, name, said).await?;
    }
    Ok(())
}

/// The job that tells every endpoint that asked for it.
///
/// # Errors
/// Dead, when the type is not declared, the payload does not fit it, or a field is one that an event can't have: trying again
/// would not change it.
pub fn publish(id: String, event_type: &str, tenant: Option<&str>, payload: Value) -> Result<JobSpec, JobError> {
    let said = declared(event_type).ok_or_else(|| JobError::dead(anyhow!("`{event_type}` is not declared")))?;
    said.check_payload(event_type, &payload).map_err(JobError::dead)?;
    let tenant = tenant.unwrap_or(DEFAULT_TENANT).to_owned();
    Event { id, event_type: event_type.to_owned(), tenant, payload }.into_spec().map_err(JobError::dead)
}
