//! What each verdict makes of a job: state, time, attempts, result, errors, children.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tidemill::job::{DeadReason, JobState, Progress};
use tidemill::store::{BATCH_MAX, Settled, Settlement, StoreError, Verdict};

use super::rig::{MS, Rig, batch, complete, fail_for, id_of, job, named, token_of, work};

const MINUTE: Duration = Duration::from_secs(60);

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON")
}

pub(crate) async fn complete_keeps_the_result_and_the_time(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    let (id, started) = (id_of(&claimed), rig.clock.now());
    rig.clock.advance(MS * 7);
    let result = Some(json(r#"{"rows":3,"rate":1.10}"#));
    let done = rig.settle(claimed, Verdict::Complete { result, children: Vec::new() }).await;
    assert_eq!(done, Settled::Accepted(JobState::Completed));
    rig.reopen().await;
    let kept = rig.get(id).await;
    assert_eq!(kept.result.as_deref().map(RawValue::get), Some(r#"{"rows":3,"rate":1.10}"#));
    assert_eq!((kept.state, kept.attempt, kept.epoch), (JobState::Completed, 1, 1));
    assert_eq!((kept.started_at, kept.finished_at), (Some(started), Some(rig.clock.now())));
    assert!(kept.failures.is_empty());
}

pub(crate) async fn retry_counts_the_attempt_and_waits_its_delay(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    rig.clock.advance(MS);
    let done = rig.settle(claimed, Verdict::Retry { error: "no route".into(), delay: MINUTE }).await;
    assert_eq!(done, Settled::Accepted(JobState::Scheduled));
    let kept = rig.get(id).await;
    assert_eq!((kept.run_at, kept.attempt, kept.crashes), (rig.clock.now().after(MINUTE), 1, 0));
    let [failure] = &kept.failures[..] else { panic!("one failure: {:?}", kept.failures) };
    assert_eq!((failure.at, failure.attempt, &*failure.error), (rig.clock.now(), 1, "no route"));
    for seconds in [9, 9, 9, 9, 9, 9, 5] {
        rig.clock.advance(Duration::from_secs(seconds));
        rig.beat(worker).await.expect("beat");
    }
    rig.clock.advance(Duration::from_secs(1));
    rig.promote().await;
    assert_eq!(rig.claim_one(worker).await.attempt, 2);
}

pub(crate) async fn snooze_does_not_count_the_attempt(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    let verdict = Verdict::Snooze { reason: "the bank is closed".into(), delay: MS * 5 };
    assert_eq!(rig.settle(claimed, verdict).await, Settled::Accepted(JobState::Scheduled));
    let kept = rig.get(id).await;
    assert_eq!((kept.run_at, kept.attempt), (rig.clock.now().after(MS * 5), 0));
    assert!(kept.failures.is_empty(), "a snooze is no failure");
    assert_eq!(kept.progress.map(|p| p.note).as_deref(), Some("the bank is closed"));
    rig.clock.advance(MS * 5);
    rig.promote().await;
    assert_eq!(rig.claim_one(worker).await.attempt, 1);
}

pub(crate) async fn release_goes_back_at_once_and_does_not_count(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    assert_eq!(rig.settle(claimed, Verdict::Release).await, Settled::Accepted(JobState::Ready));
    let kept = rig.get(id).await;
    assert_eq!((kept.attempt, kept.crashes, kept.failures.len()), (0, 0, 0));
    let again = rig.claim_one(worker).await;
    assert_eq!((again.attempt, again.lease.token().epoch), (1, 2));
}

pub(crate) async fn a_released_job_keeps_its_place(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    rig.clock.advance(MS);
    rig.put(job()).await;
    rig.settle(claimed, Verdict::Release).await;
    assert_eq!(id_of(&rig.claim_one(worker).await), id);
}

pub(crate) async fn dead_keeps_the_reason_and_the_error(rig: &mut Rig) {
    let reasons = [DeadReason::Exhausted, DeadReason::Permanent, DeadReason::UnknownKind, DeadReason::BadPayload];
    for reason in reasons {
        let id = rig.finished(job(), Verdict::Dead { reason, error: "bad request".into() }).await;
        let kept = rig.get(id).await;
        assert_eq!((kept.state, kept.dead_reason, kept.attempt), (JobState::Dead, Some(reason), 1));
        assert_eq!(kept.finished_at, Some(rig.clock.now()));
        assert_eq!(kept.failures.last().map(|f| &*f.error), Some("bad request"));
    }
}

pub(crate) async fn cancel_keeps_the_reason(rig: &mut Rig) {
    let id = rig.finished(job(), Verdict::Cancel { reason: "account closed".into() }).await;
    let kept = rig.get(id).await;
    assert_eq!((kept.state, kept.finished_at), (JobState::Cancelled, Some(rig.clock.now())));
    assert!(rig.bytes(id).await.contains("account closed"));
}

pub(crate) async fn only_the_last_ten_failures_are_kept(rig: &mut Rig) {
    let id = rig.put(job()).await;
    let worker = rig.worker().await;
    for n in 1..=13 {
        let claimed = rig.claim_one(worker).await;
        rig.settle(claimed, Verdict::Retry { error: format!("failure {n}"), delay: MS }).await;
        rig.clock.advance(MS);
        rig.promote().await;
    }
    let kept: Vec<_> = rig.get(id).await.failures.into_iter().map(|f| (f.attempt, f.error)).collect();
    let expected: Vec<_> = (4..=13).map(|n| (n, format!("failure {n}"))).collect();
    assert_eq!(kept, expected, "oldest first");
}

pub(crate) async fn a_long_error_is_cut_at_two_kibibytes_between_letters(rig: &mut Rig) {
    let error = format!("a{}", "ü".repeat(5_000));
    let id = rig.finished(job(), Verdict::Dead { reason: DeadReason::Permanent, error: error.clone() }).await;
    let kept = rig.get(id).await.failures.pop().expect("one").error;
    assert!(kept.len() <= 2_048, "{} bytes", kept.len());
    assert!(kept.starts_with(&error[..2_001]), "its beginning is there");
}

pub(crate) async fn children_come_to_life_with_the_completion(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    let jobs = [rig.new_job(job().tag("a")), rig.new_job(job().after(MS)), rig.new_job(job().unique("k"))];
    let ids = jobs.clone().map(|j| j.id);
    rig.settle(claimed, Verdict::Complete { result: None, children: jobs.to_vec() }).await;
    rig.reopen().await;
    let states = [rig.state(ids[0]).await, rig.state(ids[1]).await, rig.state(ids[2]).await];
    assert_eq!(states, [JobState::Ready, JobState::Scheduled, JobState::Ready]);
}

pub(crate) async fn a_child_that_is_there_already_does_not_stop_the_completion(rig: &mut Rig) {
    let first = rig.put(job().unique("k").after(MS)).await;
    let (_, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    let child = rig.new_job(job().unique("k"));
    let child_id = child.id;
    rig.settle(claimed, Verdict::Complete { result: None, children: vec![child] }).await;
    assert_eq!((rig.state(id).await, rig.state(first).await), (JobState::Completed, JobState::Scheduled));
    assert!(rig.store.get(child_id).await.expect("get").is_none());
}

pub(crate) async fn a_job_may_leave_its_unique_key_to_its_child(rig: &mut Rig) {
    let (_, claimed) = rig.running(job().unique("chain")).await;
    let child = rig.new_job(job().unique("chain"));
    let child_id = child.id;
    rig.settle(claimed, Verdict::Complete { result: None, children: vec![child] }).await;
    assert_eq!(rig.state(child_id).await, JobState::Ready, "the key was free when the child came");
}

pub(crate) async fn a_child_for_an_unknown_queue_fails_the_settle_and_changes_nothing(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    let id = id_of(&claimed);
    let before = rig.bytes(id).await;
    let children = vec![rig.new_job(job()), rig.new_job(job().on(named("nowhere")))];
    let refused = rig.store.settle(batch(claimed, Verdict::Complete { result: None, children })).await;
    assert!(matches!(refused, Err(StoreError::NoSuchQueue(_))), "{refused:?}");
    assert_eq!(rig.bytes(id).await, before);
    assert_eq!(rig.counts(&work()).await.ready, 0, "not one child");
}

pub(crate) async fn a_batch_is_answered_in_its_order(rig: &mut Rig) {
    for _ in 0..20 {
        rig.put(job()).await;
    }
    let worker = rig.worker().await;
    let claimed = rig.claim(worker, 20).await;
    let (mut batch, mut expected) = (Vec::new(), Vec::new());
    for (n, claimed) in claimed.into_iter().enumerate() {
        let (verdict, state) =
            if n % 3 == 0 { (fail_for(MS), JobState::Scheduled) } else { (complete(), JobState::Completed) };
        batch.push(Settlement { lease: claimed.lease, verdict });
        expected.push(Settled::Accepted(state));
    }
    assert_eq!(rig.store.settle(Arc::from(batch)).await.expect("settle"), expected);
}

pub(crate) async fn every_kind_of_end_in_one_batch_changes_its_own_job_alone(rig: &mut Rig) {
    let mut ids = Vec::new();
    for spec in [job(), job(), job().unique("k"), job(), job(), job()] {
        ids.push(rig.put(spec).await);
    }
    let worker = rig.worker().await;
    let claimed = rig.claim(worker, 5).await;
    let child = rig.new_job(job().after(MINUTE));
    let child_id = child.id;
    let result = Some(json("[1]"));
    let verdicts = [
        complete(),
        Verdict::Complete { result, children: Vec::new() },
        complete(),
        Verdict::Complete { result: None, children: vec![child] },
        fail_for(MINUTE),
    ];
    let ends = claimed.into_iter().zip(verdicts).map(|(job, verdict)| Settlement { lease: job.lease, verdict });
    rig.store.settle(ends.collect()).await.expect("settle");
    rig.reopen().await;
    let mut seen = Vec::new();
    for id in &ids {
        let kept = rig.get(*id).await;
        seen.push((kept.state, kept.result.is_some(), kept.failures.len()));
    }
    let plain = (JobState::Completed, false, 0);
    let expected = [
        plain,
        (JobState::Completed, true, 0),
        plain,
        plain,
        (JobState::Scheduled, false, 1),
        (JobState::Ready, false, 0),
    ];
    assert_eq!(seen, expected);
    assert_eq!(rig.state(child_id).await, JobState::Scheduled);
    let counts = rig.counts(&work()).await;
    assert_eq!((counts.completed, counts.completed_total, counts.scheduled, counts.running), (4, 4, 2, 0));
    let again = rig.put(job().unique("k")).await;
    assert_eq!(rig.state(again).await, JobState::Ready, "the key was released");
}

pub(crate) async fn a_settle_over_the_bound_is_refused_and_changes_nothing(rig: &mut Rig) {
    for n in [BATCH_MAX, 1] {
        let jobs = (0..n).map(|_| rig.new_job(job())).collect();
        rig.store.enqueue(jobs).await.expect("enqueue");
    }
    let worker = rig.worker().await;
    let mut claimed = rig.claim(worker, 1_000).await;
    claimed.extend(rig.claim(worker, 1).await);
    let batch: Vec<_> = claimed.into_iter().map(|c| Settlement { lease: c.lease, verdict: complete() }).collect();
    let refused = rig.store.settle(Arc::from(batch)).await;
    assert!(matches!(refused, Err(StoreError::TooMany { len: 1_001, .. })), "{refused:?}");
    assert_eq!(rig.counts(&work()).await.running, 1_001);
}

pub(crate) async fn progress_is_kept_and_bounded(rig: &mut Rig) {
    let (_, claimed) = rig.running(job()).await;
    let token = token_of(&claimed);
    let long = Progress { percent: 40, note: "é".repeat(500) };
    assert!(rig.store.progress(token, long).await.expect("progress"));
    let kept = rig.get(token.job).await.progress.expect("progress");
    assert_eq!(kept.percent, 40);
    assert!(kept.note.len() <= 200 && kept.note.starts_with("ééé"), "{} bytes", kept.note.len());
    rig.store.progress(token, Progress { percent: 80, note: "b".into() }).await.expect("progress");
    assert_eq!(rig.get(token.job).await.progress, Some(Progress { percent: 80, note: "b".into() }));
}

pub(crate) async fn the_last_two_hundred_log_lines_are_kept_oldest_first(rig: &mut Rig) {
    let (worker, claimed) = rig.running(job()).await;
    let token = token_of(&claimed);
    let lines = |from: u32, to: u32| (from..to).map(|n| format!("line {n}")).collect::<Vec<_>>();
    assert!(rig.store.log(token, lines(0, 150)).await.expect("log"));
    rig.settle(claimed, fail_for(MS)).await;
    rig.clock.advance(MS);
    rig.promote().await;
    let token = token_of(&rig.claim_one(worker).await);
    assert!(rig.store.log(token, lines(150, 250)).await.expect("log"));
    let kept = rig.store.logs(token.job).await.expect("logs");
    let texts: Vec<_> = kept.iter().map(|l| l.line.clone()).collect();
    assert_eq!(texts, lines(50, 250));
    assert_eq!((kept[0].attempt, kept[199].attempt, kept[199].at), (1, 2, rig.clock.now()));
    assert!(rig.store.log(token, vec!["ü".repeat(2_000)]).await.expect("log"));
    let last = rig.store.logs(token.job).await.expect("logs").pop().expect("a line");
    assert!(last.line.len() <= 1_024 && last.line.starts_with("üüü"));
    assert!(rig.store.log(token, (0..1_000).map(|n| n.to_string()).collect()).await.expect("log"));
    let kept = rig.store.logs(token.job).await.expect("logs");
    assert_eq!((kept.len(), &*kept[0].line, &*kept[199].line), (200, "800", "999"));
}
