//! What operators do to jobs and queues: cancel, retry, delete, pause, resume, purge, drain.

use rusqlite::OptionalExtension;

use super::enqueue::{json, release_key, retake_key};
use super::failure::During;
use super::settle::{forget_progress, note_failure};
use super::txn::{QueueId, Txn};
use crate::job::{Failure, Incarnation, JobId, JobState, QueueName};
use crate::store::{Cancel, RetryDead, StoreError};

struct Found {
    seq: i64,
    queue: QueueId,
    state: JobState,
    attempt: u32,
    unique_key: Option<String>,
}

fn find(txn: &Txn<'_>, job: JobId) -> Result<Found, StoreError> {
    let (found, state) = txn
        .sql("select seq, queue, attempt, unique_key, state from jobs where id = ?1")?
        .query_row([job.as_bytes()], |row| {
            let found = Found {
                seq: row.get(0)?,
                queue: QueueId(row.get(1)?),
                state: JobState::Ready,
                attempt: row.get(2)?,
                unique_key: row.get(3)?,
            };
            Ok((found, row.get::<_, String>(4)?))
        })
        .optional()
        .during("look a job up")?
        .ok_or(StoreError::NoSuchJob(job))?;
    let state = state.parse().map_err(|detail| StoreError::Corrupt { place: "jobs.state".into(), detail })?;
    Ok(Found { state, ..found })
}

/// Cancels a waiting job; asks the holder of a running one to.
pub(super) fn cancel(txn: &mut Txn<'_>, job: JobId, reason: &str) -> Result<Cancel, StoreError> {
    let found = find(txn, job)?;
    match found.state {
        JobState::Scheduled | JobState::Ready => {
            let failure = Failure { at: txn.now, attempt: found.attempt, error: format!("cancelled: {reason}") };
            note_failure(txn, found.seq, failure)?;
            let rows = txn
                .sql("update jobs set state = 'cancelled', finished_at = ?2 where seq = ?1")?
                .execute((found.seq, txn.now.as_ms()))
                .during("cancel a job")?;
            changed(rows, job)?;
            release_key(txn, found.unique_key.as_deref(), job)?;
            txn.count(found.queue, Some(found.state), Some(JobState::Cancelled));
            Ok(Cancel::Cancelled)
        }
        JobState::Running => {
            let rows = txn
                .sql("update jobs set cancel_requested = 1 where seq = ?1 and state = 'running'")?
                .execute([found.seq])
                .during("ask for a cancellation")?;
            changed(rows, job)?;
            Ok(Cancel::Requested)
        }
        state @ (JobState::Completed | JobState::Dead | JobState::Cancelled) => {
            let (allowed, verb) = ("scheduled, ready and running", "cancelled");
            Err(StoreError::WrongState { job, state, allowed, verb })
        }
    }
}

/// Brings a dead job back, or a scheduled one forward.
pub(super) fn retry(txn: &mut Txn<'_>, job: JobId) -> Result<RetryDead, StoreError> {
    let found = find(txn, job)?;
    match found.state {
        JobState::Dead => {
            if let Some(key) = &found.unique_key
                && let Err(holder) = retake_key(txn, key, job)?
            {
                return Err(StoreError::KeyTaken { job, key: key.clone(), holder });
            }
            let rows = txn
                .sql(
                    "update jobs set state = 'ready', run_at = ?2, attempt = 0, crashes = 0, finished_at = null,
                            dead_reason = null, cancel_requested = 0
                     where seq = ?1 and state = 'dead'",
                )?
                .execute((found.seq, txn.now.as_ms()))
                .during("revive a job")?;
            changed(rows, job)?;
            forget_progress(txn, found.seq)?;
            txn.count(found.queue, Some(JobState::Dead), Some(JobState::Ready));
            Ok(RetryDead::Revived)
        }
        JobState::Scheduled => {
            let rows = txn
                .sql("update jobs set state = 'ready', run_at = ?2 where seq = ?1 and state = 'scheduled'")?
                .execute((found.seq, txn.now.as_ms()))
                .during("bring a job forward")?;
            changed(rows, job)?;
            txn.count(found.queue, Some(JobState::Scheduled), Some(JobState::Ready));
            Ok(RetryDead::RunNow)
        }
        state @ (JobState::Ready | JobState::Running | JobState::Completed | JobState::Cancelled) => {
            Err(StoreError::WrongState { job, state, allowed: "dead and scheduled", verb: "retried" })
        }
    }
}

/// Takes a finished job away.
pub(super) fn delete(txn: &mut Txn<'_>, job: JobId) -> Result<(), StoreError> {
    let found = find(txn, job)?;
    if !found.state.is_finished() {
        let (allowed, verb) = ("completed, dead and cancelled", "deleted");
        return Err(StoreError::WrongState { job, state: found.state, allowed, verb });
    }
    txn.sql("delete from job_logs where job = ?1")?.execute([found.seq]).during("delete a job's lines")?;
    for row in ["delete from bodies where seq = ?1", "delete from jobs where seq = ?1"] {
        let rows = txn.sql(row)?.execute([found.seq]).during("delete a job")?;
        changed(rows, job)?;
    }
    txn.count(found.queue, Some(found.state), None);
    Ok(())
}

/// Pauses or resumes a queue; true when it was not so before.
pub(super) fn set_paused(txn: &mut Txn<'_>, queue: &QueueName, paused: bool) -> Result<bool, StoreError> {
    let id = txn.queue(queue)?;
    let rows = txn
        .sql("update queues set paused = ?2 where id = ?1 and paused <> ?2")?
        .execute((id.0, paused))
        .during("pause or resume a queue")?;
    if !paused {
        txn.effects.woken.insert(id);
    }
    Ok(rows == 1)
}

/// Cancels waiting jobs of a queue, at most `limit`.
pub(super) fn purge(txn: &mut Txn<'_>, queue: &QueueName, limit: u32) -> Result<u32, StoreError> {
    let id = txn.queue(queue)?;
    let mut purged = 0;
    // The states are spelled out: a bound one would not let the partial indexes be used.
    for (state, waiting) in [(JobState::Ready, "state = 'ready'"), (JobState::Scheduled, "state = 'scheduled'")] {
        let sql = format!(
            "update jobs set state = 'cancelled', finished_at = ?2 where seq in (
                select seq from jobs where queue = ?1 and {waiting} limit ?3)
             returning id, unique_key, seq"
        );
        let gone: Vec<(JobId, Option<String>, i64)> = txn
            .sql(&sql)?
            .query_map((id.0, txn.now.as_ms(), limit - purged), |row| {
                Ok((JobId::from_bytes(row.get(0)?), row.get(1)?, row.get(2)?))
            })
            .during("purge a queue")?
            .collect::<Result<_, _>>()
            .during("purge a queue")?;
        let note = purge_note(txn)?;
        let mut say_why = txn.sql("update bodies set failures = coalesce(failures, ?2) where seq = ?1")?;
        for (job, key, seq) in &gone {
            changed(say_why.execute((seq, &note)).during("say why a job was cancelled")?, *job)?;
            release_key(txn, key.as_deref(), *job)?;
            txn.count(id, Some(state), Some(JobState::Cancelled));
        }
        purged += u32::try_from(gone.len()).unwrap_or(u32::MAX);
    }
    Ok(purged)
}

fn purge_note(txn: &Txn<'_>) -> Result<String, StoreError> {
    json(&[Failure { at: txn.now, attempt: 0, error: "cancelled: its queue was purged".to_owned() }])
}

/// Asks a worker to take no more jobs.
pub(super) fn drain(txn: &Txn<'_>, worker: Incarnation) -> Result<(), StoreError> {
    let rows = txn
        .sql("update workers set draining = 1 where incarnation = ?1 and state = 'alive'")?
        .execute([worker.as_bytes()])
        .during("drain a worker")?;
    if rows == 1 { Ok(()) } else { Err(StoreError::DeadIncarnation(worker)) }
}

fn changed(rows: usize, job: JobId) -> Result<(), StoreError> {
    if rows == 1 {
        return Ok(());
    }
    Err(StoreError::Corrupt { place: "jobs".into(), detail: format!("{rows} rows instead of one for job {job}") })
}
