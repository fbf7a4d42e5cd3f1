//! The catalogue of metrics: every name, unit, label and meaning. Nothing else in the workspace spells one.
//!
//! Names follow Prometheus: base units, `_total` for counters. Labels are bounded: queue, kind, outcome, source, reason.

/// Jobs that this process enqueued. Labels: `queue`, `outcome` (`inserted`; `duplicate`: its id or unique key was taken; `child`:
/// with the completion of another job, where a taken unique key is not told apart).
pub const ENQUEUED: &str = "tidemill_enqueued_total";
/// Jobs claimed. Label: `queue`.
pub const CLAIMED: &str = "tidemill_claimed_total";
/// Attempts ended. Labels: `queue`, `kind`, `outcome` (`completed`, `retry`, `snooze`, `dead`, `cancelled`, `released`).
pub const OUTCOMES: &str = "tidemill_outcomes_total";
/// How long a handler ran, seconds. Labels: `queue`, `kind`.
pub const RUN_SECONDS: &str = "tidemill_run_seconds";
/// From due to claimed, seconds. Label: `queue`.
pub const WAIT_SECONDS: &str = "tidemill_wait_seconds";
/// Stale writes that the store refused, since it was made.
pub const LEASE_REFUSALS: &str = "tidemill_lease_refusals_total";
/// Jobs by state, from the store's counters. Labels: `queue`, `state`.
pub const JOBS: &str = "tidemill_jobs";
/// How long the longest waiting ready job has been due, seconds. Label: `queue`.
pub const OLDEST_READY_SECONDS: &str = "tidemill_oldest_ready_seconds";
/// Jobs running in this process. Label: `queue`.
pub const RUNNING: &str = "tidemill_running";
/// For how many seconds a claim loop has waited for an answer from the store. Label: `queue`.
pub const CLAIM_SILENCE_SECONDS: &str = "tidemill_claim_silence_seconds";
/// Jobs taken from dead workers. Label: `outcome` (`ready`, `dead`).
pub const RESCUED: &str = "tidemill_rescued_total";
/// Rows taken away by retention. Label: `what`.
pub const PRUNED: &str = "tidemill_pruned_total";
/// This worker's clock less the store's, seconds.
pub const CLOCK_SKEW_SECONDS: &str = "tidemill_clock_skew_seconds";
/// Webhooks received. Labels: `source`, `outcome` (`accepted`, `duplicate`, or the reason of refusal).
pub const WEBHOOKS: &str = "tidemill_webhooks_total";
/// From the request's head to the reply, seconds. Label: `source`.
pub const WEBHOOK_SECONDS: &str = "tidemill_webhook_seconds";
/// Open connections. Label: `listener`.
pub const CONNECTIONS: &str = "tidemill_connections";
/// Connections refused or cut. Labels: `listener`, `reason`.
pub const CONNECTIONS_CUT: &str = "tidemill_connections_cut_total";
/// Delivery attempts. Label: `outcome` (`succeeded`, `failed`, `timeout`, `refused`).
pub const DELIVERIES: &str = "tidemill_deliveries_total";
/// How long a delivery took, seconds.
pub const DELIVERY_SECONDS: &str = "tidemill_delivery_seconds";
/// Due times decided. Labels: `schedule`, `outcome` (`enqueued`, `skipped`, `missed`, `held`; `failed` for each round in which
/// a schedule could not be fired).
pub const SCHEDULE_TICKS: &str = "tidemill_schedule_ticks_total";
/// Seconds by which the last fire of a schedule was late. Label: `schedule`.
pub const SCHEDULE_LATE_SECONDS: &str = "tidemill_schedule_late_seconds";
/// Requests to the operators' listener that were not let in. Label: `reason` (`no_key`, `wrong_key`, `limited`, `role`).
pub const AUTH_REFUSED: &str = "tidemill_auth_refused_total";
/// 1: the store answered this scrape; 0: it did not, and the queues' gauges are those of an earlier one.
pub const STORE_UP: &str = "tidemill_store_up";
