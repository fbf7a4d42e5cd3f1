//! What can be asked of a store, and how it answers: lists, counts, reasons, workers, health.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::job::{Incarnation, JobRecord, JobState, QueueName};

/// Which jobs, from where, how many.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only of this queue.
    pub queue: Option<QueueName>,
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only of this kind.
    pub kind: Option<Arc<str>>,
    /// Only of this tenant.
    pub tenant: Option<Arc<str>>,
    /// Go on after the page that gave this.
    pub cursor: Option<Cursor>,
    /// At most so many, 1 to 200; 0 means 50.
    pub limit: u32,
}

/// A page of jobs in the order that suits the state asked for: `ready` and `scheduled` as they will run, all others and
/// "any state" newest first.
///
/// A page may hold fewer jobs than the limit, even none, and still have a `next`: a filter looks at a bounded
/// number of rows for each page.
#[derive(Debug, Serialize)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<JobRecord>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<Cursor>,
}

/// A place in a list: opaque text that stays valid while jobs come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Go on after this place.
    pub(super) after: Place,
}

/// Where a job stands in a list's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) major: i64,
    pub(super) minor: i64,
    pub(super) seq: i64,
}

/// A cursor that no page gave out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cursor; pass back `next` of the page before, or leave it out to start")]
pub struct InvalidCursor(String);

/// Tells our cursors from other base64.
const CURSOR_MARK: &[u8] = b"tm1";

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = CURSOR_MARK.to_vec();
        for part in [self.after.major, self.after.minor, self.after.seq] {
            bytes.extend(part.to_be_bytes());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let invalid = || InvalidCursor(text.chars().take(80).collect());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let parts = bytes.strip_prefix(CURSOR_MARK).filter(|parts| parts.len() == 24).ok_or_else(invalid)?;
        let part = |n: usize| parts[n * 8..].first_chunk().map(|part| i64::from_be_bytes(*part)).ok_or_else(invalid);
        let after = Place { major: part(0)?, minor: part(1)?, seq: part(2)? };
        // The lowest number can't be negated; no page gives it out.
        if [after.major, after.minor, after.seq].contains(&i64::MIN) { Err(invalid()) } else { Ok(Self { after }) }
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// All queues' counters.
#[derive(Clone, Debug, Serialize)]
pub struct Counts {
    /// By queue, in the order of their names.
    pub queues: Vec<QueueCounts>,
    /// Stale writes refused since the store was made.
    pub lease_refusals: u64,
}

/// One queue's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueCounts {
    /// Which queue.
    pub queue: QueueName,
    /// No jobs are given out.
    pub paused: bool,
    /// `run_at` lies ahead.
    pub scheduled: u64,
    /// May be claimed.
    pub ready: u64,
    /// Claimed.
    pub running: u64,
    /// Finished and still kept.
    pub completed: u64,
    /// Dead and still kept.
    pub dead: u64,
    /// Cancelled and still kept.
    pub cancelled: u64,
    /// Completed since the queue was made, pruned ones too.
    pub completed_total: u64,
    /// How long the longest waiting ready job has been due.
    pub oldest_ready_ms: Option<u64>,
}

impl QueueCounts {
    /// The counter of one state.
    pub fn of(&self, state: JobState) -> u64 {
        match state {
            JobState::Scheduled => self.scheduled,
            JobState::Ready => self.ready,
            JobState::Running => self.running,
            JobState::Completed => self.completed,
            JobState::Dead => self.dead,
            JobState::Cancelled => self.cancelled,
        }
    }
}

/// One line that a handler kept with its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When the store kept it.
    pub at: Timestamp,
    /// Which attempt wrote it.
    pub attempt: u32,
    /// Cut at 1 KiB.
    pub line: String,
}

/// The one answer to "why is this job not running?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum WhyNot {
    /// It is.
    Running {
        /// Who runs it.
        holder: Incarnation,
        /// Since when.
        since: Timestamp,
    },
    /// It is finished.
    Finished {
        /// As what.
        state: JobState,
    },
    /// It is not due.
    NotDue {
        /// When it will be.
        run_at: Timestamp,
    },
    /// Its queue is paused.
    QueuePaused,
    /// No live worker serves its queue.
    NoWorker,
    /// Its queue's rate is used up.
    RateLimited {
        /// When the next claim is possible.
        until: Timestamp,
    },
    /// Others are before it.
    Waiting {
        /// At least so many; counting stops at 1,000.
        ahead: u32,
    },
}

/// A live worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerRecord {
    /// Its incarnation.
    pub id: Incarnation,
    /// Host and process, for people.
    pub label: Arc<str>,
    /// The queues it serves.
    pub queues: Vec<QueueName>,
    /// How many jobs it runs.
    pub running: u32,
    /// Its first beat.
    pub started_at: Timestamp,
    /// Its last beat.
    pub last_beat_at: Timestamp,
    /// Without another beat it is dead then.
    pub lease_until: Timestamp,
    /// Its clock less the store's at the last beat.
    pub clock_skew_ms: i64,
    /// It takes no more jobs.
    pub draining: bool,
}

/// A round trip's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreHealth {
    /// `sqlite`, `redis`.
    pub store: &'static str,
    /// What it can promise, in one line.
    pub promise: String,
    /// Its schema's version.
    pub schema: i64,
}
