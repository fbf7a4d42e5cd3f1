//! Several processes on one file, and the end of one of them.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tidemill::job::JobState;

use super::File;
use crate::conformance::rig::{PATIENCE, work};

#[tokio::test]
async fn two_processes_see_each_others_jobs() {
    let file = File::new();
    let (one, two) = (file.open().await, file.open().await);
    let jobs = file.jobs(3);
    one.enqueue(jobs[..2].to_vec()).await.expect("enqueue");
    two.enqueue(jobs[2..].to_vec()).await.expect("enqueue");
    assert!(!two.enqueue(jobs[..1].to_vec()).await.expect("enqueue")[0].is_new());
    let worker = file.worker(&one).await;
    let claimed = two.claim(&work(), worker, 10, Duration::ZERO).await.expect("it beats to the other");
    assert_eq!(claimed.len(), 3);
    assert_eq!(one.counts().await.expect("counts").queues[0].of(JobState::Running), 3);
    two.pause(&work()).await.expect("pause");
    one.enqueue(file.jobs(1)).await.expect("enqueue");
    assert!(one.claim(&work(), worker, 1, Duration::ZERO).await.expect("claim").is_empty(), "paused by the other");
}

#[tokio::test]
async fn an_enqueue_in_one_process_wakes_a_waiting_claim_in_the_other() {
    let file = File::new();
    let (one, two) = (file.open().await, file.open().await);
    let worker = file.worker(&one).await;
    let queue = work();
    for _ in 0..5 {
        let claim = one.claim(&queue, worker, 1, PATIENCE);
        let (claimed, new) = tokio::join!(claim, async {
            // A write in the first process that comes after the claim: it waits already.
            one.cache_delete("t", "k").await.expect("a write");
            two.enqueue(file.jobs(1)).await.expect("enqueue")[0].job()
        });
        let ids: Vec<_> = claimed.expect("claim").iter().map(|c| c.lease.token().job).collect();
        assert_eq!(ids, [new]);
    }
}

#[tokio::test]
async fn what_was_handed_over_before_the_store_is_closed_is_written() {
    let file = File::new();
    let store = file.open().await;
    let jobs = file.jobs(1);
    let id = jobs[0].id;
    let mut enqueue = store.enqueue(jobs);
    poll_fn(|cx| Poll::Ready(enqueue.as_mut().poll(cx).is_ready())).await;
    drop(enqueue);
    drop(store);
    assert!(file.open().await.get(id).await.expect("get").is_some());
}
