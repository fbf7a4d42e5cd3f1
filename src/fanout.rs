//! Webhooks out: from something that happened to a signed POST at every endpoint that asked for it.
//!
//! [`Event::into_spec`] makes the `webhook.fanout` job; [`fan_out()`] writes one message and one delivery row for each
//! matching endpoint, and enqueues a `webhook.deliver` job for each, which [`deliver()`] runs. A delivery is an ordinary
//! job: retries, leases and the dead list exist once.
//!
//! **At least once.** Every POST has its line in the log before it begins, and its outcome there before its job is
//! settled. When the process dies in between, the line says `interrupted` and the POST is repeated with the same
//! `webhook-id`, by which receivers tell the two apart. [`mend()`] sees to it that nothing stays without an outcome.
//!
//! Nothing here knows of HTTP routes; the operators' API calls what stands here.

use std::sync::Arc;

use crate::clock::{Clock, Entropy, Timestamp};
use crate::config::fanout::{FanoutConfig, InvalidFanoutConfig};
use crate::data::Database;
use crate::outbound::TlsError;
use crate::sealing::{SealError, Sealer};
use crate::worker::{Registry, RegistryError};

mod address;
mod declare;
mod deliver;
pub mod endpoints;
mod event;
pub mod event_types;
mod fan_out;
mod filter;
mod guard;
pub mod history;
mod ledger;
mod notices;
mod number;
pub mod operational;
mod page;
mod pattern;
mod post;
mod prune;
pub mod recovery;
mod reseal;
mod schema;
mod signature;

pub use address::is_public;
pub use declare::{DeclareError, check_declared, declare};
pub use deliver::{Deliver, Ordering, Rate, Sending, SendingChange, SendingError, Turn, deliver, sending, set_sending};
pub use event::{Event, InvalidEvent, is_tenant};
pub use fan_out::fan_out;
pub use filter::{Filter, InvalidFilter};
pub use guard::{Guard, Resolver, SystemResolver, UrlRefused};
pub use notices::tell;
pub use page::{InvalidCursor, Page, PageRequest};
pub use pattern::{InvalidPattern, Pattern};
pub use prune::{Mend, Mended, mend, prune};
pub use recovery::Recover;
pub use reseal::{Reseal, check_keys, is_sealed, reseal};
pub use schema::Misfit;
pub use signature::{InvalidScheme, InvalidSecret, Scheme, Secret, sign};

/// What fan-out shares: the database, the guarded client, the rules, and what this process knows of endpoints.
#[derive(Debug)]
pub struct FanoutState {
    db: Database,
    wardrobe: endpoints::Wardrobe,
    contents: ledger::Contents,
    courier: post::Courier,
    guard: Arc<Guard>,
    gate: Arc<deliver::Gate>,
    walk: prune::Walk,
    config: FanoutConfig,
    sealer: Option<Sealer>,
    clock: Clock,
    entropy: Entropy,
}

/// Why fan-out can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum FanoutError {
    /// A field of `[fanout]` is out of range.
    #[error(transparent)]
    Config(#[from] InvalidFanoutConfig),
    /// TLS can't be spoken.
    #[error("the client for webhooks out can't be built: {0}")]
    Tls(#[from] TlsError),
    /// The proxy's credentials can't be had.
    #[error("fanout.proxy_credentials_file: {0}")]
    Proxy(String),
}

impl FanoutState {
    /// Sets it up; touches neither network nor tables. `sealer` keeps the secrets of endpoints;
    /// without one, whatever needs a secret is refused.
    ///
    /// # Errors
    /// When the configuration is out of range, or the certificate store can't be read.
    pub fn new(
        db: Database,
        config: FanoutConfig,
        sealer: impl Into<Option<Sealer>>,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, FanoutError> {
        Self::over(db, config, sealer, clock, entropy, Arc::new(SystemResolver))
    }

    /// The same over a resolver of one's own; it is asked at registration and at each connect.
    ///
    /// # Errors
    /// As [`FanoutState::new`].
    pub fn over(
        db: Database,
        config: FanoutConfig,
        sealer: impl Into<Option<Sealer>>,
        clock: Clock,
        entropy: Entropy,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, FanoutError> {
        config.check()?;
        let guard = Arc::new(Guard::over(&config, resolver));
        let proxy = config.proxy_place()?.map(post::Proxy::read).transpose().map_err(FanoutError::Proxy)?;
        let courier = post::Courier::new(Arc::clone(&guard), proxy, config.timeout(), config.ca_file.as_deref())?;
        let (gate, walk, sealer) = (Arc::default(), prune::Walk::default(), sealer.into());
        let (wardrobe, contents) = (endpoints::Wardrobe::default(), ledger::Contents::default());
        Ok(Self { db, wardrobe, contents, courier, guard, gate, walk, config, sealer, clock, entropy })
    }

    /// The database behind it.
    pub fn db(&self) -> &Database {
        &self.db
    }

    /// Its rules.
    pub fn config(&self) -> &FanoutConfig {
        &self.config
    }

    fn sealer(&self) -> Result<&Sealer, SealError> {
        self.sealer.as_ref().ok_or(SealError::NoKey)
    }

    /// A new id that sorts after older ones.
    fn new_id(&self, prefix: &str, now: Timestamp) -> String {
        format!("{prefix}{}", self.entropy.uuid_at(now).simple())
    }
}

/// Adds the handlers of `webhook.fanout`, `webhook.deliver`, `webhook.recover` and `webhook.mend`.
///
/// # Errors
/// When one of them is registered already.
pub fn register(registry: &mut Registry, state: Arc<FanoutState>) -> Result<(), RegistryError> {
    registry.register::<Event>(Arc::clone(&state))?;
    registry.register::<Recover>(Arc::clone(&state))?;
    registry.register::<Mend>(Arc::clone(&state))?;
    registry.register::<Deliver>(state)
}
