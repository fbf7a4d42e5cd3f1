//! What is compared after every step: each job and each counter, as the store shows them and as they should be.

use tidemill::clock::Timestamp;
use tidemill::job::{JobRecord, JobState};
use tidemill::store::ListQuery;

use super::super::reference::Job;
use super::Driver;
use crate::conformance::rig::list_all;

#[derive(Debug, PartialEq)]
pub(super) struct Counters {
    by_state: [u64; 6],
    completed_total: u64,
    paused: bool,
    oldest_ready_ms: Option<u64>,
    refusals: u64,
}

impl Driver<'_> {
    /// Every job as the store shows it, in the reference's order and words; `None` where it shows none.
    pub(super) async fn jobs(&self) -> Vec<Option<Job>> {
        let query = ListQuery { queue: Some(self.queue()), limit: 200, ..ListQuery::default() };
        let listed = list_all(&*self.rig.store, query).await;
        let mut jobs = vec![None; self.ids.len()];
        for record in listed {
            let id = self.ids.iter().position(|id| *id == record.id).expect("a job that nobody enqueued");
            jobs[id] = Some(self.seen(&record));
        }
        jobs
    }

    fn seen(&self, record: &JobRecord) -> Job {
        let key = record.unique_key.as_deref().and_then(|key| key.rsplit(':').next());
        Job {
            state: record.state,
            priority: record.priority.get(),
            run_at: record.run_at.as_ms(),
            attempt: record.attempt,
            crashes: record.crashes,
            epoch: record.epoch,
            holder: record.holder.and_then(|holder| self.workers.iter().position(|(id, _)| *id == holder)),
            started_at: record.started_at.map(Timestamp::as_ms),
            finished_at: record.finished_at.map(Timestamp::as_ms),
            cancel_requested: record.cancel_requested,
            dead_reason: record.dead_reason,
            key: key.map(|key| key.parse().expect("a number")),
        }
    }

    pub(super) async fn counters(&self) -> Counters {
        let all = self.rig.store.counts().await.expect("counts");
        let queue = self.queue();
        let counts = all.queues.into_iter().find(|counts| counts.queue == queue).expect("declared");
        Counters {
            by_state: JobState::ALL.map(|state| counts.of(state)),
            completed_total: counts.completed_total,
            paused: counts.paused,
            oldest_ready_ms: counts.oldest_ready_ms,
            refusals: all.lease_refusals - self.refusals_before,
        }
    }

    pub(super) fn expected_counters(&self) -> Counters {
        let reference = &self.reference;
        let jobs = || reference.jobs.iter().flatten();
        let oldest = jobs().filter(|job| job.state == JobState::Ready).map(|job| job.run_at).min();
        Counters {
            by_state: JobState::ALL.map(|state| jobs().filter(|job| job.state == state).count() as u64),
            completed_total: reference.completed_total,
            paused: reference.paused,
            oldest_ready_ms: oldest.map(|at| u64::try_from(reference.now - at).expect("due")),
            refusals: reference.refusals,
        }
    }
}
