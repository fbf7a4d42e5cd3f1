//! Stories through the application: its clients and handlers against fakes, and the real binary.
#![expect(clippy::unwrap_used, reason = "a test that can't go on shall fail where it stands")]

mod accounts_sync;
mod cli;
mod crash;
mod events;
mod fakes;
mod gpu_market;
mod inbox;
mod maintenance_prune;
mod market_poll;
mod plaid;
mod reconcile_stripe;
mod registry;
mod rig;
mod stripe;
mod stripe_event;
mod through_the_worker;
mod wiring;
