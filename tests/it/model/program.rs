//! Random programs: what may happen to one queue, and how often.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// How long a worker lives without a beat.
pub(crate) const LEASE_MS: i64 = 10_000;
/// After its start a job's lease is worth nothing any more: its timeout and the store's grace.
pub(crate) const DEADLINE_MS: i64 = TIMEOUT_MS + 10_000;
pub(crate) const TIMEOUT_MS: i64 = 30_000;
pub(crate) const CRASH_LIMIT: u32 = 3;
/// The queue's retention, so short that programs meet it.
pub(crate) const FINISHED_MS: i64 = 3_600_000;
pub(crate) const DEAD_MS: i64 = 3 * 3_600_000;
pub(crate) const FINISHED_MAX: usize = 3;

/// A job to be enqueued.
#[derive(Clone, Debug)]
pub(crate) struct NewOne {
    pub(crate) delay_ms: i64,
    pub(crate) priority: u8,
    /// Key, and for how long it is kept.
    pub(crate) key: Option<(u8, i64)>,
}

/// How an attempt ends.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Complete { children: Vec<NewOne> },
    Retry { delay_ms: i64 },
    Snooze { delay_ms: i64 },
    Dead,
    Cancel,
    Release,
}

/// One step. Jobs, workers, leases and batches are picked by number, modulo how many there are by then;
/// so a step may well name a dead worker, a stale lease or a job that is gone.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Enqueue(NewOne),
    EnqueueAgain {
        job: u8,
    },
    Start,
    Beat {
        worker: u8,
    },
    /// It beats no more, but what it has claimed may still come in.
    Crash {
        worker: u8,
    },
    SignOff {
        worker: u8,
    },
    Claim {
        worker: u8,
        n: u8,
    },
    Settle {
        lease: u8,
        ending: Ending,
    },
    SettleAgain {
        batch: u8,
    },
    Progress {
        lease: u8,
    },
    Rescue,
    Promote {
        limit: u8,
    },
    Prune,
    Cancel {
        job: u8,
    },
    Retry {
        job: u8,
    },
    Delete {
        job: u8,
    },
    Purge,
    Pause,
    Resume,
    Advance {
        ms: i64,
    },
    /// Time passes and whoever has not crashed beats all the while, so that jobs meet their deadline in living hands.
    Overrun,
    Reopen,
}

fn delay() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 2 => 1_i64..50, 1 => 1_000_i64..20_000]
}

fn new_one() -> impl Strategy<Value = NewOne> {
    let key = option::weighted(0.4, (0_u8..3, prop_oneof![Just(0), Just(5_000), Just(7_200_000)]));
    (delay(), prop_oneof![3 => Just(5_u8), 1 => 0_u8..10], key).prop_map(|(delay_ms, priority, key)| NewOne {
        delay_ms,
        priority,
        key,
    })
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => vec(new_one(), 0..3).prop_map(|children| Ending::Complete { children }),
        2 => delay().prop_map(|delay_ms| Ending::Retry { delay_ms }),
        1 => delay().prop_map(|delay_ms| Ending::Snooze { delay_ms }),
        2 => Just(Ending::Dead),
        1 => Just(Ending::Cancel),
        1 => Just(Ending::Release),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<u8>;
    let clock =
        prop_oneof![4 => 1_i64..60, 3 => 1_000_i64..5_000, 3 => 9_000_i64..25_000, 1 => 3_000_000_i64..4_000_000];
    prop_oneof![
        20 => new_one().prop_map(Step::Enqueue),
        2 => any().prop_map(|job| Step::EnqueueAgain { job }),
        6 => Just(Step::Start),
        6 => any().prop_map(|worker| Step::Beat { worker }),
        2 => any().prop_map(|worker| Step::Crash { worker }),
        2 => any().prop_map(|worker| Step::SignOff { worker }),
        20 => (any(), 0_u8..5).prop_map(|(worker, n)| Step::Claim { worker, n }),
        16 => (any(), ending()).prop_map(|(lease, ending)| Step::Settle { lease, ending }),
        2 => any().prop_map(|batch| Step::SettleAgain { batch }),
        2 => any().prop_map(|lease| Step::Progress { lease }),
        8 => Just(Step::Rescue),
        8 => prop_oneof![Just(1_u8), Just(2), Just(100)].prop_map(|limit| Step::Promote { limit }),
        3 => Just(Step::Prune),
        4 => any().prop_map(|job| Step::Cancel { job }),
        6 => any().prop_map(|job| Step::Retry { job }),
        2 => any().prop_map(|job| Step::Delete { job }),
        1 => Just(Step::Purge),
        2 => Just(Step::Pause),
        3 => Just(Step::Resume),
        12 => clock.prop_map(|ms| Step::Advance { ms }),
        2 => Just(Step::Overrun),
        1 => Just(Step::Reopen),
    ]
}

/// Steps that chance alone would rarely bring together: everybody dies, or every job overruns; then all of it is
/// taken back and claimed again.
fn burst() -> impl Strategy<Value = Vec<Step>> {
    let claim = || Step::Claim { worker: 0, n: 4 };
    prop_oneof![
        40 => step().prop_map(|step| vec![step]),
        2 => Just(vec![Step::Advance { ms: 2 * LEASE_MS }, Step::Rescue, Step::Start, claim()]),
        1 => Just(vec![Step::Overrun, Step::Rescue, claim()]),
    ]
}

/// A program of about thirty steps; it begins with a worker and some jobs, or most steps would have nothing to do.
pub(crate) fn program() -> impl Strategy<Value = Vec<Step>> {
    (vec(new_one(), 1..4), vec(burst(), 18..36)).prop_map(|(jobs, bursts)| {
        let begin = std::iter::once(Step::Start).chain(jobs.into_iter().map(Step::Enqueue));
        begin.chain(bursts.into_iter().flatten()).collect()
    })
}
