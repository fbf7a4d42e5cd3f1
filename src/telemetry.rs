//! How the process speaks: log lines on standard error, metrics for Prometheus.
//!
//! Field names are the same everywhere: `job.id`, `job.kind`, `queue`, `attempt`, `duration_ms`, `error`. A failure is
//! logged once, where it is handled. Payloads, secrets and tokens are never logged.

pub use metrics_exporter_prometheus::PrometheusHandle as Recorder;
use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::EnvFilter;

use crate::config::ConfigError;
use crate::config::queues::{LogConfig, LogFormat};
use crate::metrics;

/// Seconds; from a wake-up to a slow report.
const SECONDS: [f64; 14] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];

/// Starts logging as configured.
///
/// # Errors
/// When the filter is none, or logging was started before.
pub fn log(config: &LogConfig) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|e| {
        ConfigError::invalid("log.filter", &config.filter, format!("{e}; an example: info,tidemill::worker=debug"))
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let started = match config.format {
        LogFormat::Text => lines.compact().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    started.map_err(|e| ConfigError::invalid("log", "started twice", e))
}

/// Starts collecting metrics; the recorder renders them. Somebody must call its `run_upkeep` every few seconds, or the
/// histograms' samples pile up.
///
/// # Errors
/// When collecting was started before.
pub fn collect() -> Result<Recorder, ConfigError> {
    let wrong = |e: metrics_exporter_prometheus::BuildError| ConfigError::invalid("metrics", "recorder", e);
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .map_err(wrong)?
        .install_recorder()
        .map_err(wrong)
        .inspect(|_| describe())
}

fn describe() {
    ::metrics::describe_gauge!(metrics::JOBS, "Jobs by queue and state");
    ::metrics::describe_gauge!(metrics::OLDEST_READY_SECONDS, "How long the longest waiting ready job has been due");
    ::metrics::describe_gauge!(metrics::CLAIM_SILENCE_SECONDS, "How long a claim has been without an answer");
    ::metrics::describe_gauge!(metrics::CLOCK_SKEW_SECONDS, "This machine's clock less the store's");
    ::metrics::describe_gauge!(metrics::STORE_UP, "Whether the store answered this scrape");
    ::metrics::describe_counter!(metrics::LEASE_REFUSALS, "Stale writes that the store refused");
    ::metrics::describe_counter!(metrics::OUTCOMES, "Attempts ended, by queue, kind and outcome");
    ::metrics::describe_counter!(metrics::ENQUEUED, "Jobs that this process enqueued, by queue and outcome");
    ::metrics::describe_counter!(metrics::CLAIMED, "Jobs claimed, by queue");
    ::metrics::describe_counter!(metrics::WEBHOOKS, "Webhooks received, by source and outcome");
    ::metrics::describe_counter!(metrics::DELIVERIES, "Delivery attempts, by outcome");
    ::metrics::describe_histogram!(metrics::RUN_SECONDS, "How long handlers ran");
    ::metrics::describe_histogram!(metrics::WAIT_SECONDS, "From due to claimed");
}
