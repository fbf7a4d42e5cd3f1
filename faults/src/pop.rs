//! The negative control: a worker that takes jobs the old way, out of the queue at once and without a lease.
//!
//! It tells the store that a job is completed as soon as it has claimed it, and runs it afterwards. What it holds when it is
//! killed is lost, and the checker must say so.

use std::sync::Arc;
use std::time::Duration;

use tidemill::clock::{Clock, Entropy};
use tidemill::job::{Incarnation, JobId};
use tidemill::store::{Beat, Settlement, Store, Verdict};
use tokio::signal::unix::Signal;
use tokio::task::JoinSet;

use crate::act::{QUEUE, Work};
use crate::handler::{Bench, Pace};
use crate::worker::WorkerPart;

struct Plain;

impl Pace for Plain {
    async fn pause(&self, ms: u64) -> bool {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        true
    }

    async fn note(&self) {}
}

/// Runs until SIGTERM.
///
/// # Errors
/// When the store does not answer.
pub async fn run(store: Arc<dyn Store>, bench: Bench, mut term: Signal, args: WorkerPart) -> anyhow::Result<()> {
    let (queue, bench) = (QUEUE.parse()?, Arc::new(bench));
    let incarnation = Incarnation::new(&Entropy::seeded(args.part.seed));
    let beat = Beat {
        incarnation,
        label: args.part.node.as_str().into(),
        queues: vec![],
        running: 0,
        lease: Duration::from_secs(3600),
        worker_now: Clock::system().now(),
    };
    store.heartbeat(beat).await?;
    let mut running: JoinSet<()> = JoinSet::new();
    loop {
        let n = u32::try_from(args.places)?;
        let claimed = tokio::select! {
            claimed = store.claim(&queue, incarnation, n, Duration::from_millis(200)) => claimed?,
            _ = term.recv() => break,
        };
        let (mut popped, mut batch) = (Vec::new(), Vec::new());
        for job in claimed {
            popped.push((job.lease.token(), job.attempt, Arc::clone(&job.payload)));
            batch.push(Settlement { lease: job.lease, verdict: Verdict::Complete { result: None, children: vec![] } });
        }
        if !batch.is_empty() {
            store.settle(batch.into()).await?;
        }
        for (lease, attempt, payload) in popped {
            let Ok(work) = serde_json::from_str::<Work>(&payload) else { continue };
            let (bench, job, epoch): (_, JobId, _) = (Arc::clone(&bench), lease.job, lease.epoch);
            running.spawn(async move {
                bench.effect(job, epoch, attempt, work.act, &Plain).await;
            });
        }
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
    Ok(())
}
