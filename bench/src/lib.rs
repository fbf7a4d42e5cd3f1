//! What Tidemill is measured by, beside peers in the same run: one JSON line a measurement.
//!
//! A scenario prepares a [`place`], opens the store there, runs the engine as it is shipped through a [`rig`], and prints
//! [`Measurement`](measurement::Measurement)s. What the handler saw is counted by a [`census`] outside the engine; a run
//! that lost a job prints no throughput and fails. [`report`] turns the lines into `docs/performance.md`: no figure is
//! ever typed by hand.

pub mod census;
pub mod cli;
pub mod latency;
pub mod machine;
pub mod measurement;
pub mod payload;
pub mod peer;
pub mod place;
pub mod profile;
pub mod report;
pub mod rig;
pub mod scenario;
