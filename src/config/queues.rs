//! `[queues.<name>]`, `[worker]`, `[log]`: pools, leases, retention, and how the process speaks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::job::QueueName;
use crate::store::{QueueSettings, RateLimit, Retention};

const DAY_SECONDS: u64 = 24 * 3600;
const YEAR_SECONDS: u64 = 366 * DAY_SECONDS;

/// `[queues]`: all queues by name. The five that every installation has are there by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueuesConfig(pub BTreeMap<QueueName, QueueConfig>);

/// `[queues.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// How many jobs of it one process runs at once; 1 to 10,000.
    pub concurrency: usize,
    /// At most so many jobs in `rate_window_ms`, over all processes; 0: no limit.
    pub rate_limit: u32,
    /// See `rate_limit`; 1,000 by default.
    pub rate_window_ms: u64,
    /// Completed and cancelled jobs are kept so long; a day.
    pub keep_finished_seconds: u64,
    /// Of them at most so many are kept, newest first; 100,000.
    pub keep_finished_max: u64,
    /// Dead jobs are kept so long; 90 days.
    pub keep_dead_seconds: u64,
    /// Of them at most so many are kept; 100,000.
    pub keep_dead_max: u64,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            concurrency: 16,
            rate_limit: 0,
            rate_window_ms: 1_000,
            keep_finished_seconds: DAY_SECONDS,
            keep_finished_max: 100_000,
            keep_dead_seconds: 90 * DAY_SECONDS,
            keep_dead_max: 100_000,
        }
    }
}

impl QueuesConfig {
    /// The queues that are always there, and how wide they are.
    const ALWAYS: [(&'static str, usize); 5] =
        [("high_priority", 32), ("medium_priority", 16), ("notifications", 64), ("reports", 4), ("maintenance", 2)];

    /// Adds the queues that are always there where the configuration does not name them, and checks all numbers.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub(super) fn complete(&mut self) -> Result<(), ConfigError> {
        for (name, concurrency) in Self::ALWAYS {
            let name = name.parse().map_err(|e| ConfigError::invalid("queues", name, e))?;
            self.0.entry(name).or_insert(QueueConfig { concurrency, ..QueueConfig::default() });
        }
        for (name, queue) in &self.0 {
            let field = |field: &str| format!("queues.{name}.{field}");
            super::within(&field("concurrency"), queue.concurrency as u64, 1, 10_000)?;
            super::within(&field("rate_window_ms"), queue.rate_window_ms, 1, DAY_SECONDS * 1_000)?;
            super::within(&field("keep_finished_seconds"), queue.keep_finished_seconds, 0, YEAR_SECONDS * 10)?;
            super::within(&field("keep_dead_seconds"), queue.keep_dead_seconds, 0, YEAR_SECONDS * 10)?;
        }
        super::within("queues (their number)", self.0.len() as u64, 1, 100)
    }

    /// What the store needs to know of each.
    pub fn settings(&self) -> Vec<QueueSettings> {
        let settings = |(name, queue): (&QueueName, &QueueConfig)| QueueSettings {
            name: name.clone(),
            rate: (queue.rate_limit > 0).then_some(RateLimit::TokenBucket {
                burst: queue.rate_limit,
                limit: queue.rate_limit,
                window_ms: queue.rate_window_ms,
            }),
            retention: Retention {
                finished_for: Duration::from_secs(queue.keep_finished_seconds),
                finished_max: queue.keep_finished_max,
                dead_for: Duration::from_secs(queue.keep_dead_seconds),
                dead_max: queue.keep_dead_max,
            },
        };
        self.0.iter().map(settings).collect()
    }
}

/// `[worker]`: leases and stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// A process that has not been heard of for so long is dead and its jobs go to others; 6,000.
    pub lease_ms: u64,
    /// How often it is heard of; 1,500. At most a third of the lease.
    pub beat_ms: u64,
    /// At a clean stop running jobs have so long to finish; 25.
    pub grace_seconds: u64,
    /// A job that took its process down so often is dead; 3.
    pub crash_limit: u32,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self { lease_ms: 6_000, beat_ms: 1_500, grace_seconds: 25, crash_limit: 3 }
    }
}

impl WorkerConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        super::within("worker.lease_ms", self.lease_ms, 300, 3_600_000)?;
        super::within("worker.beat_ms", self.beat_ms, 50, self.lease_ms / 3)?;
        super::within("worker.grace_seconds", self.grace_seconds, 0, 3_600)?;
        super::within("worker.crash_limit", u64::from(self.crash_limit), 1, 100)
    }
}

/// `[log]`: what goes to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` for people, `json` for collectors.
    pub format: LogFormat,
    /// Which lines, as `info` or `info,tidemill::worker=debug`.
    pub filter: String,
}

/// See [`LogConfig::format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info,apalis_core=warn".into() }
    }
}
