//! The checker's own tests: a true history has no fault, and each falsified one has the fault that was put in.

use super::checker::{AtLeast, Fault, Report, check};
use super::history::{Delivery, Dump, History, Job, Kill, Post, Sent};

const LEAST: AtLeast = AtLeast { acked: 2, kills: 1, kills_with_running: 1 };
const KILLED_AT: i64 = 5_000;
const KINDS: [&str; 4] = ["webhook.received", "stripe.event", "webhook.fanout", "webhook.deliver"];

fn job(n: usize, kind: &str) -> Job {
    let about = match kind {
        "webhook.fanout" => format!("stripe:evt_{n}"),
        "webhook.deliver" => format!("msg_{n}"),
        _ => format!("evt_{n}"),
    };
    Job {
        id: format!("{kind} {n}"),
        queue: "q".into(),
        kind: kind.into(),
        state: "completed".into(),
        attempt: 1,
        crashes: 0,
        epoch: 1,
        holder: None,
        started_at: Some(1_000),
        finished_at: Some(2_000),
        about,
    }
}

/// Two events; the delivery of the second is heard, cut off by a kill, and made again.
fn true_history() -> History {
    let mut jobs: Vec<Job> = (1..=2).flat_map(|n| KINDS.map(|kind| job(n, kind))).collect();
    let cut_off = Job {
        state: "running".into(),
        holder: Some("dead".into()),
        started_at: Some(4_500),
        finished_at: None,
        ..jobs[7].clone()
    };
    jobs[7] = Job { epoch: 2, crashes: 1, started_at: Some(8_000), finished_at: Some(9_000), ..jobs[7].clone() };
    let seen = jobs[..7].iter().cloned().chain([cut_off]).collect();
    let post = |n: usize, at| Post { message: format!("msg_{n}"), event: format!("evt_{n}"), at };
    let delivery = |n: usize| Delivery {
        id: format!("dlv_{n}"),
        message: format!("msg_{n}"),
        endpoint: "ep_1".into(),
        state: "succeeded".into(),
        attempts: 1,
    };
    let books = [1, 2].map(|n| (format!("sub_{n}"), "active 1000".to_owned()));
    History {
        sent: [1, 2].map(|n| Sent { event: format!("evt_{n}"), object: format!("sub_{n}"), posts: 2, acks: 1 }).into(),
        received: vec![post(1, 1_500), post(2, 4_700), post(2, 8_500)],
        kills: vec![Kill { at: KILLED_AT, seen }],
        stops: 0,
        books: books.clone().into(),
        dump: Dump {
            jobs,
            counts: [(("q".to_owned(), "completed".to_owned()), 8)].into(),
            completed: [("q".to_owned(), 8)].into(),
            alive: Vec::new(),
            events: [1, 2].map(|n| (format!("evt_{n}"), "applied".to_owned())).into(),
            endpoints: vec!["ep_1".into()],
            messages: [1, 2].map(|n| (format!("msg_{n}"), format!("stripe:evt_{n}"))).into(),
            deliveries: [1, 2].map(delivery).into(),
            attempts: [1, 2].map(|n| (format!("dlv_{n}"), true)).into(),
            mirror: books.into(),
            integrity: vec![("queue.db", "ok".into()), ("tidemill.db", "ok".into())],
        },
    }
}

fn after(falsify: impl FnOnce(&mut History)) -> Report {
    let mut history = true_history();
    falsify(&mut history);
    check(&history, LEAST)
}

macro_rules! sees {
    ($fault:pat $(if $guard:expr)?, $falsify:expr) => {
        let report = after($falsify);
        let found = report.faults.iter().any(|fault| matches!(fault, $fault $(if $guard)?));
        assert!(found, "{} is not among {:?}", stringify!($fault), report.faults);
    };
}

#[test]
fn a_true_history_has_no_fault_and_its_figures_are_right() {
    let report = check(&true_history(), LEAST);
    assert_eq!(report.faults, []);
    assert_eq!((report.acked, report.kills, report.kills_with_running, report.cut_off), (2, 1, 1, 1));
    assert_eq!((report.dup_crash, report.recovery.as_slice(), report.held_up), (1, &[3_000][..], (0, 0)));
}

#[test]
fn an_acknowledged_event_that_is_missing_anywhere_is_lost() {
    sees!(Fault::Lost { .. }, |h| h.dump.events.truncate(1));
    sees!(Fault::Lost { .. }, |h| h.dump.events[0].1 = "received".into());
    sees!(Fault::Lost { .. }, |h| drop(h.dump.mirror.remove("sub_2")));
    sees!(Fault::Lost { .. }, |h| h.dump.messages.truncate(1));
    sees!(Fault::Lost { .. }, |h| h.dump.deliveries.truncate(1));
    sees!(Fault::Lost { .. }, |h| h.dump.deliveries[0].state = "exhausted".into());
    sees!(Fault::Lost { .. }, |h| h.received.truncate(1));
    sees!(Fault::Lost { .. }, |h| h.dump.endpoints.push("ep_2".into()));
    sees!(Fault::Lost { .. }, |h| drop(h.dump.jobs.remove(1)));
    sees!(Fault::Lost { event, .. } if event == "evt_9", |h| {
        h.sent.push(Sent { event: "evt_9".into(), object: "sub_9".into(), posts: 1, acks: 1 });
    });
}

#[test]
fn an_event_without_an_acknowledgement_may_be_missing() {
    let report = after(|h| h.sent.push(Sent { event: "evt_9".into(), object: "sub_9".into(), posts: 7, acks: 0 }));
    assert_eq!(report.faults, []);
}

#[test]
fn what_nobody_sent_is_invented() {
    sees!(Fault::Invented { .. }, |h| drop(h.sent.remove(0)));
    sees!(Fault::Invented { .. }, |h| h.dump.events.push(("evt_9".into(), "applied".into())));
    sees!(Fault::Invented { .. }, |h| h.received[0].message = "msg_9".into());
}

#[test]
fn an_event_with_two_jobs_messages_or_deliveries_is_handled_twice() {
    for nth in 0..3 {
        sees!(Fault::Twice { times: 2, .. }, |h| {
            let again = Job { id: "again".into(), ..h.dump.jobs[nth].clone() };
            h.dump.jobs.push(again);
        });
    }
    sees!(Fault::Twice { times: 2, .. }, |h| h.dump.messages.push(("msg_9".into(), "stripe:evt_1".into())));
    sees!(Fault::Twice { times: 2, .. }, |h| {
        let again = Delivery { id: "dlv_9".into(), ..h.dump.deliveries[0].clone() };
        h.dump.deliveries.push(again);
    });
}

#[test]
fn a_job_that_goes_on_after_its_end_is_finished_twice() {
    sees!(Fault::FinishedTwice { .. }, |h| (h.dump.jobs[0].epoch, h.dump.jobs[0].attempt) = (2, 2));
    sees!(Fault::FinishedTwice { .. }, |h| h.dump.jobs[0].finished_at = Some(3_000));
    sees!(Fault::FinishedTwice { .. }, |h| h.dump.jobs[0].state = "ready".into());
    sees!(Fault::FinishedTwice { .. }, |h| drop(h.dump.jobs.remove(0)));
    sees!(Fault::WrongCounter { kept: 9, counted: 8, .. }, |h| *h.dump.completed.get_mut("q").unwrap() = 9);
}

#[test]
fn a_repeat_is_legal_only_after_a_crash_and_before_the_end() {
    sees!(Fault::IllegalRepeat { posts: 2, crashes: 0, .. }, |h| {
        let again = Post { at: 1_600, ..h.received[0].clone() };
        h.received.push(again);
    });
    sees!(Fault::IllegalRepeat { posts: 3, crashes: 1, .. }, |h| {
        let again = h.received[2].clone();
        h.received.push(again);
    });
    sees!(Fault::PostAfterFinish { .. }, |h| h.received[2].at = 9_001);
}

#[test]
fn a_job_that_did_not_complete_or_has_no_holder_is_seen() {
    sees!(Fault::NotCompleted { .. }, |h| h.dump.jobs[3].state = "dead".into());
    sees!(Fault::Limbo { .. }, |h| {
        h.dump.jobs[3].state = "running".into();
        h.dump.jobs[3].holder = Some("dead".into());
    });
}

#[test]
fn starts_without_an_account_are_seen() {
    sees!(Fault::Miscounted { .. }, |h| h.dump.jobs[7].crashes = 0);
    sees!(Fault::Miscounted { .. }, |h| h.dump.jobs[0].epoch = 2);
    sees!(Fault::Miscounted { .. }, |h| h.dump.jobs[0].attempt = 2);
    // As many starts as told of, but the crash was charged as an attempt.
    sees!(Fault::Miscounted { .. }, |h| (h.dump.jobs[7].crashes, h.dump.jobs[7].attempt) = (0, 2));
}

#[test]
fn what_a_kill_cut_off_must_start_again_and_in_time() {
    sees!(Fault::Abandoned { .. }, |h| h.dump.jobs[7].epoch = 1);
    sees!(Fault::Abandoned { .. }, |h| drop(h.dump.jobs.remove(7)));
    sees!(Fault::SlowRecovery { ms: 10_001, .. }, |h| h.dump.jobs[7].started_at = Some(KILLED_AT + 10_001));
}

#[test]
fn another_kill_in_between_starts_the_time_anew() {
    let report = after(|h| {
        let seen = h.kills[0].seen.clone();
        h.kills.push(Kill { at: KILLED_AT + 9_000, seen });
        h.dump.jobs[7].started_at = Some(KILLED_AT + 12_000);
        h.dump.jobs[7].finished_at = Some(KILLED_AT + 13_000);
    });
    assert_eq!((report.faults.as_slice(), report.held_up, report.cut_off), (&[][..], (1, 12_000), 1));
}

#[test]
fn tables_that_disagree_are_seen() {
    sees!(Fault::WrongCounter { kept: 7, counted: 8, .. }, |h| {
        h.dump.counts.insert(("q".into(), "completed".into()), 7);
    });
    sees!(Fault::WrongCounter { kept: 1, counted: 0, .. }, |h| {
        h.dump.counts.insert(("q".into(), "ready".into()), 1);
    });
    sees!(Fault::BadTable { .. }, |h| h.dump.attempts.push(("dlv_9".into(), false)));
    sees!(Fault::BadTable { .. }, |h| h.dump.attempts.push(("dlv_1".into(), true)));
    sees!(Fault::BadTable { .. }, |h| h.dump.deliveries[0].message = "msg_9".into());
    sees!(Fault::MirrorDiffers { .. }, |h| drop(h.dump.mirror.insert("sub_1".into(), "active 999".into())));
    sees!(Fault::MirrorDiffers { .. }, |h| drop(h.books.insert("in_9".into(), "open 1 0 1".into())));
    sees!(Fault::Damaged { file: "queue.db", .. }, |h| h.dump.integrity[0].1 = "row 7 missing".into());
}

#[test]
fn a_run_in_which_little_happened_is_void() {
    sees!(Fault::Void { .. }, |h| h.sent.truncate(1));
    sees!(Fault::Void { .. }, |h| h.kills.clear());
    sees!(Fault::Void { .. }, |h| h.kills[0].seen.clear());
    sees!(Fault::Void { .. }, |h| h.dump.integrity.clear());
}
