//! Gathers settlements of all pools and gives them to the store together, until it takes them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::store::{Settled, Settlement, Store};

/// Attempts that wait for their settlement; pools wait beyond it.
const WAITING_MAX: usize = 4_096;
/// Settlements in one call.
const BATCH_MAX: usize = 500;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(2);

type Waiting = (Settlement, oneshot::Sender<Settled>);

/// Where finished attempts go.
#[derive(Clone, Debug)]
pub(super) struct Settler(mpsc::Sender<Waiting>);

impl Settler {
    /// The settler, and the loop that serves it until all clones are gone. `hard_stop` ends it in any case.
    pub(super) fn new(store: Arc<dyn Store>, hard_stop: CancellationToken) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), serve(store, receiver, hard_stop))
    }

    /// Waits until the store has answered; `None`: the process stopped first, rescue decides.
    pub(super) async fn settle(&self, settlement: Settlement) -> Option<Settled> {
        let (reply, answer) = oneshot::channel();
        self.0.send((settlement, reply)).await.ok()?;
        answer.await.ok()
    }
}

async fn serve(store: Arc<dyn Store>, mut receiver: mpsc::Receiver<Waiting>, hard_stop: CancellationToken) {
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    while receiver.recv_many(&mut waiting, BATCH_MAX).await > 0 {
        let (settlements, replies): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
        let Some(settled) = settle(&*store, settlements.into(), &hard_stop).await else { return };
        for (reply, settled) in replies.into_iter().zip(settled) {
            // Nobody waits any more: the store knows all the same.
            let _ = reply.send(settled);
        }
    }
}

/// Gives a batch to the store until it answers. Giving it again is safe: what was taken is refused as stale.
async fn settle(store: &dyn Store, batch: Arc<[Settlement]>, hard_stop: &CancellationToken) -> Option<Vec<Settled>> {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let error = match store.settle(Arc::clone(&batch)).await {
            Ok(settled) => return Some(settled),
            Err(error) => error,
        };
        tracing::warn!(%error, settlements = batch.len(), retry_ms = backoff.as_millis(), "settle failed");
        tokio::select! {
            () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_LAST),
            () = hard_stop.cancelled() => return None,
        }
    }
}
