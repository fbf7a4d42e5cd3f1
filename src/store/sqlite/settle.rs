//! `settle`: the end of an attempt, with all that belongs to it, if the lease still holds.

use rusqlite::{OptionalExtension, Row};
use serde_json::value::RawValue;

use super::enqueue::{enqueue, json, release_key};
use super::failure::During;
use super::txn::{QueueId, Txn};
use crate::job::{DeadReason, Failure, Incarnation, JobState, Progress};
use crate::store::{LeaseToken, NewJob, Settled, Settlement, StoreError, Verdict};

/// Failures kept with a job.
const FAILURES_MAX: usize = 10;
const ERROR_MAX: usize = 2 * 1024;
const NOTE_MAX: usize = 200;
const RESULT_MAX: usize = 16 * 1024;
const LINE_MAX: usize = 1024;
const LINES_MAX: i64 = 200;

/// What the verdicts need to know of a running job.
struct Held {
    queue: QueueId,
    attempt: u32,
    unique_key: Option<String>,
    cancel_requested: bool,
    failures: Option<String>,
}

/// Ends the attempts of a batch, in its order. What is the same for all of them is asked once.
pub(super) fn settle_all(txn: &mut Txn<'_>, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
    // No verdict changes a worker, so an answer holds for the whole batch; there is one holder, or hardly more.
    let mut holders: Vec<(Incarnation, bool)> = Vec::new();
    let mut settled = Vec::with_capacity(batch.len());
    for Settlement { lease, verdict } in batch {
        let lease = lease.token();
        let known = holders.iter().find(|(holder, _)| *holder == lease.holder).map(|(_, lives)| *lives);
        let lives = match known {
            Some(lives) => lives,
            None => {
                let lives = lives(txn, lease.holder)?;
                holders.push((lease.holder, lives));
                lives
            }
        };
        let held = if lives { row_of(txn, lease)? } else { None };
        settled.push(end(txn, lease, held, verdict)?);
    }
    Ok(settled)
}

/// Ends one attempt.
pub(super) fn settle_one(txn: &mut Txn<'_>, lease: LeaseToken, verdict: &Verdict) -> Result<Settled, StoreError> {
    let held = held(txn, lease)?;
    end(txn, lease, held, verdict)
}

/// The one place where a verdict becomes a row. `held` is what the lease holds, none when it is stale.
fn end(txn: &mut Txn<'_>, lease: LeaseToken, held: Option<Held>, verdict: &Verdict) -> Result<Settled, StoreError> {
    let Some(held) = held else {
        txn.refuse();
        return Ok(Settled::LeaseLost);
    };
    let state = match verdict {
        Verdict::Complete { result, children } => complete(txn, lease, &held, result.as_deref(), children)?,
        // Somebody wants it stopped: what would run again is cancelled instead.
        Verdict::Retry { .. } | Verdict::Snooze { .. } | Verdict::Release if held.cancel_requested => {
            finish(txn, lease, &held, JobState::Cancelled, None, Some("cancelled while it was running"))?
        }
        Verdict::Retry { error, delay } => {
            let failures = with_failure(txn, &held, error)?;
            let run_at = txn.now.after(*delay);
            reschedule(txn, lease, &held, run_at.as_ms(), held.attempt, Some(&failures), None)?
        }
        Verdict::Snooze { reason, delay } => {
            let note = json(&Progress { percent: 0, note: cut(reason, NOTE_MAX).to_owned() })?;
            let run_at = txn.now.after(*delay);
            let attempt = held.attempt.saturating_sub(1);
            reschedule(txn, lease, &held, run_at.as_ms(), attempt, None, Some(&note))?
        }
        Verdict::Dead { reason, error } => finish(txn, lease, &held, JobState::Dead, Some(*reason), Some(error))?,
        Verdict::Cancel { reason } => finish(txn, lease, &held, JobState::Cancelled, None, Some(reason))?,
        Verdict::Release => give_back(txn, lease, &held)?,
    };
    Ok(Settled::Accepted(state))
}

/// The job, if `lease` is its present one and the holder lives.
fn held(txn: &Txn<'_>, lease: LeaseToken) -> Result<Option<Held>, StoreError> {
    if lives(txn, lease.holder)? { row_of(txn, lease) } else { Ok(None) }
}

fn lives(txn: &Txn<'_>, holder: Incarnation) -> Result<bool, StoreError> {
    txn.sql("select exists (select 1 from workers where incarnation = ?1 and state = 'alive')")?
        .query_row([holder.as_bytes()], |row| row.get(0))
        .during("look a lease's holder up")
}

/// The job, if `lease` is its present one; whether the holder lives is asked elsewhere.
fn row_of(txn: &Txn<'_>, lease: LeaseToken) -> Result<Option<Held>, StoreError> {
    txn.sql(
        "select queue, attempt, unique_key, cancel_requested, failures from jobs
         where seq = ?1 and id = ?2 and epoch = ?3 and holder = ?4 and state = 'running'",
    )?
    .query_row((lease.slot, lease.job.as_bytes(), lease.epoch, lease.holder.as_bytes()), |row: &Row<'_>| {
        Ok(Held {
            queue: QueueId(row.get(0)?),
            attempt: row.get(1)?,
            unique_key: row.get(2)?,
            cancel_requested: row.get(3)?,
            failures: row.get(4)?,
        })
    })
    .optional()
    .during("check a lease")
}

fn complete(
    txn: &mut Txn<'_>,
    lease: LeaseToken,
    held: &Held,
    result: Option<&RawValue>,
    children: &[NewJob],
) -> Result<JobState, StoreError> {
    let too_large = "\"the result was larger than 16 KiB and was not kept\"";
    let result = result.map(|r| if r.get().len() > RESULT_MAX { too_large } else { r.get() });
    let rows = txn
        .sql(
            "update jobs set state = 'completed', holder = null, deadline = null, finished_at = ?2, result = ?3,
                    cancel_requested = 0
             where seq = ?1 and state = 'running'",
        )?
        .execute((lease.slot, txn.now.as_ms(), result))
        .during("complete a job")?;
    one_row(rows, lease)?;
    release_key(txn, held.unique_key.as_deref(), lease.job)?;
    txn.count(held.queue, Some(JobState::Running), Some(JobState::Completed));
    for child in children {
        enqueue(txn, child)?;
    }
    Ok(JobState::Completed)
}

fn finish(
    txn: &mut Txn<'_>,
    lease: LeaseToken,
    held: &Held,
    state: JobState,
    reason: Option<DeadReason>,
    error: Option<&str>,
) -> Result<JobState, StoreError> {
    let failures = error.map(|error| with_failure(txn, held, error)).transpose()?;
    let rows = txn
        .sql(
            "update jobs set state = ?2, holder = null, deadline = null, finished_at = ?3, dead_reason = ?4,
                    failures = coalesce(?5, failures), cancel_requested = 0
             where seq = ?1 and state = 'running'",
        )?
        .execute((lease.slot, state.as_str(), txn.now.as_ms(), reason.map(DeadReason::as_str), failures))
        .during("end a job")?;
    one_row(rows, lease)?;
    release_key(txn, held.unique_key.as_deref(), lease.job)?;
    txn.count(held.queue, Some(JobState::Running), Some(state));
    Ok(state)
}

fn reschedule(
    txn: &mut Txn<'_>,
    lease: LeaseToken,
    held: &Held,
    run_at_ms: i64,
    attempt: u32,
    failures: Option<&str>,
    progress: Option<&str>,
) -> Result<JobState, StoreError> {
    let rows = txn
        .sql(
            "update jobs set state = 'scheduled', holder = null, deadline = null, run_at = ?2, attempt = ?3,
                    failures = coalesce(?4, failures), progress = ?5
             where seq = ?1 and state = 'running'",
        )?
        .execute((lease.slot, run_at_ms, attempt, failures, progress))
        .during("schedule a job again")?;
    one_row(rows, lease)?;
    txn.count(held.queue, Some(JobState::Running), Some(JobState::Scheduled));
    txn.scheduled(crate::clock::Timestamp::from_ms(run_at_ms));
    Ok(JobState::Scheduled)
}

fn give_back(txn: &mut Txn<'_>, lease: LeaseToken, held: &Held) -> Result<JobState, StoreError> {
    let rows = txn
        .sql(
            "update jobs set state = 'ready', holder = null, deadline = null, attempt = ?2, progress = null
             where seq = ?1 and state = 'running'",
        )?
        .execute((lease.slot, held.attempt.saturating_sub(1)))
        .during("give a job back")?;
    one_row(rows, lease)?;
    txn.count(held.queue, Some(JobState::Running), Some(JobState::Ready));
    Ok(JobState::Ready)
}

/// Keeps how far a running job is; false when the lease is stale.
pub(super) fn progress(txn: &mut Txn<'_>, lease: LeaseToken, progress: &Progress) -> Result<bool, StoreError> {
    if held(txn, lease)?.is_none() {
        txn.refuse();
        return Ok(false);
    }
    let progress = json(&Progress { percent: progress.percent.min(100), note: cut(&progress.note, NOTE_MAX).into() })?;
    let rows = txn
        .sql("update jobs set progress = ?2 where seq = ?1")?
        .execute((lease.slot, progress))
        .during("keep a job's progress")?;
    one_row(rows, lease)?;
    Ok(true)
}

/// Keeps lines with a running job; false when the lease is stale.
pub(super) fn log(txn: &mut Txn<'_>, lease: LeaseToken, lines: &[String]) -> Result<bool, StoreError> {
    let Some(held) = held(txn, lease)? else {
        txn.refuse();
        return Ok(false);
    };
    let mut n: i64 = txn
        .sql("select log_lines from jobs where seq = ?1")?
        .query_row([lease.slot], |row| row.get(0))
        .during("count a job's lines")?;
    let mut insert = txn.sql("insert into job_logs (job, n, at, attempt, line) values (?1, ?2, ?3, ?4, ?5)")?;
    let mut forget = txn.sql("delete from job_logs where job = ?1 and n = ?2")?;
    for line in lines {
        n += 1;
        let line = cut(line, LINE_MAX);
        insert.execute((lease.slot, n, txn.now.as_ms(), held.attempt, line)).during("keep a job's line")?;
        if n > LINES_MAX {
            forget.execute((lease.slot, n - LINES_MAX)).during("forget a job's oldest line")?;
        }
    }
    let rows = txn
        .sql("update jobs set log_lines = ?2 where seq = ?1")?
        .execute((lease.slot, n))
        .during("count a job's lines")?;
    one_row(rows, lease)?;
    Ok(true)
}

fn with_failure(txn: &Txn<'_>, held: &Held, error: &str) -> Result<String, StoreError> {
    add_failure(held.failures.as_deref(), Failure { at: txn.now, attempt: held.attempt, error: error.to_owned() })
}

/// The kept failures and one more; the oldest go. Kept ones that can't be read give way to a word about it: they must not keep
/// a job from ending.
pub(super) fn add_failure(kept: Option<&str>, mut failure: Failure) -> Result<String, StoreError> {
    let unreadable = |e: serde_json::Error| {
        let error = format!("what went wrong before could not be read: {e}");
        vec![Failure { at: failure.at, attempt: failure.attempt, error }]
    };
    let mut failures: Vec<Failure> =
        kept.map_or_else(Vec::new, |kept| serde_json::from_str(kept).unwrap_or_else(unreadable));
    failure.error = cut(&failure.error, ERROR_MAX).to_owned();
    failures.push(failure);
    let surplus = failures.len().saturating_sub(FAILURES_MAX);
    json(&failures[surplus..])
}

/// At most `max` bytes of `text`, cut between characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn one_row(rows: usize, lease: LeaseToken) -> Result<(), StoreError> {
    if rows == 1 {
        return Ok(());
    }
    let detail = format!("{rows} rows instead of one for job {}", lease.job);
    Err(StoreError::Corrupt { place: "jobs".into(), detail })
}
