//! What the processes of a run write down, one JSON line an event, each process in a file of its own.
//!
//! A line is one `write` to a file opened for appending: what was written before a `kill -9` is there afterwards. Nothing is
//! synced; power loss is not tested here. `ns` is the machine's monotonic clock, the same in all processes, and gives the
//! order; `ms` is the wall clock.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tidemill::clock::Clock;
use tidemill::job::{Incarnation, JobId, JobState};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Monotonic, machine-wide.
    pub ns: u64,
    /// Wall clock.
    pub ms: i64,
    /// What happened.
    pub what: What,
}

/// What happened. Calls on the store have a line before and a line after; a call without the second is unsure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The process began.
    Born { role: String, pid: u32 },
    /// It kills itself at this named step.
    Kill { step: String },
    /// Producer: it asks for these jobs.
    Asked { call: u64, jobs: Vec<Asked> },
    /// Producer: all of the call are durable.
    Acked { call: u64 },
    /// Producer: it does not know (timeout, broken connection, an error that may have come after the write).
    Unsure { call: u64, error: String },
    /// Producer: the store has refused the call for certain.
    Refused { call: u64, error: String },
    /// Worker: the store gave these out.
    Claimed { holder: Incarnation, jobs: Vec<Claim> },
    /// Handler: it begins.
    Enter { job: JobId, epoch: u64, attempt: u32 },
    /// Handler: it ends, as the word says.
    Exit { job: JobId, epoch: u64, how: String },
    /// Worker: it hands these ends to the store.
    Settling { call: u64, jobs: Vec<End> },
    /// Worker: the store's answers in the order of the call; none is a refused lease.
    Settled { call: u64, answers: Vec<Option<JobState>> },
    /// Worker: the call failed, and the store may have done it or not.
    Unsettled { call: u64, error: String },
    /// Worker: a note (progress, log) with a running job was accepted or refused.
    Noted { job: JobId, epoch: u64, accepted: bool },
    /// Worker: it sends a beat; what it runs is its own from the moment the store takes it.
    Beating { holder: Incarnation },
    /// Worker: the store took the beat at this time of its clock.
    Beat { holder: Incarnation, store_ms: i64 },
    /// Worker: the store says that it is dead.
    DeclaredDead { holder: Incarnation },
    /// Worker: it hands back what it holds.
    SigningOff { holder: Incarnation },
    /// Worker: a round of rescue found something.
    Rescued { dead: u32, ready: u32, to_dead: u32 },
    /// Driver: it has killed a process, or seen that it has ended.
    Ended { node: String, life: u32, cause: String },
    /// Driver: a process has not ended in time after SIGTERM.
    Overstayed { node: String },
    /// Driver: it has stopped a process with SIGSTOP.
    Stopped { node: String, life: u32 },
    /// Driver: and let it go on.
    Continued { node: String, life: u32 },
    /// Driver: a fault that is not one of a single process begins; until its [`What::Healed`] nobody is late.
    Fault { name: String },
    /// Driver: it is over.
    Healed { name: String },
    /// Driver: something to be counted that is neither (keys deleted, a failover).
    Noticed { name: String, count: u64 },
    /// Driver: it has taken a job away by hand, past the store.
    Deleted { job: JobId },
    /// Driver: it wants a job cancelled.
    Cancelling { job: JobId },
    /// Driver: the store has done it, or told the holder to.
    Cancelled { job: JobId, at_once: bool },
    /// Driver: nothing more is disturbed; the queue must become empty now.
    Quiet,
    /// Driver: it is, or the patience is over.
    Drained { complete: bool, left: u64 },
}

/// A job that the producer asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its number in the producer's series.
    pub nth: u64,
    /// Its id.
    pub job: JobId,
    /// Its unique key.
    pub key: String,
    /// What must become of it.
    pub fate: crate::act::Fate,
    /// It must not start earlier than so long after it was asked for.
    pub delay_ms: u64,
    /// Nor before this instant of the store's clock.
    pub due_at_ms: Option<i64>,
    /// Attempts until it is dead.
    pub max_attempts: u32,
}

/// One job of a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Which job.
    pub job: JobId,
    /// Which claim of it.
    pub epoch: u64,
    /// Which attempt.
    pub attempt: u32,
    /// When, on the store's clock.
    pub at_ms: i64,
    /// When it was due.
    pub run_at_ms: i64,
    /// It may be taken away so long after that.
    pub timeout_ms: u64,
}

/// One settlement of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Which job.
    pub job: JobId,
    /// Which claim of it.
    pub epoch: u64,
    /// The verdict.
    pub verdict: VerdictKind,
    /// The wait that the verdict asks for.
    pub delay_ms: u64,
}

/// A verdict without its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the store's own words")]
pub enum VerdictKind {
    Complete,
    Retry,
    Snooze,
    Dead,
    Cancel,
    Release,
}

/// The machine's monotonic clock in nanoseconds, the same for all processes.
pub fn mono_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Neither is negative: it counts from the start of the machine.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// A process' own log.
#[derive(Debug)]
pub struct Log(Mutex<File>);

impl Log {
    /// Appends to the file at `path`.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(Mutex::new(file.with_context(|| format!("open the log {}", path.display()))?)))
    }

    /// Writes one line. Without its log a process of the harness proves nothing: it ends.
    ///
    /// # Panics
    /// When the file can't be written.
    pub fn write(&self, what: What) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: the lines of a file are in the order of their times.
        let event = Event { ns: mono_ns(), ms: Clock::system().now().as_ms(), what };
        let mut line = match serde_json::to_vec(&event) {
            Ok(line) => line,
            Err(e) => panic!("an event can't be written as JSON: {e}"),
        };
        line.push(b'\n');
        if let Err(e) = file.write_all(&line) {
            panic!("the event log can't be written: {e}");
        }
    }
}
