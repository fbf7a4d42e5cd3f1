//! The jobs: one file a kind, named as the kind is. Each opens with its payload, its constants and its `run`, and tells
//! the steps below in the order in which they happen.

pub mod accounts_sync;
pub mod accounts_sync_all;
pub mod maintenance_prune;
pub mod market_poll;
pub mod reconcile_stripe;
pub mod stripe_event;
pub mod webhook_received;

use std::sync::Arc;

use tidemill::worker::{Registry, RegistryError};

use crate::app::App;

/// The list of all jobs. An integration that is off keeps its jobs here: they go dead and say why.
///
/// # Errors
/// When two jobs claim one kind.
pub fn register(registry: &mut Registry, app: &Arc<App>) -> Result<(), RegistryError> {
    registry.register::<accounts_sync::AccountsSync>(Arc::clone(app))?;
    registry.register::<accounts_sync_all::AccountsSyncAll>(Arc::clone(app))?;
    registry.register::<maintenance_prune::MaintenancePrune>(Arc::clone(app))?;
    registry.register::<market_poll::MarketPoll>(Arc::clone(app))?;
    registry.register::<reconcile_stripe::ReconcileStripe>(Arc::clone(app))?;
    registry.register::<stripe_event::StripeEvent>(Arc::clone(app))?;
    registry.register::<webhook_received::Received>(Arc::clone(app))?;
    Ok(())
}

/// A registry with these jobs and no others.
///
/// # Errors
/// When two jobs claim one kind.
pub fn registry(app: &Arc<App>) -> Result<Registry, RegistryError> {
    let mut registry = Registry::new();
    register(&mut registry, app)?;
    Ok(registry)
}
