//! The right to run one attempt of one job.

use crate::job::{Incarnation, JobId};

/// Made only by a store's claim, used up by [`Settlement`](super::Settlement): who holds it may finish the attempt.
///
/// Neither `Clone` nor constructible elsewhere, so that "settle what you have not claimed" does not compile.
#[derive(Debug)]
pub struct Lease(LeaseToken);

/// A copy of a lease's name, for everything that is less than finishing: progress, log lines, cancellation,
/// and for handlers that fence their own side effects (`… where epoch <= $1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    /// Which job.
    pub job: JobId,
    /// Which claim of it: rises by one with each.
    pub epoch: u64,
    /// Who claimed it.
    pub holder: Incarnation,
    /// Where the store finds the job; means nothing outside the store that made it.
    pub(super) slot: i64,
}

impl Lease {
    pub(super) fn new(job: JobId, epoch: u64, holder: Incarnation, slot: i64) -> Self {
        Self(LeaseToken { job, epoch, holder, slot })
    }

    /// The lease's name, which can be copied.
    pub fn token(&self) -> LeaseToken {
        self.0
    }
}
