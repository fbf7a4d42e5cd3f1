//! What this application publishes. The one place that makes outgoing events; handlers hand them to
//! [`Done::then`](tidemill::job::Done::then), so that an event goes out if and only if its cause is done.
//!
//! An event's id is made from its cause (`stripe:evt_1`), so that a cause that is handled twice is told once.

use serde_json::Value;
use tidemill::fanout::Event;
use tidemill::job::{JobError, JobSpec};

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

/// The job that tells every endpoint that asked for it.
///
/// # Errors
/// Dead, when a field is one that an event can't have: trying again would not change it.
pub fn publish(id: String, event_type: &str, tenant: Option<&str>, payload: Value) -> Result<JobSpec, JobError> {
    let tenant = tenant.unwrap_or(DEFAULT_TENANT).to_owned();
    Event { id, event_type: event_type.to_owned(), tenant, payload }.into_spec().map_err(JobError::dead)
}
