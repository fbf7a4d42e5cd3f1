//! Renews the process' lease from a thread of its own, so that a handler that blocks the runtime costs nobody a lease.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::attempt::{Running, StopReason};
use super::identity::Identity;
use crate::clock::Clock;
use crate::job::{Incarnation, QueueName};
use crate::metrics;
use crate::store::{Beat, BeatReply, Store, StoreError};

/// What the thread needs.
pub(super) struct Heartbeat {
    pub(super) store: Arc<dyn Store>,
    pub(super) life: Identity,
    pub(super) running: Arc<Running>,
    pub(super) queues: Vec<QueueName>,
    pub(super) label: Arc<str>,
    pub(super) lease: Duration,
    pub(super) every: Duration,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
}

impl Heartbeat {
    /// Beats once, so that claims are possible, then starts the thread.
    pub(super) async fn start(self) -> Result<JoinHandle<()>, StoreError> {
        let reply = self.store.heartbeat(self.beat(self.life.now())).await?;
        self.heed(reply);
        let step = "start the heartbeat thread";
        let unavailable = |e: std::io::Error| StoreError::Unavailable { step, detail: e.to_string() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(unavailable)?;
        std::thread::Builder::new()
            .name("tidemill-heartbeat".into())
            .spawn(move || runtime.block_on(self.run()))
            .map_err(unavailable)
    }

    async fn run(self) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
            match self.store.heartbeat(self.beat(self.life.now())).await {
                Ok(reply) => self.heed(reply),
                Err(StoreError::DeadIncarnation(dead)) => self.begin_anew(dead).await,
                Err(error) => tracing::warn!(%error, "heartbeat failed"),
            }
        }
    }

    /// Registers a new life with the store before any claim sees it: a claim in a name that the store does not know is
    /// told that it is dead, and would wait for the life after that.
    async fn begin_anew(&self, dead: Incarnation) {
        // Others have the jobs now. What still runs here must stop; its settlements are refused anyway.
        self.running.ring_all(StopReason::LeaseLost);
        let mut next = self.life.next();
        tracing::error!(%dead, %next, "declared dead by the store; going on as a new worker");
        loop {
            match self.store.heartbeat(self.beat(next)).await {
                Ok(reply) => {
                    self.heed(reply);
                    // Those too that were claimed in the old life and begun after the first ring.
                    self.running.ring_all(StopReason::LeaseLost);
                    return self.life.go_on_as(next);
                }
                Err(StoreError::DeadIncarnation(_)) => next = self.life.next(),
                Err(error) => tracing::warn!(%error, "first beat of a new worker failed; it is tried again"),
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
        }
    }

    fn beat(&self, incarnation: Incarnation) -> Beat {
        Beat {
            incarnation,
            label: Arc::clone(&self.label),
            queues: self.queues.clone(),
            running: u32::try_from(self.running.len()).unwrap_or(u32::MAX),
            lease: self.lease,
            worker_now: self.clock.now(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a skew of 2^53 ms is no skew any more")]
    fn heed(&self, reply: BeatReply) {
        let skew_ms = self.clock.now().as_ms() - reply.store_now.as_ms();
        ::metrics::gauge!(metrics::CLOCK_SKEW_SECONDS).set(skew_ms as f64 / 1000.0);
        for lease in reply.cancel {
            self.running.ring(lease, StopReason::Cancelled);
        }
    }
}
