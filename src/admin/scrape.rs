//! `/metrics`: the process's own metrics, and the store's counters read at the moment of the scrape.
//!
//! The counters are maintained by the store, so a scrape costs the same with ten jobs or ten million. A store that does
//! not answer in time costs the scrape its queue gauges' freshness, never the scrape itself: `tidemill_store_up` says so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::job::JobState;
use crate::metrics::{JOBS, LEASE_REFUSALS, OLDEST_READY_SECONDS, STORE_UP};
use crate::store::{Counts, Store};

/// Below the scrape timeout of common collectors (10 s), so that the rest still arrives.
const PATIENCE: Duration = Duration::from_secs(3);

/// Renders the metrics.
pub(super) struct Scrape {
    store: Arc<dyn Store>,
    recorder: PrometheusHandle,
}

impl Scrape {
    pub(super) fn new(store: Arc<dyn Store>, recorder: PrometheusHandle) -> Self {
        Self { store, recorder }
    }

    /// Everything in Prometheus' text format.
    pub(super) async fn render(&self) -> String {
        match tokio::time::timeout(PATIENCE, self.store.counts()).await {
            Ok(Ok(counts)) => {
                show(&counts);
                gauge!(STORE_UP).set(1.0);
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the queues' counters are missing in a scrape");
                gauge!(STORE_UP).set(0.0);
            }
            Err(_) => gauge!(STORE_UP).set(0.0),
        }
        self.recorder.render()
    }
}

fn show(counts: &Counts) {
    for queue in &counts.queues {
        let name = queue.queue.as_str().to_owned();
        for state in JobState::ALL {
            gauge!(JOBS, "queue" => name.clone(), "state" => state.as_str()).set(number(queue.of(state)));
        }
        let oldest = queue.oldest_ready_ms.map_or(0.0, |ms| number(ms) / 1_000.0);
        gauge!(OLDEST_READY_SECONDS, "queue" => name).set(oldest);
    }
    counter!(LEASE_REFUSALS).absolute(counts.lease_refusals);
}

/// Gauges are floats; above 2^53 a counter of jobs may lose its last digit.
#[expect(clippy::cast_precision_loss, reason = "a gauge has no other type")]
fn number(n: u64) -> f64 {
    n as f64
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").field("store", &self.store).finish_non_exhaustive()
    }
}
