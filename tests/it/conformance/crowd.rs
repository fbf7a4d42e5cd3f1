//! Many at once: every job is run once and none is left over, whoever claims, settles, dies or comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill::job::{Incarnation, JobId};
use tidemill::store::{Settled, Settlement, Store};
use tokio::task::JoinSet;

use super::rig::{LEASE, Rig, complete, id_of, job, work};

const JOBS: usize = 2_000;

async fn fill(rig: &Rig) {
    for _ in 0..JOBS / 500 {
        let jobs = (0..500).map(|_| rig.new_job(job())).collect();
        rig.store.enqueue(jobs).await.expect("enqueue");
    }
}

/// Claims and completes until there is nothing left; the jobs whose completion was accepted.
async fn work_off(store: Arc<dyn Store>, worker: Incarnation, n: u32) -> Vec<JobId> {
    let mut done = Vec::new();
    loop {
        let claimed = store.claim(&work(), worker, n, Duration::ZERO).await.expect("claim");
        if claimed.is_empty() {
            return done;
        }
        assert!(claimed.len() <= n as usize);
        let ids: Vec<_> = claimed.iter().map(id_of).collect();
        let batch: Vec<_> = claimed.into_iter().map(|c| Settlement { lease: c.lease, verdict: complete() }).collect();
        let settled = store.settle(Arc::from(batch)).await.expect("settle");
        let accepted = ids.into_iter().zip(settled).filter(|(_, s)| matches!(s, Settled::Accepted(_)));
        done.extend(accepted.map(|(id, _)| id));
    }
}

async fn each_exactly_once(rig: &Rig, tasks: JoinSet<Vec<JobId>>) {
    let mut times: BTreeMap<JobId, u32> = BTreeMap::new();
    for id in tasks.join_all().await.into_iter().flatten() {
        *times.entry(id).or_default() += 1;
    }
    assert_eq!(times.len(), JOBS, "none was lost");
    assert!(times.values().all(|n| *n == 1), "none was run twice");
    let counts = rig.counts(&work()).await;
    assert_eq!((counts.completed, counts.completed_total), (JOBS as u64, JOBS as u64));
}

pub(crate) async fn eight_tasks_share_two_thousand_jobs_and_run_each_once(rig: &mut Rig) {
    fill(rig).await;
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let worker = rig.worker().await;
        tasks.spawn(work_off(Arc::clone(&rig.store), worker, 1 + n * 3));
    }
    each_exactly_once(rig, tasks).await;
}

pub(crate) async fn two_processes_share_two_thousand_jobs_and_run_each_once(rig: &mut Rig) {
    fill(rig).await;
    let other = rig.another_handle().await;
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let worker = rig.worker().await;
        let store = if n % 2 == 0 { Arc::clone(&rig.store) } else { Arc::clone(&other) };
        tasks.spawn(work_off(store, worker, 20));
    }
    each_exactly_once(rig, tasks).await;
}

pub(crate) async fn what_the_dead_held_is_run_once_by_the_living(rig: &mut Rig) {
    fill(rig).await;
    let dying = rig.worker().await;
    let held = rig.claim(dying, 300).await;
    rig.clock.advance(LEASE * 2);
    let store = Arc::clone(&rig.store);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let worker = rig.worker().await;
        tasks.spawn(work_off(Arc::clone(&store), worker, 10));
    }
    let (rescued, late) = tokio::join!(rig.store.rescue(1_000), async {
        let batch: Vec<_> = held.into_iter().map(|c| Settlement { lease: c.lease, verdict: complete() }).collect();
        store.settle(Arc::from(batch)).await.expect("settle")
    });
    let (rescued, late) = (rescued.expect("rescue").to_ready, late);
    let accepted = late.iter().filter(|s| matches!(s, Settled::Accepted(_))).count();
    assert_eq!(rescued as usize + accepted, 300, "each went back or was finished, never both");
    let mut done: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let last = rig.worker().await;
    done.extend(work_off(store, last, 100).await);
    done.sort_unstable();
    let all = done.len();
    done.dedup();
    assert_eq!(done.len(), all, "none was run twice");
    assert_eq!(done.len() + accepted, JOBS, "none was lost");
}
