//! Jobs that came together and stand in one string: nobody sees a difference, whatever becomes of one of them, and whatever
//! hands at the server take away.

use std::collections::BTreeSet;

use tidemill::job::{DeadReason, JobId, JobState, Progress};
use tidemill::store::{Claimed, Enqueued, ListQuery, Retention, Settled, Settlement, Verdict, WhyNot};

use super::stage::{Stage, done, tokens};
use super::{all, audit, claim, counted, put};
use crate::conformance::rig::{LEASE, MS, complete, fail_for, settings, work};

impl Stage {
    async fn list(&self, query: ListQuery) -> Vec<JobId> {
        crate::conformance::rig::list_all(&*self.store, query).await.into_iter().map(|job| job.id).collect()
    }
}

fn as_is(claimed: Claimed, verdict: Verdict) -> Settlement {
    Settlement { lease: claimed.lease, verdict }
}

fn jobs_of(claimed: &[Claimed]) -> Vec<JobId> {
    tokens(claimed).iter().map(|token| token.job).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_is_one_string_and_its_jobs_read_as_any_others_at_every_step() {
    let stage = Stage::new().await;
    let ids = stage.put(40).await;
    assert_eq!((stage.keys("pack:*").len(), stage.keys("head").len(), stage.keys("body").len()), (1, 0, 0));
    let created = stage.site.clock.now();
    stage.site.clock.advance(MS * 3);
    let claimed = stage.claim(30).await;
    assert_eq!(jobs_of(&claimed), ids[..30], "in the order of their arrival");
    for job in &ids[..30] {
        let record = stage.store.get(*job).await.expect("get").expect("there");
        assert_eq!((record.state, record.attempt, record.epoch), (JobState::Running, 1, 1));
        assert_eq!((record.holder, record.started_at), (Some(stage.worker), Some(stage.site.clock.now())));
        assert_eq!((record.created_at, record.run_at, record.payload.get()), (created, created, r#"{"n":1}"#));
    }
    audit(&stage.store).await;
    stage.site.clock.advance(MS * 7);
    // Out of order, and two of them later.
    let mut settlements: Vec<_> = claimed.into_iter().rev().map(done).collect();
    let late = settlements.split_off(28);
    assert_eq!(stage.settle(settlements).await, [Settled::Accepted(JobState::Completed); 28]);
    audit(&stage.store).await;
    let finished = stage.store.get(ids[29]).await.expect("get").expect("there");
    assert_eq!((finished.state, finished.holder), (JobState::Completed, None));
    assert_eq!((finished.attempt, finished.finished_at), (1, Some(stage.site.clock.now())));
    assert_eq!(stage.settle(late).await, [Settled::Accepted(JobState::Completed); 2]);
    let again = stage.claim(20).await;
    assert_eq!(jobs_of(&again), ids[30..]);
    assert_eq!(stage.settle(again.into_iter().map(done).collect()).await.len(), 10);
    assert_eq!((stage.keys("head").len(), stage.keys("body").len()), (0, 0), "nothing else became of any");
    stage.upkeep().await;
    assert_eq!((counted(&stage.store, JobState::Completed).await, stage.repaired()), (40, 0));
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_one_of_a_pack_leaves_its_neighbours_alone() {
    let stage = Stage::new().await;
    let ids = stage.put(50).await;
    // While they wait: one in the middle, the first, the last.
    for nth in [20, 0, 49] {
        stage.store.cancel(ids[nth], "by hand").await.expect("cancel");
        assert_eq!(stage.state(ids[nth]).await, Some(JobState::Cancelled));
        audit(&stage.store).await;
    }
    let claimed = stage.claim(30).await;
    let expected: Vec<_> = ids[1..20].iter().chain(&ids[21..32]).copied().collect();
    assert_eq!(jobs_of(&claimed), expected);
    let tokens = tokens(&claimed);
    stage.store.cancel(tokens[3].job, "by hand").await.expect("cancel");
    assert!(stage.store.progress(tokens[4], Progress { percent: 40, note: "on".into() }).await.expect("progress"));
    assert!(stage.store.log(tokens[6], vec!["a line".into()]).await.expect("log"));
    audit(&stage.store).await;
    let dead = Verdict::Dead { reason: DeadReason::Permanent, error: "broken".into() };
    let snooze = Verdict::Snooze { reason: "later".into(), delay: LEASE };
    let mut other = [(8, fail_for(LEASE)), (9, dead), (10, snooze), (12, Verdict::Release)].into_iter().peekable();
    let settlements = claimed.into_iter().enumerate().map(|(nth, claimed)| {
        let verdict = other.next_if(|(one, _)| *one == nth).map_or_else(complete, |(_, verdict)| verdict);
        as_is(claimed, verdict)
    });
    let settled = stage.settle(settlements.collect()).await;
    for (nth, settled) in settled.iter().enumerate() {
        let state = match nth {
            8 | 10 => JobState::Scheduled,
            9 => JobState::Dead,
            12 => JobState::Ready,
            _ => JobState::Completed,
        };
        assert_eq!((*settled, stage.state(tokens[nth].job).await), (Settled::Accepted(state), Some(state)), "{nth}");
    }
    audit(&stage.store).await;
    let record = stage.store.get(tokens[4].job).await.expect("get").expect("there");
    assert_eq!(record.progress.map(|progress| progress.percent), Some(40));
    assert_eq!(stage.store.logs(tokens[6].job).await.expect("logs").len(), 1);
    stage.site.clock.advance(LEASE / 2);
    stage.site.beat(&stage.store, stage.worker, LEASE * 4).await.expect("beat");
    stage.site.clock.advance(LEASE / 2);
    stage.store.promote(100).await.expect("promote");
    let rest = stage.claim(100).await;
    let expected: BTreeSet<_> =
        [tokens[8].job, tokens[10].job, tokens[12].job].into_iter().chain(ids[32..49].iter().copied()).collect();
    assert_eq!(jobs_of(&rest).into_iter().collect::<BTreeSet<_>>(), expected);
    assert!(stage.settle(rest.into_iter().map(done).collect()).await.iter().all(|s| matches!(s, Settled::Accepted(_))));
    audit(&stage.store).await;
    stage.upkeep().await;
    assert_eq!(stage.repaired(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packs_whose_worker_died_go_back_whole_and_the_old_leases_are_refused() {
    let stage = Stage::new().await;
    let ids = stage.put(60).await;
    let mut claimed = stage.claim(40).await;
    let ended = claimed.split_off(30);
    stage.settle(ended.into_iter().map(done).collect()).await;
    stage.site.clock.advance(LEASE * 2);
    // Fewer than there are, so that a run is taken back in parts.
    let mut back = 0;
    loop {
        let rescued = stage.store.rescue(7).await.expect("rescue");
        back += rescued.to_ready;
        audit(&stage.store).await;
        if !rescued.more {
            break;
        }
    }
    assert_eq!(back, 30);
    assert_eq!(stage.settle(claimed.into_iter().map(done).collect()).await, [Settled::LeaseLost; 30]);
    let other = stage.site.worker(&stage.store).await;
    let again = claim(&stage.store, other, 100).await.expect("claim");
    let expected: Vec<_> = ids[..30].iter().chain(&ids[40..]).copied().collect();
    assert_eq!(jobs_of(&again), expected, "in the order of their arrival");
    assert!(again.iter().enumerate().all(|(nth, job)| job.crashes == u32::from(nth < 30)));
    let back = stage.store.sign_off(other).await.expect("sign off");
    assert_eq!(back.to_ready, 50);
    audit(&stage.store).await;
    assert_eq!(stage.store.purge(&work(), 1_000).await.expect("purge"), 50);
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_packs_show_each_job_once_in_both_directions() {
    let stage = Stage::new().await;
    let mut ids = stage.put(45).await;
    ids.extend(stage.put(3).await);
    ids.extend(stage.put(33).await);
    let query = |state, limit| ListQuery { state: Some(state), queue: Some(work()), limit, ..ListQuery::default() };
    for limit in [1, 7, 44, 45, 46, 200] {
        assert_eq!(stage.list(query(JobState::Ready, limit)).await, ids, "pages of {limit}");
        let newest: Vec<_> = ids.iter().rev().copied().collect();
        assert_eq!(stage.list(ListQuery { limit, ..ListQuery::default() }).await, newest, "pages of {limit}");
    }
    let of_kind = |kind: &str| ListQuery { kind: Some(kind.into()), ..query(JobState::Ready, 7) };
    assert_eq!(stage.list(of_kind("test.job")).await, ids);
    assert!(stage.list(of_kind("test.other")).await.is_empty());
    for nth in [0, 44, 46, 60] {
        let why = stage.store.explain(ids[nth]).await.expect("explain");
        assert_eq!(why, WhyNot::Waiting { ahead: u32::try_from(nth).unwrap() });
    }
    let claimed = stage.claim(60).await;
    assert_eq!(stage.list(query(JobState::Running, 7)).await, ids[..60].iter().rev().copied().collect::<Vec<_>>());
    stage.settle(claimed.into_iter().map(done).collect()).await;
    for limit in [1, 7, 200] {
        let finished: Vec<_> = ids[..60].iter().rev().copied().collect();
        assert_eq!(stage.list(query(JobState::Completed, limit)).await, finished, "pages of {limit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_call_with_a_known_job_or_one_of_another_sort_is_kept_job_by_job() {
    let stage = Stage::new().await;
    let known = stage.put(30).await[7];
    let mut jobs = stage.site.jobs(30);
    jobs[4].id = known;
    let kept = stage.store.enqueue(jobs.clone()).await.expect("enqueue");
    let expected = |nth: usize| if nth == 4 { Enqueued::Duplicate(known) } else { Enqueued::Inserted(jobs[nth].id) };
    assert_eq!(kept, (0..30).map(expected).collect::<Vec<_>>());
    let sorts: [fn(&mut tidemill::store::NewJob); 4] = [
        |job| job.spec.run_at = tidemill::job::RunAt::After(LEASE),
        |job| job.spec = job.spec.clone().unique("one"),
        |job| job.spec.timeout = LEASE,
        |job| job.spec.priority = tidemill::job::Priority::try_from(1).unwrap(),
    ];
    for sort in sorts {
        let mut jobs = stage.site.jobs(30);
        sort(&mut jobs[29]);
        put(&stage.store, jobs).await;
    }
    let mut twice = stage.site.jobs(30);
    twice[29].id = twice[0].id;
    let kept = stage.store.enqueue(twice).await.expect("enqueue");
    assert_eq!(kept.iter().filter(|kept| kept.is_new()).count(), 29);
    assert_eq!(stage.keys("pack:*").len(), 1, "only the first");
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_takes_what_is_too_much_out_of_the_middle_of_a_pack_and_the_pack_with_its_last_jobs() {
    let stage = Stage::new().await;
    let mut queue = settings("work");
    queue.retention = Retention { finished_max: 33, ..Retention::default() };
    stage.store.declare_queues(vec![queue]).await.expect("declare");
    let ids = stage.put(70).await;
    let mut claimed = stage.claim(70).await;
    let late = claimed.split_off(60);
    stage.settle(claimed.into_iter().map(done).collect()).await;
    while stage.store.prune(10).await.expect("prune").more {}
    let kept: BTreeSet<_> = ids[27..].iter().copied().collect();
    assert_eq!(all(&stage.store).await, kept, "the oldest went");
    audit(&stage.store).await;
    for job in &ids[..27] {
        assert_eq!(stage.state(*job).await, None);
    }
    stage.store.delete(ids[30]).await.expect("delete one by hand");
    assert_eq!(stage.state(ids[30]).await, None);
    audit(&stage.store).await;
    stage.site.clock.advance(LEASE * 100_000);
    stage.site.beat(&stage.store, stage.worker, LEASE).await.expect("beat");
    while stage.store.prune(1_000).await.expect("prune").more {}
    assert!(stage.keys("pack:*").is_empty(), "ten are left, and stand for themselves");
    assert_eq!(all(&stage.store).await, ids[60..].iter().copied().collect());
    assert_eq!(stage.settle(late.into_iter().map(done).collect()).await, [Settled::Accepted(JobState::Completed); 10]);
    audit(&stage.store).await;
    stage.site.clock.advance(LEASE * 100_000);
    while stage.store.prune(1_000).await.expect("prune").more {}
    assert!(all(&stage.store).await.is_empty());
    for gone in ["pack:*", "head", "body", "ids", "end:*", "blocks"] {
        assert!(stage.keys(gone).is_empty(), "{gone}");
    }
    assert_eq!(stage.repaired(), 0);
}

/// Thirty jobs done, thirty running, forty waiting, all of one pack.
async fn in_all_states(stage: &Stage) -> (Vec<JobId>, Vec<Claimed>) {
    let ids = stage.put(100).await;
    let mut claimed = stage.claim(60).await;
    let running = claimed.split_off(30);
    stage.settle(claimed.into_iter().map(done).collect()).await;
    (ids, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_torn_out_is_built_again_and_no_finished_job_runs_again() {
    for torn in ["ready:*", "lease:*", "end:*", "ids", "blocks", "block_jobs", "counts"] {
        let stage = Stage::new().await;
        let (ids, running) = in_all_states(&stage).await;
        stage.delete_all(torn);
        stage.upkeep().await;
        assert!(stage.repaired() > 0, "{torn}");
        audit(&stage.store).await;
        let settled = stage.settle(running.into_iter().map(done).collect()).await;
        assert_eq!(settled, [Settled::Accepted(JobState::Completed); 30], "{torn}");
        let rest = stage.claim(100).await;
        assert_eq!(jobs_of(&rest).into_iter().collect::<BTreeSet<_>>(), ids[60..].iter().copied().collect(), "{torn}");
        assert_eq!(stage.settle(rest.into_iter().map(done).collect()).await.len(), 40, "{torn}");
        assert_eq!(counted(&stage.store, JobState::Completed).await, 100, "{torn}");
        for job in &ids {
            assert_eq!(stage.state(*job).await, Some(JobState::Completed), "{torn}");
        }
        audit(&stage.store).await;
        let before = stage.repaired();
        stage.upkeep().await;
        assert_eq!(stage.repaired(), before, "{torn}: what is right stays as it is");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_deleted_pack_nothing_is_left_to_stand_in_the_way() {
    let stage = Stage::new().await;
    let (_, running) = in_all_states(&stage).await;
    let others = stage.put(25).await;
    assert_eq!(stage.server.command::<i64>(&["DEL", "{tidemill}:pack:1"]), 1);
    assert!(stage.claim(10).await.is_empty(), "entries without jobs are passed over");
    stage.upkeep().await;
    assert_eq!(stage.settle(running.into_iter().map(done).collect()).await, [Settled::LeaseLost; 30]);
    let mut claimed = Vec::new();
    for _ in 0..5 {
        claimed.extend(stage.claim(100).await);
    }
    assert_eq!(jobs_of(&claimed), others);
    stage.settle(claimed.into_iter().map(done).collect()).await;
    stage.upkeep().await;
    audit(&stage.store).await;
    assert_eq!(all(&stage.store).await, others.into_iter().collect());
    assert_eq!(stage.server.command::<i64>(&["HLEN", "{tidemill}:ids"]), 25);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_does_not_go_with_its_deleted_counter() {
    let stage = Stage::new().await;
    let (ids, running) = in_all_states(&stage).await;
    stage.delete_all("block_jobs");
    stage.store.delete(ids[3]).await.expect("delete one");
    assert_eq!(stage.keys("pack:*").len(), 1);
    stage.upkeep().await;
    assert_eq!(all(&stage.store).await.len(), 99);
    audit(&stage.store).await;
    let settled = stage.settle(running.into_iter().map(done).collect()).await;
    assert_eq!(settled, [Settled::Accepted(JobState::Completed); 30]);
    assert_eq!(stage.claim(100).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pack_is_written_over_when_the_last_number_is_lost() {
    let stage = Stage::new().await;
    let mut ids: BTreeSet<_> = stage.put(30).await.into_iter().collect();
    stage.delete_all("seq");
    stage.delete_all("blocks");
    ids.extend(stage.put(25).await);
    assert_eq!(stage.keys("pack:*").len(), 2);
    stage.upkeep().await;
    assert_eq!(all(&stage.store).await, ids);
    assert_eq!(stage.claim(100).await.len(), 55);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_moved_out_and_lost_its_payload_runs_with_that_of_its_pack() {
    let stage = Stage::new().await;
    stage.put(30).await;
    let claimed = stage.claim(2).await;
    stage.settle(claimed.into_iter().map(|claimed| as_is(claimed, Verdict::Release)).collect()).await;
    stage.delete_all("body");
    stage.upkeep().await;
    let claimed = stage.claim(100).await;
    assert_eq!(claimed.len(), 30);
    assert!(claimed.iter().all(|claimed| &*claimed.payload == r#"{"n":1}"#));
    stage.settle(claimed.into_iter().map(done).collect()).await;
    stage.upkeep().await;
    assert_eq!(counted(&stage.store, JobState::Completed).await, 30);
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_whose_jobs_have_all_moved_out_does_not_stay() {
    let stage = Stage::new().await;
    let ids = stage.put(60).await;
    let claimed = stage.claim(60).await;
    let dead = Verdict::Dead { reason: DeadReason::Permanent, error: "broken".into() };
    stage.settle(claimed.into_iter().map(|claimed| as_is(claimed, dead.clone())).collect()).await;
    assert_eq!(stage.keys("pack:*").len(), 1);
    stage.upkeep().await;
    assert_eq!((stage.keys("pack:*").len(), counted(&stage.store, JobState::Dead).await), (0, 60));
    let record = stage.store.get(ids[59]).await.expect("get").expect("there");
    assert_eq!(record.payload.get(), r#"{"n":1}"#);
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_torn_out_of_its_index_leaves_no_wrong_count() {
    let stage = Stage::new().await;
    stage.put(40).await;
    assert_eq!(stage.server.command::<i64>(&["ZREM", "{tidemill}:ready:work:5", "00000000001000+0040"]), 1);
    stage.upkeep().await;
    assert_eq!(counted(&stage.store, JobState::Ready).await, 40);
    audit(&stage.store).await;
    assert_eq!(stage.claim(100).await.len(), 40);
    let before = stage.repaired();
    stage.upkeep().await;
    assert_eq!(stage.repaired(), before, "what is right stays as it is");
}
