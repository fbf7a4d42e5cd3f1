//! What must hold whatever happened, looked at after every rule.

use std::collections::BTreeMap;

use tidemill::job::{JobState, QueueName};
use tidemill::store::ListQuery;

use super::rig::Rig;

impl Rig {
    /// Counters equal a full list, and every running job has a holder.
    pub(crate) async fn audit(&self) {
        let jobs = self.list(ListQuery { limit: 200, ..ListQuery::default() }).await;
        let mut listed: BTreeMap<(QueueName, JobState), u64> = BTreeMap::new();
        for job in &jobs {
            *listed.entry((job.queue.clone(), job.state)).or_default() += 1;
            assert_eq!(job.state == JobState::Running, job.holder.is_some(), "limbo: {job:?}");
            assert_eq!(job.state.is_finished(), job.finished_at.is_some(), "limbo: {job:?}");
            assert_eq!(job.state == JobState::Dead, job.dead_reason.is_some(), "limbo: {job:?}");
        }
        for queue in self.store.counts().await.expect("counts").queues {
            for state in JobState::ALL {
                let there = listed.remove(&(queue.queue.clone(), state)).unwrap_or_default();
                assert_eq!(queue.of(state), there, "the counter of {state} jobs in {} is wrong", queue.queue);
            }
        }
        assert!(listed.is_empty(), "jobs in queues that are not counted: {listed:?}");
    }
}
