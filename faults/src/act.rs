//! What the jobs of a run do, and what must become of them.
//!
//! A producer's nth job follows from its seed alone, so that one that starts again asks for the same jobs with the same ids.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::clock::{Entropy, Timestamp};
use tidemill::job::{DeadReason, JobId, JobKind, JobSpec, RetryPolicy};
use tidemill::store::NewJob;

use crate::event::Asked;

/// The queue of all jobs of a run but the schedule's.
pub const QUEUE: &str = "work";
/// The schedule's own.
pub const TICKS: &str = "ticks";
/// The schedule's name.
pub const SCHEDULE: &str = "faults.tick";
/// No run is as long as this: a key keeps second jobs away for all of it.
const WHOLE_RUN: Duration = Duration::from_secs(24 * 3600);

/// The kind of all jobs of a run; `act` says what it does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// What it does.
    pub act: Act,
}

impl JobKind for Work {
    const KIND: &'static str = "faults.work";
    const QUEUE: &'static str = QUEUE;
    const TIMEOUT: Duration = Duration::from_secs(120);

    fn retry_policy() -> RetryPolicy {
        let ms = Duration::from_millis;
        RetryPolicy::List { delays: vec![ms(100), ms(300), ms(500)], jitter: 0.2 }
    }
}

/// The schedule's jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tick {
    /// The due time it was made for.
    pub due_ms: i64,
}

impl JobKind for Tick {
    const KIND: &'static str = "faults.tick";
    const QUEUE: &'static str = TICKS;
}

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Ends well after so many ms.
    Fine { ms: u64 },
    /// Fails so often, then ends well.
    Fail { times: u32 },
    /// Fails at every attempt.
    Hopeless,
    /// Panics so often, then ends well.
    Panic { times: u32 },
    /// Holds the thread for so many ms without a pause, then ends well.
    Block { ms: u64 },
    /// Takes its process down at every attempt.
    Abort,
    /// Does not end in its first holder's hands.
    LongFirst,
    /// Asks so often to come back later, then ends well.
    Snooze { times: u64 },
}

/// What must become of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Completed at this attempt.
    Completed { attempt: u32 },
    /// Dead, for this reason.
    Dead(DeadReason),
}

/// How often what is asked for, of 1,000; the rest is fine.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the acts' own names")]
pub struct Mix {
    pub fail: u64,
    pub hopeless: u64,
    pub panic: u64,
    pub block: u64,
    /// It blocks for at most so many ms; 0: 400.
    pub block_ms_max: u64,
    pub abort: u64,
    pub snooze: u64,
    /// Of a kind that nobody knows.
    pub unknown_kind: u64,
    /// With a payload that does not decode.
    pub bad_payload: u64,
    /// Not before some ms have passed.
    pub delayed: u64,
    /// All are due at this one instant of the wall clock.
    pub due_at_ms: Option<i64>,
    /// None ends before its first holder has died.
    pub long_first: bool,
    /// A fine one takes at most so many ms; 0: 30.
    pub ms_max: u64,
}

impl Mix {
    /// Some of everything that leaves its process alive.
    pub fn usual() -> Self {
        Self {
            fail: 60,
            hopeless: 10,
            panic: 30,
            block: 5,
            snooze: 30,
            unknown_kind: 10,
            bad_payload: 10,
            delayed: 100,
            ..Self::default()
        }
    }
}

/// One job of a series.
#[derive(Clone, Debug)]
pub struct Order {
    /// What the log says of it.
    pub asked: Asked,
    /// What the store is given.
    pub job: NewJob,
}

/// The nth job of the series of `seed`.
///
/// # Errors
/// Never for the names used here.
pub fn order(seed: u64, mix: Mix, nth: u64) -> anyhow::Result<Order> {
    let entropy = Entropy::seeded(seed ^ nth.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    // Ids are made of a series' own time, so that they are the same after a restart.
    let id = JobId::new(Timestamp::from_ms(1_700_000_000_000 + i64::try_from(nth)?), &entropy);
    let key = format!("{seed:x}-{nth}");
    let ms = 1 + entropy.below(if mix.ms_max == 0 { 30 } else { mix.ms_max });
    let mut dice = entropy.below(1_000);
    let mut falls = |share: u64| {
        let hit = dice < share;
        dice = if hit { u64::MAX } else { dice - share };
        hit
    };
    let fine = Fate::Completed { attempt: 1 };
    let (act, fate, mut max_attempts) = if falls(mix.fail) {
        let times = 1 + u32::try_from(entropy.below(2))?;
        (Act::Fail { times }, Fate::Completed { attempt: times + 1 }, 5)
    } else if falls(mix.hopeless) {
        (Act::Hopeless, Fate::Dead(DeadReason::Exhausted), 3)
    } else if falls(mix.panic) {
        (Act::Panic { times: 1 }, Fate::Completed { attempt: 2 }, 5)
    } else if falls(mix.block) {
        (
            Act::Block { ms: 100 + entropy.below(if mix.block_ms_max == 0 { 300 } else { mix.block_ms_max - 100 }) },
            fine,
            5,
        )
    } else if falls(mix.abort) {
        (Act::Abort, Fate::Dead(DeadReason::Crashed), 5)
    } else if falls(mix.snooze) {
        (Act::Snooze { times: 1 + entropy.below(2) }, fine, 5)
    } else if mix.long_first {
        (Act::LongFirst, fine, 5)
    } else {
        (Act::Fine { ms }, fine, 5)
    };
    let mut spec = JobSpec::of(&Work { act })?;
    let mut fate = fate;
    if act == (Act::Fine { ms }) && falls(mix.unknown_kind) {
        spec = JobSpec::raw(spec.queue, "faults.nobody_knows", "{}".into());
        (fate, max_attempts) = (Fate::Dead(DeadReason::UnknownKind), 5);
    } else if act == (Act::Fine { ms }) && falls(mix.bad_payload) {
        spec = JobSpec::raw(spec.queue, Work::KIND, poison(&entropy));
        (fate, max_attempts) = (Fate::Dead(DeadReason::BadPayload), 5);
    }
    // Every other stretch of jobs is alike and without keys, so that the store may keep those of one call together.
    let alike = mix.due_at_ms.is_none() && (nth / 64).is_multiple_of(2);
    let delay_ms = if alike {
        0
    } else if entropy.below(1_000) < mix.delayed {
        50 + entropy.below(1_500)
    } else {
        0
    };
    if delay_ms > 0 {
        spec = spec.after(Duration::from_millis(delay_ms));
    }
    if let Some(at) = mix.due_at_ms {
        spec = spec.at(Timestamp::from_ms(at));
    }
    spec.max_attempts = max_attempts;
    let spec = if alike { spec } else { spec.unique_for(&key, WHOLE_RUN) }.by("faults:producer");
    let asked = Asked { nth, job: id, key, fate, delay_ms, due_at_ms: mix.due_at_ms, max_attempts };
    Ok(Order { asked, job: NewJob { id, spec } })
}

/// JSON that is no [`Work`]: the wrong type, deep nesting, a long text.
fn poison(entropy: &Entropy) -> String {
    match entropy.below(3) {
        0 => "{\"act\":{\"fine\":{\"ms\":\"soon\"}}}".into(),
        1 => format!("{}{}", "[".repeat(100), "]".repeat(100)),
        _ => format!("\"{}\"", "x".repeat(100_000)),
    }
}
