//! What the store holds in the end, asked through its contract alone.

use std::collections::BTreeMap;

use tidemill::job::{JobRecord, JobState};
use tidemill::store::{ListQuery, Store, StoreError};

use crate::act::SCHEDULE;
use crate::history::{Dump, DumpJob};

/// Lists everything, once without a filter and once by state.
pub(super) async fn take(store: &dyn Store) -> Result<Dump, StoreError> {
    let mut dump = Dump { alive: store.workers().await?.iter().map(|worker| worker.id).collect(), ..Dump::default() };
    dump.jobs = list(store, None).await?.into_iter().map(job).collect();
    for state in JobState::ALL {
        let ids = list(store, Some(state)).await?.iter().map(|job| job.id).collect();
        dump.by_state.insert(state, ids);
    }
    let counts = store.counts().await?;
    dump.refusals = counts.lease_refusals;
    let mut counters = BTreeMap::new();
    for queue in &counts.queues {
        dump.completed_total += queue.completed_total;
        for state in JobState::ALL {
            *counters.entry(state).or_default() += queue.of(state);
        }
    }
    dump.counters = counters;
    Ok(dump)
}

async fn list(store: &dyn Store, state: Option<JobState>) -> Result<Vec<JobRecord>, StoreError> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(ListQuery { state, cursor, limit: 200, ..ListQuery::default() }).await?;
        all.extend(page.jobs);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

fn job(record: JobRecord) -> DumpJob {
    // The payload tells a schedule's due times apart; of all others the producer's log says what it was.
    let by_schedule = record.enqueued_by.strip_prefix("schedule:") == Some(SCHEDULE);
    DumpJob {
        id: record.id,
        state: record.state,
        attempt: record.attempt,
        max_attempts: record.max_attempts,
        crashes: record.crashes,
        epoch: record.epoch,
        unique_key: record.unique_key.map(|key| key.to_string()),
        enqueued_by: record.enqueued_by.to_string(),
        dead_reason: record.dead_reason,
        holder: record.holder,
        payload: by_schedule.then(|| record.payload.get().to_owned()),
    }
}
