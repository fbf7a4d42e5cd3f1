//! Schedules: due times against independent walkers, and schedulers on a real store.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod changing;
mod clock_changes;
mod plans;
mod rig;
mod rounds;
mod ticking;
mod walker;
