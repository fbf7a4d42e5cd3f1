//! Trouble while it runs: a lock that somebody else holds, a disk without room. Nothing acknowledged is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidemill::job::JobState;
use tidemill::store::sqlite::SqliteOptions;
use tidemill::store::{Cancel, Rescued, Settled, Settlement, StoreError, Verdict};

use super::{File, all};
use crate::conformance::rig::{LEASE, MS, PATIENCE, complete, work};

#[tokio::test]
async fn a_locked_file_is_temporarily_unavailable_and_loses_nothing() {
    let file = File::new();
    let store = file.open().await;
    let kept = file.jobs(1);
    store.enqueue(kept.clone()).await.expect("enqueue");
    let other = file.outside();
    other.execute_batch("begin exclusive").expect("lock");
    let jobs = file.jobs(2);
    let refused = store.enqueue(jobs.clone()).await.expect_err("locked");
    assert!(matches!(refused, StoreError::Unavailable { .. }) && refused.is_temporary(), "{refused:?}");
    assert!(refused.to_string().contains("locked"), "{refused}");
    assert_eq!(all(&store).await.len(), 1, "what is kept can still be read");
    other.execute_batch("rollback").expect("unlock");
    assert!(store.enqueue(jobs).await.expect("enqueue").iter().all(|e| e.is_new()), "the same call, later");
    assert_eq!(all(&store).await.len(), 3);
}

#[tokio::test]
async fn a_lock_that_others_hold_does_not_fail_a_waiting_claim() {
    let file = File::new();
    let store = file.open().await;
    let worker = file.worker(&store).await;
    let (queue, other) = (work(), file.outside());
    let claim = store.claim(&queue, worker, 1, PATIENCE);
    let (claimed, ()) = tokio::join!(claim, async {
        other.execute_batch("begin exclusive").expect("lock");
        store.enqueue(file.jobs(1)).await.expect_err("locked");
        other.execute_batch("rollback").expect("unlock");
        store.enqueue(file.jobs(1)).await.expect("enqueue");
    });
    assert_eq!(claimed.expect("it waits on").len(), 1);
}

#[tokio::test]
async fn a_full_store_refuses_new_jobs_whole_and_keeps_what_it_acknowledged() {
    let file = File::new();
    let small = SqliteOptions { max_pages: Some(400), ..SqliteOptions::at(file.path()) };
    let store = file.try_open(small.clone()).await.expect("open the store");
    let worker = file.worker(&store).await;
    let mut kept = BTreeSet::new();
    let refused = loop {
        assert!(kept.len() < 100_000, "it never fills up");
        let jobs = file.jobs(50);
        match store.enqueue(jobs.clone()).await {
            Ok(_) => kept.extend(jobs.iter().map(|j| j.id)),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, StoreError::Full { .. }) && refused.is_temporary(), "{refused:?}");
    assert!(!kept.is_empty());
    assert_eq!(all(&store).await, kept, "every acknowledged job and not one of the refused batch");
    assert!(store.claim(&work(), worker, 10, Duration::ZERO).await.is_ok(), "what is there can still be worked on");
    drop(store);
    let store = file.try_open(small).await.expect("it opens again while full");
    assert_eq!(all(&store).await, kept);
    drop(store);
    let store = file.open().await;
    store.enqueue(file.jobs(50)).await.expect("there is room again");
    assert_eq!(all(&store).await.len(), kept.len() + 50);
    let sound: String = file.outside().pragma_query_value(None, "integrity_check", |row| row.get(0)).expect("pragma");
    assert_eq!(sound, "ok");
}

#[tokio::test]
async fn a_gap_in_writing_costs_no_worker_its_life() {
    let file = File::new();
    let store = file.open().await;
    let worker = file.worker(&store).await;
    store.enqueue(file.jobs(1)).await.expect("enqueue");
    let claimed = store.claim(&work(), worker, 1, Duration::ZERO).await.expect("claim");
    let other = file.outside();
    other.execute_batch("begin exclusive").expect("lock");
    store.enqueue(file.jobs(1)).await.expect_err("nobody can write, nobody can beat");
    file.clock.advance(LEASE * 5);
    other.execute_batch("rollback").expect("unlock");
    store.enqueue(file.jobs(1)).await.expect("it works again");
    assert_eq!(store.rescue(100).await.expect("rescue").dead_workers, 0, "its lease begins anew");
    file.clock.advance(LEASE + MS);
    assert_eq!(store.rescue(100).await.expect("rescue").dead_workers, 1, "once");
    let job = store.get(claimed[0].lease.token().job).await.expect("get").expect("kept");
    assert_eq!((job.state, job.crashes), (JobState::Ready, 1));
}

#[tokio::test]
async fn what_ended_during_a_gap_in_writing_is_settled_and_not_run_again() {
    let file = File::new();
    let store = file.open().await;
    let worker = file.worker(&store).await;
    let mut jobs = file.jobs(1);
    jobs[0].spec.timeout = LEASE / 10;
    store.enqueue(jobs).await.expect("enqueue");
    let mut claimed = store.claim(&work(), worker, 1, Duration::ZERO).await.expect("claim");
    let other = file.outside();
    other.execute_batch("begin exclusive").expect("lock");
    let done: Arc<[Settlement]> = [Settlement { lease: claimed.remove(0).lease, verdict: complete() }].into();
    store.settle(Arc::clone(&done)).await.expect_err("nobody can write");
    file.clock.advance(LEASE * 5);
    other.execute_batch("rollback").expect("unlock");
    store.enqueue(file.jobs(1)).await.expect("it works again");
    assert_eq!(store.rescue(100).await.expect("rescue"), Rescued::default(), "the settlement is on its way");
    assert_eq!(store.settle(done).await.expect("settle"), [Settled::Accepted(JobState::Completed)]);
}

#[tokio::test]
async fn an_end_that_can_not_be_written_makes_its_job_dead_and_holds_nobody_up() {
    let file = File::new();
    let store = file.open().await;
    let worker = file.worker(&store).await;
    store.enqueue(file.jobs(2)).await.expect("enqueue");
    let mut claimed = store.claim(&work(), worker, 2, Duration::ZERO).await.expect("claim").into_iter();
    let (bad, good) = (claimed.next().unwrap(), claimed.next().unwrap());
    let (bad_id, good_id) = (bad.lease.token().job, good.lease.token().job);
    // Past the queue's checks: no table takes a timeout of nothing.
    let mut children = file.jobs(1);
    children[0].spec.timeout = Duration::ZERO;
    let batch = [
        Settlement { lease: bad.lease, verdict: Verdict::Complete { result: None, children } },
        Settlement { lease: good.lease, verdict: complete() },
    ];
    let settled = store.settle(Arc::new(batch)).await.expect("settle");
    assert_eq!(settled, [Settled::Accepted(JobState::Dead), Settled::Accepted(JobState::Completed)]);
    let dead = store.get(bad_id).await.expect("get").unwrap();
    assert!(dead.failures[0].error.contains("its end could not be written"), "{:?}", dead.failures);
    assert_eq!(store.get(good_id).await.expect("get").unwrap().state, JobState::Completed);
    assert_eq!(all(&store).await.len(), 2, "the child that no table takes is not there");
}

#[tokio::test]
async fn failures_that_can_not_be_read_do_not_keep_a_job_from_being_rescued() {
    let file = File::new();
    let store = file.open().await;
    let worker = file.worker(&store).await;
    store.enqueue(file.jobs(1)).await.expect("enqueue");
    let claimed = store.claim(&work(), worker, 1, Duration::ZERO).await.expect("claim");
    let id = claimed[0].lease.token().job;
    file.outside().execute("update bodies set failures = 'no json'", []).expect("spoil");
    store.sign_off(worker).await.expect("sign off");
    assert_eq!(store.cancel(id, "no longer wanted").await.expect("cancel"), Cancel::Cancelled);
    let job = store.get(id).await.expect("get").unwrap();
    assert!(job.failures[0].error.contains("could not be read"), "{:?}", job.failures);
}
