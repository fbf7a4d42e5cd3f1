//! The consumers' page: a tenant sees and changes its own webhooks out, without an account, by a link that ends.
//!
//! An operator makes a [`Link`]; opening it begins a session, and the address that stays in the browser holds no secret.
//! A request goes `session` (a cookie becomes a `Consumer`) or `form` (a checked form becomes a `Changer`) → `http` →
//! `consumer` or `change`, which alone reach the tables → a page.
//!
//! - **A tenant sees its own.** Only a session says which tenant, only a `Consumer` reads, and all that it reads is bound to
//!   the tenant in the SQL. What belongs to others is answered as what does not exist.
//! - **Changes** need a form of this very session, sent from our own page, with a link that allows them. Each is in the audit
//!   log before it is made.
//! - **Rates** hold for each link over all processes: one for changes, a wider one for requests of every sort.
//! - **Secrets** of endpoints are in the one reply that makes them: in no address, no redirect, nothing that is kept.
//! - Plain pages and forms: no script, nothing from elsewhere. What strangers wrote is shown as text.

mod change;
mod consumer;
mod form;
mod http;
mod links;
mod pace;
mod payload;
mod session;
mod token;
mod trouble;
mod view;
mod words;

use std::sync::Arc;

use crate::audit::AuditLog;
use crate::clock::{Clock, Entropy};
use crate::config::portal::PortalConfig;
use crate::data::Database;
use crate::fanout::FanoutState;
use crate::queue::Queue;

pub use http::router;
pub use links::{Link, LinkError, Links, MadeLink, NewLink};
use pace::Pace;

/// Where [`router`] serves it.
const PATH: &str = "/portal";

/// What the page stands on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Portal(Arc<Parts>);

/// What a [`Portal`] is made of.
#[derive(Debug)]
pub struct PortalParts {
    /// Whom to let in.
    pub links: Links,
    /// Webhooks out.
    pub fanout: Arc<FanoutState>,
    /// The road in, for what is sent again.
    pub queue: Queue,
    /// The audit log lies there.
    pub db: Database,
    /// What time it is.
    pub clock: Clock,
    /// Random numbers.
    pub entropy: Entropy,
}

#[derive(Debug)]
struct Parts {
    links: Links,
    fanout: Arc<FanoutState>,
    queue: Queue,
    audit: AuditLog,
    max_endpoints: u64,
    changes: Pace,
    looks: Pace,
    clock: Clock,
    entropy: Entropy,
}

impl Portal {
    /// A page of these parts.
    pub fn new(parts: PortalParts, config: &PortalConfig) -> Self {
        let PortalParts { links, fanout, queue, db, clock, entropy } = parts;
        Self(Arc::new(Parts {
            links,
            fanout,
            queue,
            audit: AuditLog::new(db, clock.clone()),
            max_endpoints: config.max_endpoints,
            changes: Pace { what: "portal", per_minute: config.changes_per_minute },
            looks: Pace { what: "portal-look", per_minute: config.looks_per_minute },
            clock,
            entropy,
        }))
    }
}
