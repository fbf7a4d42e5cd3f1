//! Schedules: due times against independent walkers, and schedulers on a real store.

mod changing;
mod clock_changes;
mod plans;
mod rig;
mod rounds;
mod ticking;
mod walker;
