//! A long queue costs no more a job than a short one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::job::{JobSpec, JobState};
use tidemill::store::ListQuery;

use super::handlers::{Act, Stage, registry};
use super::rig::Rig;

const WAITING: usize = 100_000;
const LEG: usize = WAITING / 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_100_000_is_drained_at_an_even_pace_and_paged_without_a_gap() {
    let stage = Arc::new(Stage::default());
    let rig = Rig::new(registry(&stage)).await;
    for _ in 0..WAITING / 1_000 {
        let batch = (0..1_000).map(|_| JobSpec::of(&Act::Finish).unwrap()).collect();
        rig.queue.enqueue_all(batch).await.unwrap();
    }
    let worker = rig.worker_of(256).await;
    let mut legs = Vec::new();
    for leg in 1..=10 {
        let begun = Instant::now();
        rig.until(|| async { stage.ends() >= leg * LEG }).await;
        legs.push(begun.elapsed());
    }
    let (first, last) = (legs[1..4].iter().sum::<Duration>(), legs[7..].iter().sum::<Duration>());
    eprintln!("legs of {LEG}: {legs:?}");
    // With 90,000 waiting a leg takes as long as with 10,000; the bound leaves room for a machine that others use too.
    assert!(first < last * 4, "with a long queue {first:?}, with a short one {last:?}");
    worker.drain(Duration::from_secs(20)).await.unwrap();

    let counts = rig.store.counts().await.unwrap();
    assert_eq!(counts.queues.iter().map(|queue| queue.completed).sum::<u64>(), WAITING as u64);
    assert_eq!(stage.starts(), WAITING);
    let (mut seen, mut cursor) = (HashSet::new(), None);
    loop {
        let query = ListQuery { state: Some(JobState::Completed), cursor, limit: 200, ..ListQuery::default() };
        let page = rig.store.list(query).await.unwrap();
        seen.extend(page.jobs.iter().map(|job| job.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), WAITING);
    rig.end().await;
}
