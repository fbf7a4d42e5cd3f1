//! Schedules: due times against independent walkers, and schedulers on a real store.

mod clock_changes;
