//! The scenarios: which faults, on which stores, under which load, and what a run of each must hold to count.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::act::Mix;
use crate::history::{AtLeast, Rules};
use crate::place::StoreKind;
use crate::steps;

/// What is done to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// `kill -9` at every named step, of workers and of the producer, and cancels between.
    Steps,
    /// SIGTERM under load.
    Term,
    /// SIGSTOP for longer than the lease, then SIGCONT.
    Zombie,
    /// Handlers that panic, block, abort; payloads that nobody can read.
    Handlers,
    /// 20,000 jobs due at one instant.
    Due,
    /// 20,000 leases that end at one instant.
    Expiry,
    /// Workers whose clock is a day ahead or behind.
    Clock,
    /// Other processes hold the file's write lock, or read it for long (SQLite).
    Busy,
    /// The disk is full (SQLite), or the server's memory (Redis).
    Full,
    /// `kill -9` of the server, slow starts, a stop (Redis, synced each second).
    Crash,
    /// The same with every write synced.
    CrashFsync,
    /// The master dies and a replica takes its place (Redis with Sentinel).
    Failover,
    /// A proxy delays, holds, swallows, refuses, slices and cuts (Redis).
    Net,
    /// Keys deleted by hand: leases, indexes, jobs (Redis).
    Keys,
    /// Negative control: claims without a lease. Must be reported as loss.
    Pop,
    /// Negative control: the last writes are cut off. Must be reported as loss.
    TailCut,
}

/// The load and the settings of a run.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "they say it themselves")]
pub struct Shape {
    pub workers: u32,
    pub places: u32,
    pub per_second: u64,
    pub count: u64,
    pub batch: u64,
    pub mix: Mix,
    pub lease_ms: u64,
    pub beat_ms: u64,
    pub crash_limit: u32,
    pub enqueue_timeout_ms: u64,
    pub schedule: bool,
    /// After the last fault the queue must be empty within this.
    pub patience: Duration,
}

impl Scenario {
    /// Its one word.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// True for the controls, which must lose.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Pop | Self::TailCut)
    }

    /// False where it makes no sense.
    pub fn fits(self, store: StoreKind) -> bool {
        match self {
            Self::Busy => store == StoreKind::Sqlite,
            Self::Crash | Self::CrashFsync | Self::Failover | Self::Net | Self::Keys => store == StoreKind::Redis,
            _ => true,
        }
    }

    /// Its load; `long` is the long form.
    pub fn shape(self, long: bool) -> Shape {
        let usual = Shape {
            workers: 3,
            places: 8,
            per_second: 100,
            count: 0,
            batch: 5,
            mix: Mix::usual(),
            lease_ms: 1_500,
            beat_ms: 400,
            // Kills here are nobody's fault.
            crash_limit: 50,
            enqueue_timeout_ms: 3_000,
            schedule: true,
            patience: Duration::from_secs(90),
        };
        match self {
            Self::Steps => Shape { workers: if long { 5 } else { 3 }, ..usual },
            Self::Term => Shape {
                mix: Mix { ms_max: 3_000, ..Mix::usual() },
                places: 16,
                per_second: 30,
                // As shipped: no death by starvation may be taken for one by SIGTERM.
                lease_ms: 6_000,
                beat_ms: 1_500,
                ..usual
            },
            Self::Zombie => Shape { mix: Mix { ms_max: 400, ..Mix::usual() }, ..usual },
            Self::Handlers => Shape {
                // Blocked for longer than the lease, now and then on all threads of the runtime.
                mix: Mix {
                    panic: 100,
                    block: 8,
                    block_ms_max: 6_000,
                    abort: 3,
                    unknown_kind: 60,
                    bad_payload: 60,
                    ..Mix::usual()
                },
                lease_ms: 4_000,
                beat_ms: 900,
                crash_limit: 3,
                ..usual
            },
            Self::Due => Shape {
                count: 20_000,
                per_second: 1_000_000,
                batch: 1_000,
                places: 64,
                enqueue_timeout_ms: 20_000,
                mix: Mix { ms_max: 2, ..Mix::default() },
                schedule: false,
                patience: Duration::from_secs(180),
                ..usual
            },
            Self::Expiry => Shape {
                workers: 1,
                places: 20_000,
                count: 20_000,
                per_second: 1_000_000,
                batch: 1_000,
                enqueue_timeout_ms: 20_000,
                // Long in the first holder's hands: see the scenario's own words.
                mix: Mix { ms_max: 2, long_first: true, ..Mix::default() },
                lease_ms: 4_000,
                beat_ms: 1_000,
                schedule: false,
                patience: Duration::from_secs(180),
                ..usual
            },
            Self::Clock => Shape { schedule: false, ..usual },
            Self::Crash | Self::CrashFsync | Self::Failover | Self::Net | Self::Keys | Self::Busy | Self::Full => {
                Shape { enqueue_timeout_ms: 1_000, ..usual }
            }
            Self::Pop => Shape { mix: Mix { ms_max: 1_000, ..Mix::default() }, schedule: false, ..usual },
            Self::TailCut => Shape { mix: Mix::default(), schedule: false, ..usual },
        }
        .scaled(long)
    }

    /// What the checker must know, and what the run must hold.
    pub fn rules(self, store: StoreKind, shape: &Shape, seed: u64) -> Rules {
        let mut least = AtLeast { acked: 200, starts: 200, ..AtLeast::default() };
        let mut kill = |steps: &[&str], n: u64| least.kills.extend(steps.iter().map(|step| ((*step).to_owned(), n)));
        match self {
            Self::Steps => kill(&steps::ALL, 1),
            Self::Handlers => kill(&["abort"], 3),
            Self::Expiry | Self::Pop => kill(&["any"], 1),
            _ => {}
        }
        match self {
            Self::Steps => {
                least.unsure = 1;
                least.noticed.extend([("cancelled".into(), 3)]);
            }
            Self::Term => least.noticed.extend([("clean stops".into(), 3)]),
            Self::Zombie => {
                least.stale_refusals = 1;
                least.noticed.insert("stopped".into(), 2);
            }
            Self::Due | Self::Expiry => {
                least.acked = 20_000;
                least.starts = 20_000;
            }
            Self::Clock => least.noticed.extend([("wrong clocks".into(), 2)]),
            Self::Busy => {
                least.unsure = 1;
                least.noticed.extend([("write lock held".into(), 2), ("long reader".into(), 1)]);
            }
            Self::Full => {
                least.refused = 1;
                if store == StoreKind::Sqlite {
                    least.noticed.extend([("disk full".into(), 1)]);
                } else {
                    least.noticed.extend([("store full".into(), 1), ("settled while the store was full".into(), 10)]);
                }
            }
            Self::Crash | Self::CrashFsync => {
                least.unsure = 1;
                least.noticed.extend([("server killed".into(), 2), ("server stopped".into(), 1)]);
                least.noticed.extend([("answers of LOADING".into(), 1)]);
            }
            Self::Failover => least.noticed.extend([("lossy failover".into(), 1)]),
            Self::Net => {
                least.unsure = 1;
                least.noticed.extend([("replies cut in the middle".into(), 5)]);
            }
            Self::Keys => {
                least.noticed.extend([("entries deleted by hand".into(), 3), ("jobs deleted by hand".into(), 1)]);
            }
            // They show what is lost; little is enough.
            Self::Pop | Self::TailCut => (least.acked, least.starts) = (50, 0),
            _ => {}
        }
        Rules {
            scenario: self.name(),
            store: store.as_str().into(),
            seed,
            lease_ms: shape.lease_ms,
            crash_limit: shape.crash_limit,
            deadline_grace_ms: 10_000,
            // The embedded store has the clock of the process that asks; a server has its own.
            store_clock_wrong: self == Self::Clock && store == StoreKind::Sqlite,
            recovery_max_ms: if self == Self::Expiry { 60_000 } else { 10_000 },
            no_crashes: self == Self::Term,
            no_false_deaths: self == Self::Handlers,
            must_lose: self.is_control(),
            // Replicas follow behind the master, by no more than this where the network is well.
            lossy_window_ms: if self == Self::Failover { 1_000 } else { 0 },
            at_least: least,
        }
    }
}

impl Shape {
    fn scaled(self, long: bool) -> Self {
        // A release build takes more of everything but what is counted to the piece, or is slow by itself.
        if long && self.count == 0 && self.mix.ms_max < 1_000 {
            Self { per_second: self.per_second * 3, ..self }
        } else {
            self
        }
    }
}
