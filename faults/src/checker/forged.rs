//! The checker's own tests: a sound history is valid, and each way to falsify it is seen, by the rule that it breaks.

use std::collections::BTreeMap;

use tidemill::clock::Entropy;
use tidemill::job::{DeadReason, Incarnation, JobId, JobState};

use super::check;
use crate::act::Fate;
use crate::event::{Asked, Claim, End, Event, VerdictKind, What};
use crate::history::{AtLeast, Dump, DumpJob, History, Rules};
use crate::report::{Report, Verdict};

const MS: u64 = 1_000_000;

fn job(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

fn holder(n: u64) -> Incarnation {
    Incarnation::new(&Entropy::seeded(n))
}

/// The store's clock is the monotonic one in these histories.
fn at(ms: u64, what: What) -> Event {
    Event { ns: ms * MS, ms: i64::try_from(ms).unwrap(), what }
}

fn asked(n: u8, fate: Fate) -> Asked {
    let (nth, job, key) = (u64::from(n), job(n), format!("key {n}"));
    Asked { nth, job, key, fate, delay_ms: 0, due_at_ms: None, max_attempts: 3 }
}

fn claimed(ms: u64, by: u64, n: u8, epoch: u64, attempt: u32) -> Event {
    let at_ms = i64::try_from(ms).unwrap();
    let claim = Claim { job: job(n), epoch, attempt, at_ms, run_at_ms: 0, timeout_ms: 60_000 };
    at(ms, What::Claimed { holder: holder(by), jobs: vec![claim] })
}

fn entered(ms: u64, n: u8, epoch: u64, attempt: u32) -> Event {
    at(ms, What::Enter { job: job(n), epoch, attempt })
}

fn left(ms: u64, n: u8, epoch: u64, how: &str) -> Event {
    at(ms, What::Exit { job: job(n), epoch, how: how.into() })
}

fn settling(ms: u64, call: u64, n: u8, epoch: u64, verdict: VerdictKind, delay_ms: u64) -> Event {
    at(ms, What::Settling { call, jobs: vec![End { job: job(n), epoch, verdict, delay_ms }] })
}

fn settled(ms: u64, call: u64, answer: Option<JobState>) -> Event {
    at(ms, What::Settled { call, answers: vec![answer] })
}

fn beat(ms: u64, by: u64) -> Event {
    at(ms, What::Beat { holder: holder(by), store_ms: i64::try_from(ms).unwrap() })
}

fn kept(n: u8, state: JobState, attempt: u32, crashes: u32, epoch: u64) -> DumpJob {
    DumpJob {
        id: job(n),
        state,
        attempt,
        max_attempts: 3,
        crashes,
        epoch,
        unique_key: Some(format!("key {n}")),
        enqueued_by: "faults:producer".into(),
        dead_reason: None,
        holder: None,
        payload: None,
    }
}

/// Job 1 completes at once. Job 2 fails, is put off by 100 ms, completes. Job 3 is taken down with its worker and completes
/// with the other. Job 4 is never acknowledged and is there. Job 5 is dead for its payload. Job 6 is cancelled while it
/// waits. Job 7 is held by a zombie, whose end is refused.
fn sound() -> History {
    let fine = Fate::Completed { attempt: 1 };
    let dead = Fate::Dead(DeadReason::BadPayload);
    let fates = [(1, fine), (2, Fate::Completed { attempt: 2 }), (3, fine), (5, dead), (6, fine), (7, fine)];
    let producer = vec![
        at(1, What::Asked { call: 0, jobs: fates.map(|(n, fate)| asked(n, fate)).to_vec() }),
        at(2, What::Acked { call: 0 }),
        at(3, What::Asked { call: 1, jobs: vec![asked(4, fine)] }),
        at(4, What::Unsure { call: 1, error: "no answer".into() }),
    ];
    let first = vec![
        beat(10, 1),
        claimed(20, 1, 1, 1, 1),
        entered(21, 1, 1, 1),
        left(30, 1, 1, "well"),
        settling(31, 0, 1, 1, VerdictKind::Complete, 0),
        settled(33, 0, Some(JobState::Completed)),
        claimed(40, 1, 2, 1, 1),
        entered(41, 2, 1, 1),
        left(42, 2, 1, "failed"),
        settling(43, 1, 2, 1, VerdictKind::Retry, 100),
        settled(44, 1, Some(JobState::Scheduled)),
        claimed(50, 1, 3, 1, 1),
        entered(51, 3, 1, 1),
        at(60, What::Kill { step: "handler.mid".into() }),
    ];
    let second = vec![
        beat(5, 2),
        claimed(160, 2, 2, 2, 2),
        entered(161, 2, 2, 2),
        left(165, 2, 2, "well"),
        settling(166, 0, 2, 2, VerdictKind::Complete, 0),
        settled(168, 0, Some(JobState::Completed)),
        beat(1_000, 2),
        claimed(1_100, 2, 3, 2, 1),
        entered(1_101, 3, 2, 1),
        left(1_105, 3, 2, "well"),
        settling(1_106, 1, 3, 2, VerdictKind::Complete, 0),
        settled(1_108, 1, Some(JobState::Completed)),
        claimed(1_110, 2, 4, 1, 1),
        entered(1_111, 4, 1, 1),
        left(1_112, 4, 1, "well"),
        settling(1_113, 2, 4, 1, VerdictKind::Complete, 0),
        settled(1_114, 2, Some(JobState::Completed)),
        claimed(1_120, 2, 5, 1, 1),
        settling(1_121, 3, 5, 1, VerdictKind::Dead, 0),
        settled(1_122, 3, Some(JobState::Dead)),
        beat(1_900, 2),
        claimed(2_100, 2, 7, 2, 1),
        entered(2_101, 7, 2, 1),
        left(2_110, 7, 2, "well"),
        settling(2_111, 4, 7, 2, VerdictKind::Complete, 0),
        settled(2_112, 4, Some(JobState::Completed)),
    ];
    let zombie = vec![
        beat(900, 3),
        claimed(950, 3, 7, 1, 1),
        entered(951, 7, 1, 1),
        left(2_600, 7, 1, "dropped"),
        settling(2_601, 0, 7, 1, VerdictKind::Release, 0),
        settled(2_602, 0, None),
    ];
    let nemesis = vec![
        at(0, What::Born { role: "driver".into(), pid: 1 }),
        at(100, What::Cancelling { job: job(6) }),
        at(101, What::Cancelled { job: job(6), at_once: true }),
        at(1_000, What::Stopped { node: "w2".into(), life: 0 }),
        at(2_500, What::Continued { node: "w2".into(), life: 0 }),
        at(3_000, What::Quiet),
        at(3_100, What::Drained { complete: true, left: 0 }),
        at(3_200, What::Ended { node: "w1".into(), life: 0, cause: "exit 0".into() }),
        at(3_200, What::Ended { node: "w2".into(), life: 0, cause: "exit 0".into() }),
    ];
    let poisoned = DumpJob { dead_reason: Some(DeadReason::BadPayload), ..kept(5, JobState::Dead, 1, 0, 1) };
    let jobs = vec![
        kept(1, JobState::Completed, 1, 0, 1),
        kept(2, JobState::Completed, 2, 0, 2),
        kept(3, JobState::Completed, 1, 1, 2),
        kept(4, JobState::Completed, 1, 0, 1),
        poisoned,
        kept(6, JobState::Cancelled, 0, 0, 0),
        kept(7, JobState::Completed, 1, 1, 2),
    ];
    let least = AtLeast { acked: 6, unsure: 1, stale_refusals: 1, starts: 6, ..AtLeast::default() };
    let kills = BTreeMap::from([("handler.mid".to_owned(), 1)]);
    let rules = Rules {
        scenario: "forged".into(),
        lease_ms: 1_000,
        crash_limit: 3,
        deadline_grace_ms: 1_000,
        recovery_max_ms: 1_500,
        at_least: AtLeast { kills, ..least },
        ..Rules::default()
    };
    let mut history = History { rules, nemesis, ..History::default() };
    history.logs.insert(("p0".into(), 0), producer);
    for (name, events) in [("w0", first), ("w1", second), ("w2", zombie)] {
        history.logs.insert((name.into(), 0), events);
    }
    history.dump = Dump { jobs, inspected: true, ..Dump::default() };
    count_again(&mut history);
    history
}

/// Lists and counters as a store would have them with these jobs.
fn count_again(history: &mut History) {
    let dump = &mut history.dump;
    for state in JobState::ALL {
        let ids: Vec<JobId> = dump.jobs.iter().filter(|job| job.state == state).map(|job| job.id).collect();
        dump.counters.insert(state, ids.len() as u64);
        dump.by_state.insert(state, ids);
    }
    dump.completed_total = dump.counters[&JobState::Completed];
}

/// Falsifies the sound history; the report of that.
fn forge(change: impl FnOnce(&mut History)) -> Report {
    let mut history = sound();
    change(&mut history);
    check(&history)
}

fn log<'a>(history: &'a mut History, name: &str) -> &'a mut Vec<Event> {
    history.logs.get_mut(&(name.to_owned(), 0)).unwrap()
}

#[track_caller]
fn caught(rule: &str, report: &Report) {
    assert_ne!(report.verdict, Verdict::Valid, "{report}");
    assert!(report.findings.iter().any(|finding| finding.rule == rule), "not by {rule}: {report}");
}

#[test]
fn a_sound_history_is_valid_and_counted_right() {
    let report = check(&sound());
    assert_eq!(report.verdict, Verdict::Valid, "{report}");
    let counted = (report.acked, report.unsure, report.recovered, report.starts, report.killed());
    assert_eq!(counted, (6, 1, 1, 8, 1), "{report}");
    let repeats = (report.illegal_repeats, report.dup_unknown, report.dup_lease, report.stale_refusals);
    assert_eq!(repeats, (0, 0, 2, 1), "{report}");
    assert_eq!((report.legal_overlaps, report.longest_overlap_ms), (1, 9), "{report}");
    assert_eq!((report.recovery_ms, report.held_up), (vec![], 1), "the stopped worker may have held the store up");
}

#[test]
fn a_job_that_was_acknowledged_and_is_gone_is_lost() {
    let report = forge(|history| {
        history.dump.jobs.retain(|kept| kept.id != job(1));
        count_again(history);
    });
    caught("C1", &report);
    assert_eq!((report.lost, report.lost_where), (1, [1, 0, 0]), "{report}");
}

#[test]
fn a_job_that_is_completed_without_its_work_is_lost() {
    let report = forge(|history| log(history, "w0").retain(|event| event.what != left(30, 1, 1, "well").what));
    caught("C1", &report);
}

#[test]
fn a_job_that_nobody_asked_for_is_unexpected() {
    caught(
        "C2",
        &forge(|history| {
            history.dump.jobs.push(kept(9, JobState::Completed, 1, 0, 1));
            count_again(history);
        }),
    );
    caught("C2", &forge(|history| log(history, "w1").push(entered(2_900, 9, 1, 1))));
}

#[test]
fn a_key_on_two_jobs_is_seen() {
    caught("C3", &forge(|history| history.dump.jobs[1].unique_key = Some("key 1".into())));
}

#[test]
fn a_start_after_a_committed_end_is_illegal() {
    let report = forge(|history| {
        log(history, "w1").extend([claimed(2_900, 2, 1, 2, 1), entered(2_901, 1, 2, 1)]);
        history.dump.jobs[0].epoch = 2;
    });
    caught("C4", &report);
    assert_eq!(report.illegal_repeats, 1, "{report}");
}

#[test]
fn a_claim_that_is_started_twice_is_illegal() {
    caught("C4", &forge(|history| log(history, "w1").push(entered(162, 2, 2, 2))));
}

#[test]
fn a_start_after_an_unsure_end_is_a_duplicate_and_no_fault() {
    let report = forge(|history| {
        log(history, "w0").pop();
        let unsure = [left(55, 3, 1, "well"), settling(56, 2, 3, 1, VerdictKind::Complete, 0)];
        log(history, "w0").extend(unsure);
        log(history, "w0").push(at(60, What::Kill { step: "handler.mid".into() }));
    });
    assert_eq!((report.verdict, report.dup_unknown, report.dup_lease), (Verdict::Valid, 1, 1), "{report}");
}

#[test]
fn a_job_taken_from_a_living_holder_is_seen() {
    // The zombie has beaten a moment before the other's claim.
    caught("C5", &forge(|history| log(history, "w2").insert(1, beat(1_500, 3))));
}

#[test]
fn an_end_that_is_accepted_from_a_former_holder_is_seen() {
    let report = forge(|history| {
        log(history, "w2").pop();
        log(history, "w2").push(settled(2_602, 0, Some(JobState::Ready)));
    });
    caught("C6", &report);
    assert_eq!(report.stale_accepted, 1, "{report}");
}

#[test]
fn epochs_that_were_swapped_are_seen() {
    let report = forge(|history| {
        for event in log(history, "w1") {
            if let What::Claimed { jobs, .. } = &mut event.what
                && jobs[0].job == job(7)
            {
                jobs[0].epoch = 1;
            }
        }
        for event in log(history, "w2") {
            if let What::Claimed { jobs, .. } = &mut event.what {
                jobs[0].epoch = 2;
            }
        }
    });
    assert_eq!(report.verdict, Verdict::Invalid, "{report}");
}

#[test]
fn two_ends_of_one_job_are_seen() {
    caught(
        "C7",
        &forge(|history| {
            let again =
                [settling(2_700, 9, 1, 1, VerdictKind::Complete, 0), settled(2_701, 9, Some(JobState::Completed))];
            log(history, "w0").extend(again);
        }),
    );
}

#[test]
fn an_end_that_the_store_has_forgotten_is_seen() {
    caught(
        "C7",
        &forge(|history| {
            history.dump.jobs[0].state = JobState::Cancelled;
            count_again(history);
        }),
    );
}

#[test]
fn early_starts_are_seen_by_the_stores_clock_and_by_ours() {
    caught(
        "C8",
        &forge(|history| {
            for event in log(history, "w0") {
                if let What::Claimed { jobs, .. } = &mut event.what {
                    jobs[0].run_at_ms = jobs[0].at_ms + 1;
                }
            }
        }),
    );
    // Its retry was to wait 100 ms.
    let report = forge(|history| {
        log(history, "w1").iter_mut().for_each(|event| event.ns -= 60 * MS * u64::from(event.ns > 60 * MS))
    });
    caught("C8", &report);
    assert_eq!(report.early, 1, "{report}");
}

#[test]
fn attempts_that_do_not_add_up_are_seen() {
    caught("C9", &forge(|history| history.dump.jobs[1].attempt = 1));
    caught("C9", &forge(|history| history.dump.jobs[2].crashes = 0));
    caught("C9", &forge(|history| history.dump.jobs[1].attempt = 4));
    caught("C9", &forge(|history| log(history, "w1").push(claimed(2_950, 2, 3, 3, 1))));
}

#[test]
fn another_end_than_the_one_that_had_to_come_is_seen() {
    caught("C9", &forge(|history| history.dump.jobs[4].dead_reason = Some(DeadReason::Exhausted)));
    caught("C9", &forge(|history| history.dump.jobs[4].dead_reason = Some(DeadReason::Crashed)));
    caught(
        "C9",
        &forge(|history| {
            history.nemesis.retain(|event| !matches!(event.what, What::Cancelling { .. } | What::Cancelled { .. }));
        }),
    );
}

#[test]
fn a_start_after_a_cancel_is_seen() {
    caught("C10", &forge(|history| log(history, "w1").extend([claimed(2_900, 2, 6, 1, 1), entered(2_901, 6, 1, 1)])));
}

#[test]
fn a_slow_recovery_is_seen() {
    let report = forge(|history| {
        history.nemesis.retain(|event| !matches!(event.what, What::Stopped { .. } | What::Continued { .. }));
        history.rules.recovery_max_ms = 1_000;
    });
    caught("C11", &report);
    assert_eq!((report.recovery_ms, report.held_up), (vec![1_041], 0));
}

#[test]
fn a_process_that_ends_by_itself_is_seen() {
    caught(
        "C11",
        &forge(|history| {
            history.nemesis.push(at(3_300, What::Ended { node: "w3".into(), life: 0, cause: "exit 1".into() }));
        }),
    );
}

#[test]
fn a_dump_that_does_not_agree_with_itself_is_seen() {
    caught("C12", &forge(|history| *history.dump.counters.get_mut(&JobState::Ready).unwrap() += 1));
    caught("C12", &forge(|history| history.dump.by_state.get_mut(&JobState::Ready).unwrap().push(job(1))));
    caught("C12", &forge(|history| history.dump.by_state.get_mut(&JobState::Dead).unwrap().clear()));
    caught("C12", &forge(|history| history.dump.jobs.push(kept(1, JobState::Completed, 1, 0, 1))));
    caught("C12", &forge(|history| history.dump.completed_total += 1));
    caught("C12", &forge(|history| history.dump.damage.push("row 3 missing from index".into())));
    caught(
        "C12",
        &forge(|history| {
            history.dump.jobs[0].state = JobState::Running;
            count_again(history);
        }),
    );
}

#[test]
fn a_run_that_has_not_become_empty_is_never_valid() {
    let not_drained = |history: &mut History| {
        history.nemesis.retain(|event| !matches!(event.what, What::Drained { .. }));
        history.nemesis.push(at(3_100, What::Drained { complete: false, left: 3 }));
    };
    let report = forge(not_drained);
    caught("C15", &report);
    assert_eq!(report.verdict, Verdict::Unknown, "{report}");
    caught("C15", &forge(|history| history.nemesis.retain(|event| !matches!(event.what, What::Drained { .. }))));
}

#[test]
fn a_run_in_which_too_little_has_happened_is_void() {
    for change in [
        (|history: &mut History| history.rules.at_least.acked = 7) as fn(&mut History),
        |history| history.rules.at_least.unsure = 2,
        |history| history.rules.at_least.stale_refusals = 2,
        |history| history.rules.at_least.kills.extend([("settle.after".into(), 1)]),
        |history| history.rules.at_least.noticed.extend([("disk full".into(), 1)]),
        |history| history.dump.inspected = false,
    ] {
        let report = forge(change);
        caught("C16", &report);
        assert_eq!(report.verdict, Verdict::Void, "{report}");
    }
}

#[test]
fn what_a_mode_leaves_open_is_counted_apart() {
    let lose = |history: &mut History| {
        history.nemesis.insert(0, at(2, What::Fault { name: "lossy failover".into() }));
        history.nemesis.insert(1, at(3, What::Healed { name: "lossy failover".into() }));
        history.rules.lossy_window_ms = 1;
        history.dump.jobs.retain(|kept| kept.id != job(1));
        count_again(history);
    };
    let report = forge(lose);
    assert_eq!((report.verdict, report.lost, report.lost_in_window), (Verdict::Valid, 0, 1), "{report}");
}
