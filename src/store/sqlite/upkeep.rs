//! `promote` and `prune`: what time brings to ready, and what it takes away. Bounded batches.

use super::failure::During;
use super::txn::{QueueId, Txn};
use crate::clock::Timestamp;
use crate::job::JobState;
use crate::store::{Promoted, Pruned, Retention, StoreError};

/// Makes due jobs ready, those due longest first within each queue.
pub(super) fn promote(txn: &mut Txn<'_>, limit: u32) -> Result<Promoted, StoreError> {
    let mut report = Promoted::default();
    for queue in txn.all_queues()? {
        let left = limit - report.promoted;
        if left > 0 {
            report.promoted += promote_queue(txn, queue, left)?;
        }
        let next: Option<i64> = txn
            .sql("select min(run_at) from jobs where queue = ?1 and state = 'scheduled'")?
            .query_row([queue.0], |row| row.get(0))
            .during("look for the next due job")?;
        let next = next.map(Timestamp::from_ms);
        report.next_due = report.next_due.into_iter().chain(next).min();
    }
    report.more = report.next_due.is_some_and(|due| due <= txn.now);
    Ok(report)
}

fn promote_queue(txn: &mut Txn<'_>, queue: QueueId, limit: u32) -> Result<u32, StoreError> {
    let rows = txn
        .sql(
            "update jobs set state = 'ready' where seq in (
                select seq from jobs where queue = ?1 and state = 'scheduled' and run_at <= ?2
                order by run_at, seq limit ?3)",
        )?
        .execute((queue.0, txn.now.as_ms(), limit))
        .during("promote due jobs")?;
    for _ in 0..rows {
        txn.count(queue, Some(JobState::Scheduled), Some(JobState::Ready));
    }
    Ok(u32::try_from(rows).unwrap_or(u32::MAX))
}

/// Takes away what retention no longer keeps, at most `limit` rows.
pub(super) fn prune(txn: &mut Txn<'_>, limit: u32) -> Result<Pruned, StoreError> {
    let mut report = Pruned::default();
    for queue in txn.all_queues()? {
        let retention: String = txn
            .sql("select retention from queues where id = ?1")?
            .query_row([queue.0], |row| row.get(0))
            .during("read a queue's retention")?;
        let retention: Retention = serde_json::from_str(&retention)
            .map_err(|e| StoreError::Corrupt { place: "queues.retention".into(), detail: e.to_string() })?;
        for (state, age, max) in [
            (JobState::Completed, retention.finished_for, retention.finished_max),
            (JobState::Cancelled, retention.finished_for, retention.finished_max),
            (JobState::Dead, retention.dead_for, retention.dead_max),
        ] {
            let left = limit - report.jobs;
            if left > 0 {
                report.jobs += prune_jobs(txn, queue, state, txn.now.before(age), max, left)?;
            }
        }
    }
    if report.jobs < limit {
        report.other = prune_other(txn, limit - report.jobs)?;
    }
    report.more = report.jobs + report.other >= limit;
    Ok(report)
}

fn prune_jobs(
    txn: &mut Txn<'_>,
    queue: QueueId,
    state: JobState,
    before: Timestamp,
    max: u64,
    limit: u32,
) -> Result<u32, StoreError> {
    let kept: i64 = txn
        .sql("select coalesce((select n from counts where queue = ?1 and state = ?2), 0)")?
        .query_row((queue.0, state.as_str()), |row| row.get(0))
        .during("read a counter")?;
    // The counter lags by what this transaction itself has pruned of the state, which is nothing yet.
    let surplus = (kept - i64::try_from(max).unwrap_or(i64::MAX)).clamp(0, i64::from(limit));
    let gone: Vec<(i64, bool)> = txn
        .sql(
            "delete from jobs where seq in (
                select seq from (
                    select seq, finished_at, row_number() over (order by finished_at, seq) as nth from (
                        select seq, finished_at from jobs where queue = ?1 and state = ?2 and finished_at is not null
                        order by finished_at, seq limit ?5))
                where finished_at < ?3 or nth <= ?4)
             returning seq, log_lines > 0",
        )?
        .query_map((queue.0, state.as_str(), before.as_ms(), surplus, limit), |row| Ok((row.get(0)?, row.get(1)?)))
        .during("prune jobs")?
        .collect::<Result<_, _>>()
        .during("prune jobs")?;
    forget_bodies(txn, gone.iter().map(|(seq, _)| *seq))?;
    let mut logs = txn.sql("delete from job_logs where job = ?1")?;
    for (seq, logged) in &gone {
        if *logged {
            logs.execute([seq]).during("prune a job's lines")?;
        }
        txn.count(queue, Some(state), None);
    }
    Ok(u32::try_from(gone.len()).unwrap_or(u32::MAX))
}

fn forget_bodies(txn: &Txn<'_>, jobs: impl ExactSizeIterator<Item = i64>) -> Result<(), StoreError> {
    let n = jobs.len();
    let rows = txn.with_list("delete from bodies where seq in (select value from rarray(?1))", jobs, |sql, list| {
        sql.execute([list]).during("prune bodies")
    })?;
    if rows == n {
        Ok(())
    } else {
        Err(StoreError::Corrupt { place: "bodies".into(), detail: format!("{rows} for {n} jobs") })
    }
}

fn prune_other(txn: &Txn<'_>, limit: u32) -> Result<u32, StoreError> {
    const WORKERS_STAY_MS: i64 = 24 * 3_600_000;
    let now = txn.now.as_ms();
    let mut gone = 0_usize;
    for (sql, before) in [
        (
            "delete from unique_keys where key in
                (select key from unique_keys where live = 0 and keep_until <= ?1 limit ?2)",
            now,
        ),
        (
            "delete from cache where (tenant, key) in (select tenant, key from cache where expires_at <= ?1 limit ?2)",
            now,
        ),
        ("delete from limits where key in (select key from limits where expires_at <= ?1 limit ?2)", now),
        (
            "delete from replies where (scope, key) in (select scope, key from replies where expires_at <= ?1 limit ?2)",
            now,
        ),
        (
            "delete from workers where incarnation in
                (select incarnation from workers where ended_at is not null and ended_at <= ?1
                 and incarnation not in (select holder from jobs indexed by jobs_to_rescue where state = 'running') limit ?2)",
            now - WORKERS_STAY_MS,
        ),
    ] {
        let left = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(gone);
        gone += txn
            .sql(sql)?
            .execute((before, i64::try_from(left).unwrap_or(i64::MAX)))
            .during("prune what has expired")?;
    }
    Ok(u32::try_from(gone).unwrap_or(u32::MAX))
}
