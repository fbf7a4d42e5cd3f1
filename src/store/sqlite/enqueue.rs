//! `enqueue`: new rows, or the job that was there.

use rusqlite::{CachedStatement, OptionalExtension};

use super::failure::During;
use super::txn::Txn;
use crate::job::{JobId, JobSpec, JobState};
use crate::store::{Enqueued, NewJob, StoreError};

/// Keeps one job unless one with its id or unique key is there.
pub(super) fn enqueue(txn: &mut Txn<'_>, job: &NewJob) -> Result<Enqueued, StoreError> {
    Statements::of(txn)?.enqueue(txn, job)
}

/// The same for each of several.
pub(super) fn enqueue_all(txn: &mut Txn<'_>, jobs: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
    let mut statements = Statements::of(txn)?;
    jobs.iter().map(|job| statements.enqueue(txn, job)).collect()
}

/// What a job is written with, looked up once for many.
struct Statements<'a> {
    key: CachedStatement<'a>,
    job: CachedStatement<'a>,
    body: CachedStatement<'a>,
}

impl<'a> Statements<'a> {
    fn of(txn: &Txn<'a>) -> Result<Self, StoreError> {
        let key = txn.sql(
            "insert into unique_keys (key, job, live, keep_until) values (?1, ?2, 1, ?3)
             on conflict (key) do update set job = excluded.job, live = 1, keep_until = excluded.keep_until
             where live = 0 and keep_until <= ?4",
        )?;
        let job = txn.sql(
            "insert into jobs (id, queue, state, priority, run_at, max_attempts, timeout_ms, created_at, unique_key)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             on conflict (id) do nothing",
        )?;
        let body = txn.sql(
            "insert into bodies (seq, kind, tenant, enqueued_by, correlation_id, traceparent, tags, payload)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        Ok(Self { key, job, body })
    }

    fn enqueue(&mut self, txn: &mut Txn<'_>, job: &NewJob) -> Result<Enqueued, StoreError> {
        let spec = &job.spec;
        let queue = txn.queue(&spec.queue)?;
        if let Some(holder) = self.hold_key(txn, job)? {
            return Ok(Enqueued::Duplicate(holder));
        }
        let run_at = spec.run_at.resolve(txn.now);
        let state = if run_at > txn.now { JobState::Scheduled } else { JobState::Ready };
        let values = rusqlite::params![
            job.id.as_bytes(),
            queue.0,
            state.as_str(),
            spec.priority.get(),
            run_at.as_ms(),
            spec.max_attempts,
            i64::try_from(spec.timeout.as_millis()).unwrap_or(i64::MAX),
            txn.now.as_ms(),
            spec.unique.as_ref().map(|unique| &*unique.key),
        ];
        let rows = self.job.execute(values).during("insert a job")?;
        if rows == 0 {
            // The job is there and its key had run out: nothing is held for it.
            drop_key(txn, job)?;
            return Ok(Enqueued::Duplicate(job.id));
        }
        self.insert_body(txn.conn.last_insert_rowid(), spec)?;
        txn.count(queue, None, Some(state));
        if state == JobState::Scheduled {
            txn.scheduled(run_at);
        }
        Ok(Enqueued::Inserted(job.id))
    }

    /// What of a job is written once.
    fn insert_body(&mut self, seq: i64, spec: &JobSpec) -> Result<(), StoreError> {
        let tags = if spec.tags.is_empty() { None } else { Some(json(&spec.tags)?) };
        let values = rusqlite::params![
            seq,
            &*spec.kind,
            spec.tenant.as_deref(),
            &*spec.enqueued_by,
            spec.correlation_id.as_deref(),
            spec.traceparent.as_deref(),
            tags,
            &*spec.payload,
        ];
        self.body.execute(values).during("insert a job's body").map(drop)
    }

    /// Holds the unique key of `job` for it, if it has one; `Some`: who has it already.
    fn hold_key(&mut self, txn: &Txn<'_>, job: &NewJob) -> Result<Option<JobId>, StoreError> {
        let Some(unique) = &job.spec.unique else { return Ok(None) };
        let keep_until = txn.now.after(unique.keep_for).as_ms();
        let held = self
            .key
            .execute((&*unique.key, job.id.as_bytes(), keep_until, txn.now.as_ms()))
            .during("hold a unique key")?;
        if held == 1 {
            return Ok(None);
        }
        txn.sql("select job from unique_keys where key = ?1")?
            .query_row([&*unique.key], |row| row.get(0).map(JobId::from_bytes))
            .map(Some)
            .during("look a unique key up")
    }
}

/// Takes back what [`Statements::hold_key`] has just written.
fn drop_key(txn: &Txn<'_>, job: &NewJob) -> Result<(), StoreError> {
    let Some(unique) = &job.spec.unique else { return Ok(()) };
    let gone = txn
        .sql("delete from unique_keys where key = ?1 and job = ?2")?
        .execute((&*unique.key, job.id.as_bytes()))
        .during("drop a unique key")?;
    if gone == 1 {
        Ok(())
    } else {
        Err(StoreError::Corrupt { place: "unique_keys".into(), detail: format!("{gone} rows for one key") })
    }
}

/// Lets the key of a job that has finished go, unless its window still keeps it.
pub(super) fn release_key(txn: &Txn<'_>, key: Option<&str>, job: JobId) -> Result<(), StoreError> {
    let Some(key) = key else { return Ok(()) };
    let released = txn
        .sql("delete from unique_keys where key = ?1 and job = ?2 and keep_until <= ?3")?
        .execute((key, job.as_bytes(), txn.now.as_ms()))
        .during("release a unique key")?;
    if released == 0 {
        // Zero rows here too means that another job has taken the key over, which is theirs now.
        txn.sql("update unique_keys set live = 0 where key = ?1 and job = ?2")?
            .execute((key, job.as_bytes()))
            .during("keep a unique key for its window")?;
    }
    Ok(())
}

/// Takes the key of a job that lives again; `Err(holder)` when another has it.
pub(super) fn retake_key(txn: &Txn<'_>, key: &str, job: JobId) -> Result<Result<(), JobId>, StoreError> {
    let holder: Option<JobId> = txn
        .sql("select job from unique_keys where key = ?1 and (live = 1 or keep_until > ?2)")?
        .query_row((key, txn.now.as_ms()), |row| row.get(0).map(JobId::from_bytes))
        .optional()
        .during("look a unique key up")?;
    if let Some(holder) = holder.filter(|holder| *holder != job) {
        return Ok(Err(holder));
    }
    txn.sql(
        "insert into unique_keys (key, job, live, keep_until) values (?1, ?2, 1, ?3)
         on conflict (key) do update set job = excluded.job, live = 1",
    )?
    .execute((key, job.as_bytes(), txn.now.as_ms()))
    .during("retake a unique key")?;
    Ok(Ok(()))
}

pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|e| StoreError::Corrupt { place: "a value to be kept".into(), detail: e.to_string() })
}
