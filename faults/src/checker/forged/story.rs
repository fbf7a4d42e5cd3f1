//! A sound history, written by hand.

use std::collections::BTreeMap;

use tidemill::clock::Entropy;
use tidemill::job::{DeadReason, Incarnation, JobId, JobState};

use crate::act::Fate;
use crate::event::{Asked, Claim, End, Event, VerdictKind, What};
use crate::history::{AtLeast, Dump, DumpJob, History, Rules};

pub(super) const MS: u64 = 1_000_000;

pub(super) fn job(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

pub(super) fn holder(n: u64) -> Incarnation {
    Incarnation::new(&Entropy::seeded(n))
}

/// The store's clock is the monotonic one in these histories.
pub(super) fn at(ms: u64, what: What) -> Event {
    Event { ns: ms * MS, ms: i64::try_from(ms).unwrap(), what }
}

pub(super) fn asked(n: u8, fate: Fate) -> Asked {
    let (nth, job, key) = (u64::from(n), job(n), format!("key {n}"));
    Asked { nth, job, key, fate, delay_ms: 0, due_at_ms: None, max_attempts: 3 }
}

pub(super) fn claimed(ms: u64, by: u64, n: u8, epoch: u64, attempt: u32) -> Event {
    let at_ms = i64::try_from(ms).unwrap();
    let claim = Claim { job: job(n), epoch, attempt, at_ms, run_at_ms: 0, timeout_ms: 60_000 };
    at(ms, What::Claimed { holder: holder(by), jobs: vec![claim] })
}

pub(super) fn entered(ms: u64, n: u8, epoch: u64, attempt: u32) -> Event {
    at(ms, What::Enter { job: job(n), epoch, attempt })
}

pub(super) fn left(ms: u64, n: u8, epoch: u64, how: &str) -> Event {
    at(ms, What::Exit { job: job(n), epoch, how: how.into() })
}

pub(super) fn settling(ms: u64, call: u64, n: u8, epoch: u64, verdict: VerdictKind, delay_ms: u64) -> Event {
    at(ms, What::Settling { call, jobs: vec![End { job: job(n), epoch, verdict, delay_ms }] })
}

pub(super) fn settled(ms: u64, call: u64, answer: Option<JobState>) -> Event {
    at(ms, What::Settled { call, answers: vec![answer] })
}

pub(super) fn beat(ms: u64, by: u64) -> Event {
    at(ms, What::Beat { holder: holder(by), store_ms: i64::try_from(ms).unwrap() })
}

pub(super) fn kept(n: u8, state: JobState, attempt: u32, crashes: u32, epoch: u64) -> DumpJob {
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
pub(super) fn sound() -> History {
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
pub(super) fn count_again(history: &mut History) {
    let dump = &mut history.dump;
    for state in JobState::ALL {
        let ids: Vec<JobId> = dump.jobs.iter().filter(|job| job.state == state).map(|job| job.id).collect();
        dump.counters.insert(state, ids.len() as u64);
        dump.by_state.insert(state, ids);
    }
    dump.completed_total = dump.counters[&JobState::Completed];
}
