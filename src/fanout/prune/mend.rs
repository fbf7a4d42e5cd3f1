//! `webhook.mend`: sees to it that no delivery and no line of the log stays without an outcome.
//!
//! Handlers give each its outcome. Where none could (the job kept killing its worker and is dead, somebody cancelled it,
//! the queue's store lost it), a delivery would be pending for ever. Mending asks the queue what became of the job, which
//! has the delivery's own number: a dead or cancelled one ends its delivery, a lost one is enqueued anew. It walks all
//! unsettled deliveries in bounded steps and begins again at the end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::fan_out::{job_of, new_job};
use super::super::history::DeliveryState;
use super::super::ledger::{self, Found};
use super::super::{Deliver, FanoutState};
use crate::clock::Timestamp;
use crate::job::{Done, JobError, JobKind, JobState};
use crate::queue::Queue;
use crate::worker::{Context, Handler};

/// A delivery that was touched within this is left alone: its job may just be settling.
const UNTOUCHED: Duration = Duration::from_secs(120);
/// Deliveries looked at in one run, of each state, and lines closed.
const STEP: i64 = 500;

/// The payload of `webhook.mend`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mend {}

impl JobKind for Mend {
    const KIND: &'static str = "webhook.mend";
    const QUEUE: &'static str = "maintenance";
    const MAX_ATTEMPTS: u32 = 1;
    const TIMEOUT: Duration = Duration::from_secs(120);
}

impl Handler for Mend {
    type State = FanoutState;

    async fn run(self, ctx: Context, state: &FanoutState) -> Result<Done, JobError> {
        Ok(Done::with(mend(state, ctx.queue()).await?))
    }
}

/// What a run did; the job's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mended {
    /// Lines of the log that were closed as interrupted.
    pub interrupted: u64,
    /// Deliveries whose job is dead.
    pub exhausted: u64,
    /// Deliveries whose job was cancelled.
    pub cancelled: u64,
    /// Deliveries whose job was lost.
    pub enqueued: u64,
}

/// Where the walk over unsettled deliveries has come to, for each of their two states.
#[derive(Debug, Default)]
pub(in super::super) struct Walk(Mutex<[String; 2]>);

impl Walk {
    fn after(&self, state: usize) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[state].clone()
    }

    fn reached(&self, state: usize, id: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[state] = id;
    }
}

/// One run.
///
/// # Errors
/// When a store did not answer; what went before stays done.
pub async fn mend(state: &FanoutState, queue: &Queue) -> anyhow::Result<Mended> {
    let now = state.clock.now();
    let mut done = Mended { interrupted: ledger::interrupt(&state.db, now, STEP).await?, ..Mended::default() };
    // What a process that died had only written down.
    super::super::tell(state, queue).await?;
    let before = now.before(UNTOUCHED);
    for (n, unsettled) in [DeliveryState::Pending, DeliveryState::Failed].into_iter().enumerate() {
        let found = ledger::unsettled(&state.db, unsettled, &state.walk.after(n), before, STEP).await?;
        let full = i64::try_from(found.len()) == Ok(STEP);
        let last = found.last().map(|found| found.id.clone());
        for one in found {
            mend_one(state, queue, &one, before, now, &mut done).await?;
        }
        state.walk.reached(n, last.filter(|_| full).unwrap_or_default());
    }
    if done != Mended::default() {
        let Mended { interrupted, exhausted, cancelled, enqueued } = done;
        tracing::warn!(interrupted, exhausted, cancelled, enqueued, "mended deliveries that had no outcome");
    }
    Ok(done)
}

async fn mend_one(
    state: &FanoutState,
    queue: &Queue,
    one: &Found,
    before: Timestamp,
    now: Timestamp,
    done: &mut Mended,
) -> anyhow::Result<()> {
    let Some(id) = job_of(one.job_id.as_deref().unwrap_or(&one.id)) else { return Ok(()) };
    let job = queue.store().get(id).await?;
    let (to, why) = match &job {
        None => {
            let job = Deliver { message: one.message_id.clone(), endpoint: one.endpoint_id.clone() };
            // Its epochs begin anew too.
            ledger::begin_anew(&state.db, &one.id).await?;
            let new = new_job(state, queue, &job, id, &one.tenant, one.retry_delays_ms.as_deref(), |spec| spec)?;
            let enqueued = queue.keep(vec![new]).await?;
            done.enqueued += u64::from(enqueued.first().is_some_and(|e| e.is_new()));
            return Ok(());
        }
        Some(job) if job.state == JobState::Dead => {
            let reason = job.dead_reason.map_or("dead", |reason| reason.as_str());
            // A delivery without a POST has exhausted nothing.
            let to = if one.attempts > 0 { DeliveryState::Exhausted } else { DeliveryState::Cancelled };
            (to, format!("its job is dead: {reason}"))
        }
        Some(job) if job.state == JobState::Cancelled => (DeliveryState::Cancelled, "its job was cancelled".to_owned()),
        Some(_) => return Ok(()),
    };
    let ended_at = job.as_ref().and_then(|job| job.finished_at);
    if ended_at.is_some_and(|at| Timestamp::from_ms(one.updated_at) > at.after(UNTOUCHED)) {
        // Somebody has taken the delivery up again since, with a job of its own.
        return Ok(());
    }
    if ledger::end(&state.db, &one.id, to, &why, before, now).await? {
        let of = if to == DeliveryState::Exhausted { &mut done.exhausted } else { &mut done.cancelled };
        *of += 1;
    }
    Ok(())
}
