//! The worker over the embedded store: real pools, real heartbeats, real time where leases are real.

mod backlog;
mod handlers;
mod lives;
mod outcomes;
mod rig;
mod shutdown;
