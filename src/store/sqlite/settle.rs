//! `settle`: the end of an attempt, with all that belongs to it, if the lease still holds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{OptionalExtension, Row};
use serde_json::value::RawValue;

use super::enqueue::{enqueue, json, release_key};
use super::failure::During;
use super::txn::{QueueId, Txn};
use crate::job::{DeadReason, Failure, Incarnation, JobId, JobState, Progress};
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
}

/// Ends the attempts of a batch, in its order. All leases are looked up by one statement, and all completions without children
/// written by one: beyond their own rows, which nobody else in the batch looks at, they touch only the keys that they release,
/// and those go in the batch's order.
pub(super) fn settle_all(txn: &mut Txn<'_>, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
    let mut running = running_of(txn, batch)?;
    let mut plain: Vec<(QueueId, i64)> = Vec::with_capacity(batch.len());
    let mut settled = Vec::with_capacity(batch.len());
    for Settlement { lease, verdict } in batch {
        let lease = lease.token();
        let held = match running.entry(lease.slot) {
            // Taken out: a lease is good for one end.
            Entry::Occupied(row) if row.get().0 == lease => Some(row.remove().1),
            _ => None,
        };
        settled.push(match (held, verdict) {
            (Some(held), Verdict::Complete { result, children }) if children.is_empty() => {
                plain.push((held.queue, lease.slot));
                release_key(txn, held.unique_key.as_deref(), lease.job)?;
                if let Some(result) = result {
                    keep_result(txn, lease, result)?;
                }
                Settled::Accepted(JobState::Completed)
            }
            (held, verdict) => end(txn, lease, held, verdict)?,
        });
    }
    complete_all(txn, &plain)?;
    Ok(settled)
}

/// The running jobs that a batch is about, by their rows, each with its present lease. Those of the dead are left out.
fn running_of(txn: &Txn<'_>, batch: &[Settlement]) -> Result<HashMap<i64, (LeaseToken, Held)>, StoreError> {
    // No verdict changes a worker, so an answer holds for the whole batch; there is one holder, or hardly more.
    let mut holders: Vec<(Incarnation, bool)> = Vec::new();
    for holder in batch.iter().map(|settlement| settlement.lease.token().holder) {
        if !holders.iter().any(|(known, _)| *known == holder) {
            holders.push((holder, lives(txn, holder)?));
        }
    }
    let sql = "select j.queue, j.attempt, j.unique_key, j.cancel_requested, j.seq, j.id, j.epoch, j.holder
               from rarray(?1) a cross join jobs j on j.seq = a.value where j.state = 'running'";
    let slots = batch.iter().map(|settlement| settlement.lease.token().slot);
    txn.with_list(sql, slots, |sql, list| {
        let mut running = HashMap::with_capacity(batch.len());
        for row in sql.query_map([list], leased).during("check leases")? {
            let (lease, held) = row.during("check leases")?;
            if holders.iter().any(|(holder, lives)| *lives && *holder == lease.holder) {
                running.insert(lease.slot, (lease, held));
            }
        }
        Ok(running)
    })
}

fn leased(row: &Row<'_>) -> rusqlite::Result<(LeaseToken, Held)> {
    let (job, holder) = (JobId::from_bytes(row.get(5)?), Incarnation::from_bytes(row.get(7)?));
    Ok((LeaseToken { job, epoch: row.get(6)?, holder, slot: row.get(4)? }, held_in(row)?))
}

fn held_in(row: &Row<'_>) -> rusqlite::Result<Held> {
    Ok(Held {
        queue: QueueId(row.get(0)?),
        attempt: row.get(1)?,
        unique_key: row.get(2)?,
        cancel_requested: row.get(3)?,
    })
}

/// Completes running jobs, but for the keys they hold.
fn complete_all(txn: &mut Txn<'_>, jobs: &[(QueueId, i64)]) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let change = (
        "update jobs not indexed set state = 'completed', holder = null, deadline = null, finished_at = ?3, cancel_requested = 0",
        "state = 'running'",
    );
    let rows = jobs.iter().map(|(_, seq)| *seq).collect();
    let rows = txn.change_jobs("complete jobs", change, rows, &[&txn.now.as_ms()])?;
    if rows != jobs.len() {
        let detail = format!("{} jobs were running, {rows} of them could be completed", jobs.len());
        return Err(StoreError::Corrupt { place: "jobs".into(), detail });
    }
    for same in jobs.chunk_by(|one, next| one.0 == next.0) {
        txn.count_many(same[0].0, Some(JobState::Running), Some(JobState::Completed), same.len());
    }
    Ok(())
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
            note_failure(txn, lease.slot, held.failure(txn, error))?;
            let run_at = txn.now.after(*delay);
            reschedule(txn, lease, &held, run_at.as_ms(), held.attempt, None)?
        }
        Verdict::Snooze { reason, delay } => {
            let note = json(&Progress { percent: 0, note: cut(reason, NOTE_MAX).to_owned() })?;
            let run_at = txn.now.after(*delay);
            let attempt = held.attempt.saturating_sub(1);
            reschedule(txn, lease, &held, run_at.as_ms(), attempt, Some(&note))?
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
        "select queue, attempt, unique_key, cancel_requested from jobs
         where seq = ?1 and id = ?2 and epoch = ?3 and holder = ?4 and state = 'running'",
    )?
    .query_row((lease.slot, lease.job.as_bytes(), lease.epoch, lease.holder.as_bytes()), held_in)
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
    complete_all(txn, &[(held.queue, lease.slot)])?;
    if let Some(result) = result {
        keep_result(txn, lease, result)?;
    }
    release_key(txn, held.unique_key.as_deref(), lease.job)?;
    for child in children {
        enqueue(txn, child)?;
    }
    Ok(JobState::Completed)
}

fn keep_result(txn: &Txn<'_>, lease: LeaseToken, result: &RawValue) -> Result<(), StoreError> {
    let too_large = "\"the result was larger than 16 KiB and was not kept\"";
    let result = if result.get().len() > RESULT_MAX { too_large } else { result.get() };
    let rows = txn
        .sql("update bodies set result = ?2 where seq = ?1")?
        .execute((lease.slot, result))
        .during("keep a job's result")?;
    one_row(rows, lease)
}

fn finish(
    txn: &mut Txn<'_>,
    lease: LeaseToken,
    held: &Held,
    state: JobState,
    reason: Option<DeadReason>,
    error: Option<&str>,
) -> Result<JobState, StoreError> {
    if let Some(error) = error {
        note_failure(txn, lease.slot, held.failure(txn, error))?;
    }
    let rows = txn
        .sql(
            "update jobs set state = ?2, holder = null, deadline = null, finished_at = ?3, dead_reason = ?4,
                    cancel_requested = 0
             where seq = ?1 and state = 'running'",
        )?
        .execute((lease.slot, state.as_str(), txn.now.as_ms(), reason.map(DeadReason::as_str)))
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
    progress: Option<&str>,
) -> Result<JobState, StoreError> {
    let rows = txn
        .sql(
            "update jobs set state = 'scheduled', holder = null, deadline = null, run_at = ?2, attempt = ?3
             where seq = ?1 and state = 'running'",
        )?
        .execute((lease.slot, run_at_ms, attempt))
        .during("schedule a job again")?;
    one_row(rows, lease)?;
    match progress {
        Some(progress) => keep_progress(txn, lease, progress)?,
        None => forget_progress(txn, lease.slot)?,
    }
    txn.count(held.queue, Some(JobState::Running), Some(JobState::Scheduled));
    txn.scheduled(crate::clock::Timestamp::from_ms(run_at_ms));
    Ok(JobState::Scheduled)
}

fn give_back(txn: &mut Txn<'_>, lease: LeaseToken, held: &Held) -> Result<JobState, StoreError> {
    let rows = txn
        .sql(
            "update jobs set state = 'ready', holder = null, deadline = null, attempt = ?2
             where seq = ?1 and state = 'running'",
        )?
        .execute((lease.slot, held.attempt.saturating_sub(1)))
        .during("give a job back")?;
    one_row(rows, lease)?;
    forget_progress(txn, lease.slot)?;
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
    keep_progress(txn, lease, &progress)?;
    Ok(true)
}

fn keep_progress(txn: &Txn<'_>, lease: LeaseToken, progress: &str) -> Result<(), StoreError> {
    let rows = txn
        .sql("update bodies set progress = ?2 where seq = ?1")?
        .execute((lease.slot, progress))
        .during("keep a job's progress")?;
    one_row(rows, lease)
}

/// A new attempt begins at nothing.
pub(super) fn forget_progress(txn: &Txn<'_>, seq: i64) -> Result<(), StoreError> {
    // No row: it kept none.
    txn.sql("update bodies set progress = null where seq = ?1 and progress is not null")?
        .execute([seq])
        .during("forget a job's progress")?;
    Ok(())
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

impl Held {
    fn failure(&self, txn: &Txn<'_>, error: &str) -> Failure {
        Failure { at: txn.now, attempt: self.attempt, error: error.to_owned() }
    }
}

/// Keeps what went wrong with a job.
pub(super) fn note_failure(txn: &Txn<'_>, seq: i64, failure: Failure) -> Result<(), StoreError> {
    let kept: Option<String> = txn
        .sql("select failures from bodies where seq = ?1")?
        .query_row([seq], |row| row.get(0))
        .during("read a job's failures")?;
    let failures = add_failure(kept.as_deref(), failure)?;
    let rows = txn
        .sql("update bodies set failures = ?2 where seq = ?1")?
        .execute((seq, failures))
        .during("keep a job's failure")?;
    if rows == 1 {
        Ok(())
    } else {
        Err(StoreError::Corrupt { place: "bodies".into(), detail: format!("row {seq}: {rows}") })
    }
}

/// The kept failures and one more; the oldest go. Kept ones that can't be read give way to a word about it: they must not keep
/// a job from ending.
fn add_failure(kept: Option<&str>, mut failure: Failure) -> Result<String, StoreError> {
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
