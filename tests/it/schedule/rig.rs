//! One schedule, `poll`, on a real store with a manual clock. Its job's payload is its due time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidemill::clock::{Entropy, Timestamp};
use tidemill::job::{JobSpec, PayloadError};
use tidemill::queue::Queue;
use tidemill::schedule::{Plan, Report, Schedule, Scheduler};
use tidemill::store::{Fired, HistoryEntry, ListQuery, ScheduleRecord, Store};

use crate::conformance::rig::{self, Rig, complete, work};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// Every hour.
pub(super) fn hourly() -> Plan {
    Plan::every(HOUR).unwrap()
}

/// The job for one due time.
pub(super) fn poll(due: Timestamp) -> Result<JobSpec, PayloadError> {
    Ok(JobSpec { payload: due.as_ms().to_string().into(), ..rig::job() })
}

/// A scheduler as one more node would have it.
pub(super) fn node(rig: &Rig, store: Arc<dyn Store>, schedules: Vec<Schedule>) -> Scheduler {
    let queue = Queue::new(store, BTreeSet::from([work()]), rig.clock.clone(), rig.entropy.clone());
    Scheduler::new(queue, schedules, rig.clock.clone(), Entropy::seeded(11)).unwrap()
}

/// A scheduler whose one schedule is declared.
pub(super) async fn declared(rig: &Rig, plan: Plan) -> Scheduler {
    let scheduler = node(rig, Arc::clone(&rig.store), vec![Schedule::new("poll", plan, poll).unwrap()]);
    scheduler.declare().await.unwrap();
    scheduler
}

/// Rounds until there is no more to decide; what they did together.
pub(super) async fn rounds(scheduler: &Scheduler) -> Report {
    let mut sum = scheduler.run_once().await.unwrap();
    while sum.more {
        let next = scheduler.run_once().await.unwrap();
        sum = Report {
            enqueued: sum.enqueued + next.enqueued,
            skipped: sum.skipped + next.skipped,
            held: sum.held + next.held,
            missed: sum.missed + next.missed,
            decided_elsewhere: sum.decided_elsewhere + next.decided_elsewhere,
            failed: sum.failed + next.failed,
            ..next
        };
    }
    sum
}

/// The due times of all jobs there are, in order.
pub(super) async fn dues(rig: &Rig) -> Vec<Timestamp> {
    let jobs = rig.list(ListQuery { limit: 200, ..ListQuery::default() }).await;
    let mut dues: Vec<i64> = jobs.iter().map(|job| job.payload.get().parse().unwrap()).collect();
    dues.sort_unstable();
    dues.into_iter().map(Timestamp::from_ms).collect()
}

pub(super) async fn record(rig: &Rig) -> ScheduleRecord {
    rig.store.schedules().await.unwrap().pop().unwrap()
}

pub(super) async fn history(rig: &Rig) -> Vec<HistoryEntry> {
    rig.store.schedule_history("poll").await.unwrap()
}

pub(super) async fn fired(rig: &Rig) -> Vec<Fired> {
    history(rig).await.into_iter().map(|entry| entry.what).collect()
}

/// Runs the one job that is ready to its end.
pub(super) async fn finish_one(rig: &Rig) {
    let worker = rig.worker().await;
    let claimed = rig.claim_one(worker).await;
    rig.settle(claimed, complete()).await;
    rig.store.sign_off(worker).await.unwrap();
}
