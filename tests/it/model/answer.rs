//! What a step answers, in words that the store and its reference share: jobs are numbers in the order of arrival.

use tidemill::job::JobState;

/// What a step answered, in words that store and reference share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Enqueued {
        new: bool,
        job: usize,
    },
    /// Job, epoch, attempt, crashes.
    Claimed(Vec<(usize, u64, u32, u32)>),
    DeadIncarnation,
    Settled(Option<JobState>),
    Accepted(bool),
    Told {
        cancel: Vec<usize>,
    },
    Rescued {
        dead_workers: u32,
        to_ready: u32,
        to_dead: u32,
    },
    Promoted {
        promoted: u32,
        next_due: Option<i64>,
        more: bool,
    },
    Gone(u32),
    Cancelled,
    Requested,
    Revived,
    RunNow,
    WrongState(JobState),
    KeyTaken(usize),
    NoSuchJob,
    Changed(bool),
}
