//! What is measured, a file a scenario. Each prints its measurements itself and fails when its run does not count.

pub mod backlog;
pub mod curve;
pub mod drain;
pub mod enqueue;
pub mod fanout;
pub mod findings;
pub mod ingress;
pub mod recover;
pub mod steady;
pub mod storm;

/// Our name in the results.
pub const OURS: &str = "tidemill";

/// `jobs` in `seconds`.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub fn rate(jobs: u64, took: std::time::Duration) -> f64 {
    jobs as f64 / took.as_secs_f64().max(1e-9)
}
