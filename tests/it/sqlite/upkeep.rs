//! Upkeep of a file in which much has piled up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::job::RunAt;
use tidemill::store::{QueueSettings, Retention, Store};
use tidemill::upkeep::Upkeep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::File;
use crate::conformance::rig::{settings, work};

/// Well below the minute after which pruning looks again when it was through.
const PATIENCE: Duration = Duration::from_secs(30);
const FINISHED: u64 = 5_000;

#[tokio::test]
async fn a_surplus_of_many_rounds_is_pruned_soon_and_due_jobs_are_not_kept_waiting() {
    let file = File::new();
    let store = file.open().await;
    for _ in 0..FINISHED / 1_000 {
        store.enqueue(file.jobs(1_000)).await.expect("enqueue");
        store.purge(&work(), 1_000).await.expect("purge");
    }
    let kept = Retention { finished_max: 10, ..Retention::default() };
    let queue = QueueSettings { retention: kept, ..settings("work") };
    store.declare_queues(vec![queue]).await.expect("declare");
    let mut late = file.jobs(1);
    late[0].spec.run_at = RunAt::After(Duration::from_secs(5));
    store.enqueue(late).await.expect("enqueue");
    assert_eq!(counted(&store).await, (FINISHED, 0));

    let (stop, tasks, upkeep) = (CancellationToken::new(), TaskTracker::new(), Upkeep::new(Arc::clone(&store)));
    let stopped = stop.clone();
    tasks.spawn(async move { upkeep.run(stopped).await });
    // The first round of pruning is through, others are to come; what is due now must not wait for them.
    until(async || counted(&store).await.0 < FINISHED).await;
    file.clock.advance(Duration::from_secs(5));
    until(async || counted(&store).await.1 == 1).await;
    until(async || counted(&store).await.0 == 10).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// How many are cancelled, and how many are ready.
async fn counted(store: &Arc<dyn Store>) -> (u64, u64) {
    let counts = store.counts().await.expect("counts");
    (counts.queues[0].cancelled, counts.queues[0].ready)
}

async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(2));
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "it did not happen within {PATIENCE:?}");
        look.tick().await;
    }
}
