//! `heartbeat`, `sign_off`, `rescue`: who lives, and what becomes of the jobs of those who don't.

use rusqlite::{OptionalExtension, Row};

use super::enqueue::{json, release_key};
use super::failure::During;
use super::settle::{forget_progress, note_failure, settle_one};
use super::txn::{QueueId, Txn};
use crate::job::{DeadReason, Failure, Incarnation, JobId, JobState};
use crate::store::{Beat, BeatReply, LeaseToken, Rescued, StoreError, Verdict};

/// Renews a worker's lease; its first beat registers it. `None`: it is dead, which is counted (an error would take the
/// count back with everything else).
pub(super) fn heartbeat(txn: &mut Txn<'_>, beat: &Beat) -> Result<Option<BeatReply>, StoreError> {
    let lease_until = txn.now.after(beat.lease);
    let draining: Option<bool> = txn
        .sql(
            "insert into workers (incarnation, state, label, queues, running, started_at, last_beat, lease_until, skew_ms)
             values (?1, 'alive', ?2, ?3, ?4, ?5, ?5, ?6, ?7)
             on conflict (incarnation) do update set label = excluded.label, queues = excluded.queues,
                running = excluded.running, last_beat = excluded.last_beat, lease_until = excluded.lease_until,
                skew_ms = excluded.skew_ms
             where workers.state = 'alive'
             returning draining",
        )?
        .query_row(
            (
                beat.incarnation.as_bytes(),
                &*beat.label,
                json(&beat.queues)?,
                beat.running,
                txn.now.as_ms(),
                lease_until.as_ms(),
                beat.worker_now.as_ms().saturating_sub(txn.now.as_ms()),
            ),
            |row| row.get(0),
        )
        .optional()
        .during("renew a worker's lease")?;
    let Some(drain) = draining else {
        txn.refuse();
        return Ok(None);
    };
    let cancel = txn
        .sql(
            "select id, epoch, seq from jobs indexed by jobs_to_cancel
             where holder = ?1 and state = 'running' and cancel_requested = 1 limit 1000",
        )?
        .query_map([beat.incarnation.as_bytes()], |row| {
            let job = JobId::from_bytes(row.get(0)?);
            Ok(LeaseToken { job, epoch: row.get(1)?, holder: beat.incarnation, slot: row.get(2)? })
        })
        .during("look for cancelled jobs")?
        .collect::<Result<_, _>>()
        .during("look for cancelled jobs")?;
    Ok(Some(BeatReply { store_now: txn.now, cancel, drain }))
}

/// Ends a worker's life cleanly: what it still runs goes back uncharged.
pub(super) fn sign_off(txn: &mut Txn<'_>, worker: Incarnation) -> Result<Rescued, StoreError> {
    let mut report = Rescued::default();
    for lease in leases_of(txn, worker)? {
        // Release answers Ready, or Cancelled where that was asked for.
        settle_one(txn, lease, &Verdict::Release)?;
        report.to_ready += 1;
    }
    // No row: it never beat, or it is dead already; there is nothing left to end.
    txn.sql(
        "update workers set state = 'gone', ended_at = ?2, running = 0 where incarnation = ?1 and state = 'alive'",
    )?
    .execute((worker.as_bytes(), txn.now.as_ms()))
    .during("sign a worker off")?;
    Ok(report)
}

/// What a living worker runs; as few as its pools have places.
fn leases_of(txn: &Txn<'_>, holder: Incarnation) -> Result<Vec<LeaseToken>, StoreError> {
    let sql = "select id, epoch, seq from jobs indexed by jobs_to_rescue where holder = ?1 and state = 'running'
                 and exists (select 1 from workers where incarnation = ?1 and state = 'alive')";
    txn.sql(sql)?
        .query_map([holder.as_bytes()], |row| {
            Ok(LeaseToken { job: JobId::from_bytes(row.get(0)?), epoch: row.get(1)?, holder, slot: row.get(2)? })
        })
        .during("list a worker's jobs")?
        .collect::<Result<_, _>>()
        .during("list a worker's jobs")
}

/// Declares silent workers dead and takes their jobs, and jobs past their deadline, from them.
pub(super) fn rescue(txn: &mut Txn<'_>, limit: u32) -> Result<Rescued, StoreError> {
    // Ended first: from here on their settles are refused though their jobs may wait for the next batch.
    let dead_workers = txn
        .sql(
            "update workers set state = 'dead', ended_at = ?1, running = 0
             where state = 'alive' and lease_until < ?1 and lease_until - last_beat <= ?1 - ?2",
        )?
        .execute((txn.now.as_ms(), txn.healthy_since.as_ms().max(i64::MIN / 2)))
        .during("declare silent workers dead")?;
    let mut report = Rescued { dead_workers: u32::try_from(dead_workers).unwrap_or(u32::MAX), ..Rescued::default() };
    let lost = lost_jobs(txn, limit)?;
    report.more = lost.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    for job in lost {
        match take_back(txn, &job)? {
            JobState::Dead => report.to_dead += 1,
            _ => report.to_ready += 1,
        }
    }
    Ok(report)
}

struct Lost {
    seq: i64,
    id: JobId,
    queue: QueueId,
    attempt: u32,
    crashes: u32,
    holder: Incarnation,
    overdue: bool,
    cancel_requested: bool,
    unique_key: Option<String>,
}

/// Running jobs whose holder is not alive, or that are past their deadline. The set of running jobs is as small as all
/// pools together, so looking through it is bounded.
fn lost_jobs(txn: &Txn<'_>, limit: u32) -> Result<Vec<Lost>, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(Lost {
            seq: row.get(0)?,
            id: JobId::from_bytes(row.get(1)?),
            queue: QueueId(row.get(2)?),
            attempt: row.get(3)?,
            crashes: row.get(4)?,
            holder: Incarnation::from_bytes(row.get(5)?),
            overdue: row.get(6)?,
            cancel_requested: row.get(7)?,
            unique_key: row.get(8)?,
        })
    };
    // What ended during a gap in writing gets the grace to be settled, before anybody says that it has not ended.
    let healthy_for = txn.now.as_ms().saturating_sub(txn.healthy_since.as_ms());
    let overdue_before = if healthy_for < txn.rules.deadline_grace_ms { i64::MIN } else { txn.now.as_ms() };
    txn.sql(
        "select j.seq, j.id, j.queue, j.attempt, j.crashes, j.holder, j.deadline < ?1, j.cancel_requested, j.unique_key
         from jobs j indexed by jobs_to_rescue
         where j.state = 'running'
           and (j.deadline < ?1
                or not exists (select 1 from workers w where w.incarnation = j.holder and w.state = 'alive'))
         order by j.seq limit ?2",
    )?
    .query_map((overdue_before, limit), read)
    .during("look for lost jobs")?
    .collect::<Result<_, _>>()
    .during("look for lost jobs")
}

fn take_back(txn: &mut Txn<'_>, job: &Lost) -> Result<JobState, StoreError> {
    let crashes = job.crashes + 1;
    let state = match (job.cancel_requested, crashes >= txn.rules.crash_limit) {
        (true, _) => JobState::Cancelled,
        (false, true) => JobState::Dead,
        (false, false) => JobState::Ready,
    };
    let cause = if job.overdue { "it ran past its deadline on" } else { "its worker died:" };
    let error = format!("{cause} {}", job.holder);
    note_failure(txn, job.seq, Failure { at: txn.now, attempt: job.attempt, error })?;
    forget_progress(txn, job.seq)?;
    let reason = (state == JobState::Dead).then_some(DeadReason::Crashed.as_str());
    let rows = txn
        .sql(
            "update jobs set state = ?2, holder = null, deadline = null, attempt = ?3, crashes = ?4,
                    dead_reason = ?5, finished_at = ?6, cancel_requested = 0
             where seq = ?1 and state = 'running'",
        )?
        .execute((
            job.seq,
            state.as_str(),
            job.attempt.saturating_sub(1),
            crashes,
            reason,
            state.is_finished().then_some(txn.now.as_ms()),
        ))
        .during("take a job back")?;
    if rows != 1 {
        let detail = format!("job {} was running and is not", job.id);
        return Err(StoreError::Corrupt { place: "jobs_to_rescue".into(), detail });
    }
    if state.is_finished() {
        release_key(txn, job.unique_key.as_deref(), job.id)?;
    }
    txn.count(job.queue, Some(JobState::Running), Some(state));
    Ok(state)
}
