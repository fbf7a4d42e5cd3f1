//! Neighbours that are claimed and completed together: their state stands side by side in one string, and nobody sees a
//! difference.

use tidemill::job::{JobId, JobState};
use tidemill::store::{Claimed, ListQuery, Settled, Verdict};

use super::stage::{Stage, done, tokens};
use super::{audit, claim, counted};
use crate::conformance::rig::{LEASE, MS};

impl Stage {
    /// `n` new jobs, claimed together.
    async fn running(&self, n: usize) -> Vec<Claimed> {
        self.put(n).await;
        let claimed = self.claim(u32::try_from(n).unwrap()).await;
        assert_eq!(claimed.len(), n);
        claimed
    }

    async fn states(&self, jobs: &[JobId]) -> Vec<JobState> {
        let mut states = Vec::new();
        for job in jobs {
            states.push(self.store.get(*job).await.expect("get").expect("it is kept").state);
        }
        states
    }

    fn fronts(&self) -> usize {
        self.keys("front:*").len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_claimed_side_by_side_read_as_any_others_at_every_step() {
    let stage = Stage::new().await;
    let claimed = stage.running(12).await;
    assert_eq!(stage.fronts(), 1);
    let jobs: Vec<JobId> = tokens(&claimed).iter().map(|token| token.job).collect();
    for job in &jobs {
        let record = stage.store.get(*job).await.expect("get").expect("there");
        assert_eq!((record.state, record.attempt, record.epoch), (JobState::Running, 1, 1));
        assert_eq!((record.holder, record.started_at), (Some(stage.worker), Some(stage.site.clock.now())));
    }
    let running = ListQuery { state: Some(JobState::Running), ..ListQuery::default() };
    assert_eq!(stage.store.list(running).await.expect("list").jobs.len(), 12);
    audit(&stage.store).await;
    stage.site.clock.advance(MS * 7);
    // Out of order, one of them otherwise, two not at all.
    let mut settlements: Vec<_> = claimed.into_iter().rev().map(done).collect();
    let kept = settlements.split_off(10);
    settlements[4].verdict = Verdict::Retry { error: "not now".into(), delay: LEASE };
    let settled = stage.settle(settlements).await;
    let expected = |nth| if nth == 4 { JobState::Scheduled } else { JobState::Completed };
    assert_eq!(settled, (0..10).map(|nth| Settled::Accepted(expected(nth))).collect::<Vec<_>>());
    audit(&stage.store).await;
    let finished = stage.store.get(jobs[11]).await.expect("get").expect("there");
    assert_eq!((finished.state, finished.holder), (JobState::Completed, None));
    assert_eq!(finished.finished_at, Some(stage.site.clock.now()));
    assert_eq!(stage.states(&jobs[..2]).await, [JobState::Running; 2]);
    let settled = stage.settle(kept).await;
    assert_eq!(settled, [Settled::Accepted(JobState::Completed); 2]);
    stage.upkeep().await;
    assert_eq!(counted(&stage.store, JobState::Completed).await, 11);
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_worker_died_goes_back_and_the_old_leases_are_refused() {
    let stage = Stage::new().await;
    let claimed = stage.running(5).await;
    let jobs: Vec<_> = tokens(&claimed).iter().map(|token| token.job).collect();
    stage.site.clock.advance(LEASE * 2);
    while stage.store.rescue(1_000).await.expect("rescue").more {}
    assert_eq!(stage.states(&jobs).await, [JobState::Ready; 5]);
    let settled = stage.settle(claimed.into_iter().map(done).collect()).await;
    assert_eq!(settled, [Settled::LeaseLost; 5]);
    let other = stage.site.worker(&stage.store).await;
    let again = claim(&stage.store, other, 10).await.expect("claim");
    assert_eq!(again.iter().map(|c| c.lease.token().job).collect::<Vec<_>>(), jobs);
    assert!(again.iter().all(|c| c.crashes == 1), "{again:?}");
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_one_of_a_run_leaves_its_neighbours_alone() {
    let stage = Stage::new().await;
    let claimed = stage.running(5).await;
    let tokens = tokens(&claimed);
    stage.store.cancel(tokens[1].job, "by hand").await.expect("cancel");
    let progress = tidemill::job::Progress { percent: 40, note: "on".into() };
    assert!(stage.store.progress(tokens[2], progress).await.expect("progress"));
    assert!(stage.store.log(tokens[3], vec!["a line".into()]).await.expect("log"));
    audit(&stage.store).await;
    let settled = stage.settle(claimed.into_iter().map(done).collect()).await;
    assert_eq!(settled, [Settled::Accepted(JobState::Completed); 5]);
    for (nth, token) in tokens.iter().enumerate() {
        let record = stage.store.get(token.job).await.expect("get").expect("there");
        assert_eq!((record.state, record.progress.is_some()), (JobState::Completed, nth == 2), "{nth}");
    }
    assert_eq!(stage.store.logs(tokens[3].job).await.expect("logs").len(), 1);
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_job_whose_front_was_deleted_by_hand_does_not_run_again() {
    let stage = Stage::new().await;
    let claimed = stage.running(8).await;
    let mut settlements: Vec<_> = claimed.into_iter().map(done).collect();
    let running = settlements.split_off(5);
    stage.settle(settlements).await;
    assert_eq!(stage.server.command::<i64>(&["DEL", "{tidemill}:front:0"]), 1);
    stage.upkeep().await;
    assert_eq!(counted(&stage.store, JobState::Completed).await, 5);
    // Nobody can know who ran the others: they run again, under new leases.
    let other = stage.site.worker(&stage.store).await;
    let again = claim(&stage.store, other, 10).await.expect("claim");
    assert_eq!(again.len(), 3);
    assert_eq!(stage.settle(running).await, [Settled::LeaseLost; 3]);
    assert_eq!(stage.settle(again.into_iter().map(done).collect()).await.len(), 3);
    stage.upkeep().await;
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fronts_do_not_outlive_their_block_nor_wait_for_its_last_jobs() {
    let stage = Stage::new().await;
    let claimed = stage.running(60).await;
    let mut settlements: Vec<_> = claimed.into_iter().map(done).collect();
    let late = settlements.split_off(50);
    stage.settle(settlements).await;
    stage.site.clock.advance(LEASE * 10_000);
    stage.site.beat(&stage.store, stage.worker, LEASE).await.expect("beat");
    while stage.store.prune(1_000).await.expect("prune").more {}
    assert_eq!(stage.fronts(), 0, "ten jobs are left, and stand for themselves");
    let jobs: Vec<_> = late.iter().map(|settlement| settlement.lease.token().job).collect();
    assert_eq!(stage.states(&jobs).await, [JobState::Running; 10]);
    assert_eq!(stage.settle(late).await, [Settled::Accepted(JobState::Completed); 10]);
    audit(&stage.store).await;
    stage.site.clock.advance(LEASE * 10_000);
    while stage.store.prune(1_000).await.expect("prune").more {}
    assert_eq!(super::all(&stage.store).await.len(), 0);
}
