//! The checker's own tests: a sound history is valid, and each way to falsify it is seen, by the rule that it breaks.

mod story;

use tidemill::job::{DeadReason, JobState};

use self::story::{MS, at, beat, claimed, count_again, entered, job, kept, left, settled, settling, sound};
use super::check;
use crate::event::{Event, VerdictKind, What};
use crate::history::History;
use crate::report::{Report, Verdict};

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
fn a_recovery_is_not_measured_where_nobody_lived_to_do_it() {
    let report = forge(|history| {
        history.nemesis.retain(|event| !matches!(event.what, What::Stopped { .. } | What::Continued { .. }));
        log(history, "w1").remove(0);
        log(history, "w2").remove(0);
    });
    assert_eq!((report.verdict, report.recovery_ms, report.held_up), (Verdict::Valid, vec![], 1));
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
fn a_process_that_does_not_end_when_it_is_told_to_is_seen() {
    caught("C11", &forge(|history| history.nemesis.push(at(3_300, What::Overstayed { node: "w3".into() }))));
}

#[test]
fn a_crash_where_nobody_was_killed_and_a_death_of_the_living_are_seen() {
    caught("C9", &forge(|history| history.rules.no_crashes = true));
    let declared = at(2_550, What::DeclaredDead { holder: story::holder(3) });
    assert_eq!(forge(|history| log(history, "w2").push(declared.clone())).verdict, Verdict::Valid);
    let strict = |history: &mut History| {
        history.rules.no_false_deaths = true;
        log(history, "w2").push(declared);
    };
    caught("C5", &forge(strict));
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
