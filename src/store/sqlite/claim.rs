//! `claim`: hands ready jobs out, each with a lease.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};

use super::failure::During;
use super::limits;
use super::txn::{QueueId, Txn};
use crate::clock::Timestamp;
use crate::job::{Incarnation, JobId, JobState, Priority, QueueName};
use crate::store::{BATCH_MAX, Claimed, Lease, RateLimit, StoreError};

/// Who wants how many from where.
#[derive(Clone, Debug)]
pub(super) struct ClaimRequest {
    pub(super) queue: QueueName,
    pub(super) worker: Incarnation,
    pub(super) n: u32,
}

/// Says cheaply, outside any transaction, whether [`claim`] would answer anything but "nothing".
pub(super) fn may_claim(conn: &Connection, request: &ClaimRequest) -> bool {
    let sql = "select not exists (select 1 from workers where incarnation = ?2 and state = 'alive')
                      or (q.paused = 0
                          and exists (select 1 from jobs j where j.queue = q.id and j.state = 'ready'))
               from queues q where q.name = ?1";
    let found: rusqlite::Result<Option<bool>> = conn.prepare_cached(sql).and_then(|mut sql| {
        sql.query_row((request.queue.as_str(), request.worker.as_bytes()), |row| row.get(0)).optional()
    });
    // An unknown queue and a broken file are answers that the claim itself gives.
    !matches!(found, Ok(Some(false)))
}

/// Hands out up to `n` jobs: first priority, then what has been due longest, then the order of arrival.
pub(super) fn claim(txn: &mut Txn<'_>, request: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
    let queue = txn.queue(&request.queue)?;
    let (paused, rate): (bool, Option<String>) = txn
        .sql("select paused, rate from queues where id = ?1")?
        .query_row([queue.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .during("read a queue's settings")?;
    if !may_take(txn, request.worker)? || paused {
        return Ok(Vec::new());
    }
    let limit = rate.as_deref().map(rate_limit).transpose()?;
    let mut n = request.n.min(u32::try_from(BATCH_MAX).unwrap_or(u32::MAX));
    let key = format!("queue:{}", request.queue);
    if let Some(limit) = limit {
        n = n.min(limits::available(txn, &key, limit)?);
    }
    if n == 0 {
        return Ok(Vec::new());
    }
    let claimed = take(txn, queue, request, n)?;
    if let (Some(limit), Ok(taken @ 1..)) = (limit, u32::try_from(claimed.len())) {
        limits::take(txn, &key, limit, taken)?;
    }
    Ok(claimed)
}

/// False for a worker that drains.
fn may_take(txn: &Txn<'_>, worker: Incarnation) -> Result<bool, StoreError> {
    let draining: Option<bool> = txn
        .sql("select draining from workers where incarnation = ?1 and state = 'alive'")?
        .query_row([worker.as_bytes()], |row| row.get(0))
        .optional()
        .during("look the claiming worker up")?;
    draining.map(|draining| !draining).ok_or(StoreError::DeadIncarnation(worker))
}

pub(super) fn rate_limit(json: &str) -> Result<RateLimit, StoreError> {
    serde_json::from_str(json).map_err(|e| StoreError::Corrupt { place: "queues.rate".into(), detail: e.to_string() })
}

fn take(txn: &mut Txn<'_>, queue: QueueId, request: &ClaimRequest, n: u32) -> Result<Vec<Claimed>, StoreError> {
    let (holder, now, mut kind) = (request.worker, txn.now, None);
    let claimed: Vec<Claimed> = txn
        .sql(
            "select j.seq, j.id, j.epoch + 1, j.attempt + 1, j.priority, j.run_at, j.max_attempts, j.crashes, j.timeout_ms,
                    j.created_at, b.kind, b.payload, b.tenant, b.correlation_id, b.traceparent
             from jobs j cross join bodies b on b.seq = j.seq
             where j.queue = ?1 and j.state = 'ready' order by j.priority, j.run_at, j.seq limit ?2",
        )?
        .query_map((queue.0, n), |row| read(row, request, now, &mut kind))
        .during("select ready jobs")?
        .collect::<Result<_, _>>()
        .during("read ready jobs")?;
    if claimed.is_empty() {
        return Ok(claimed);
    }
    // By their rows: through an index that the statement changes, each would first be put aside.
    let change = (
        "update jobs not indexed set state = 'running', epoch = epoch + 1, attempt = attempt + 1, holder = ?3, started_at = ?4,
                deadline = ?4 + timeout_ms + ?5",
        "state = 'ready'",
    );
    let slots = claimed.iter().map(|job| job.lease.token().slot).collect();
    let rows =
        txn.change_jobs("claim jobs", change, slots, &[holder.as_bytes(), &now.as_ms(), &txn.rules.deadline_grace_ms])?;
    if rows != claimed.len() {
        let detail = format!("{} jobs were ready, {rows} of them could be claimed", claimed.len());
        return Err(StoreError::Corrupt { place: "jobs_to_claim".into(), detail });
    }
    txn.count_many(queue, Some(JobState::Ready), Some(JobState::Running), rows);
    Ok(claimed)
}

/// `kind` is the last row's: most have the same, and share it.
fn read(
    row: &Row<'_>,
    request: &ClaimRequest,
    now: Timestamp,
    kind: &mut Option<Arc<str>>,
) -> rusqlite::Result<Claimed> {
    Ok(Claimed {
        lease: Lease::new(JobId::from_bytes(row.get(1)?), row.get(2)?, request.worker, row.get(0)?),
        queue: request.queue.clone(),
        attempt: row.get(3)?,
        // The table's check keeps it between 0 and 9.
        priority: Priority::try_from(row.get::<_, u8>(4)?).unwrap_or_default(),
        run_at: Timestamp::from_ms(row.get(5)?),
        max_attempts: row.get(6)?,
        crashes: row.get(7)?,
        timeout: Duration::from_millis(row.get(8)?),
        created_at: Timestamp::from_ms(row.get(9)?),
        kind: same_or_new(kind, row.get_ref(10)?.as_str()?),
        payload: row.get_ref(11)?.as_str()?.into(),
        tenant: row.get_ref(12)?.as_str_or_null()?.map(Into::into),
        correlation_id: row.get_ref(13)?.as_str_or_null()?.map(Into::into),
        traceparent: row.get_ref(14)?.as_str_or_null()?.map(Into::into),
        claimed_at: now,
    })
}

fn same_or_new(last: &mut Option<Arc<str>>, text: &str) -> Arc<str> {
    match last {
        Some(same) if **same == *text => Arc::clone(same),
        _ => Arc::clone(last.insert(text.into())),
    }
}
