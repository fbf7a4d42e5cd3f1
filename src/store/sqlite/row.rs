//! A row of `jobs` and its body as a [`JobRecord`].

use std::sync::Arc;

use rusqlite::Row;
use rusqlite::types::Type;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::job::{DeadReason, Incarnation, JobId, JobRecord, Priority};

/// What [`record`] reads, in its order, and from where; `j` is the job's row, `b` its body, `q` its queue.
pub(super) const RECORD: &str =
    "select j.id, q.name, b.kind, j.state, b.payload, b.tenant, j.priority, j.run_at, j.attempt,
    j.max_attempts, j.crashes, j.epoch, j.timeout_ms, j.unique_key, b.correlation_id, b.traceparent, b.enqueued_by,
    b.tags, j.created_at, j.started_at, j.finished_at, j.holder, j.cancel_requested, j.dead_reason, b.failures,
    b.progress, b.result
    from jobs j join bodies b on b.seq = j.seq join queues q on q.id = j.queue";

/// Reads a whole job.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    Ok(JobRecord {
        id: JobId::from_bytes(row.get(0)?),
        queue: parsed(row, 1)?,
        kind: text(row, 2)?,
        state: parsed(row, 3)?,
        payload: raw(row, 4)?.ok_or_else(|| unreadable(4, "no payload"))?,
        tenant: optional_text(row, 5)?,
        priority: Priority::try_from(row.get::<_, u8>(6)?).map_err(|e| unreadable(6, e))?,
        run_at: Timestamp::from_ms(row.get(7)?),
        attempt: row.get(8)?,
        max_attempts: row.get(9)?,
        crashes: row.get(10)?,
        epoch: row.get(11)?,
        timeout_ms: row.get(12)?,
        unique_key: optional_text(row, 13)?,
        correlation_id: optional_text(row, 14)?,
        traceparent: optional_text(row, 15)?,
        enqueued_by: text(row, 16)?,
        tags: from_json(row, 17)?.unwrap_or_default(),
        created_at: Timestamp::from_ms(row.get(18)?),
        started_at: time(row, 19)?,
        finished_at: time(row, 20)?,
        holder: row.get::<_, Option<[u8; 16]>>(21)?.map(Incarnation::from_bytes),
        cancel_requested: row.get(22)?,
        dead_reason: row.get::<_, Option<String>>(23)?.as_deref().and_then(DeadReason::parse),
        failures: from_json(row, 24)?.unwrap_or_default(),
        progress: from_json(row, 25)?,
        result: raw(row, 26)?,
    })
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Arc<str>> {
    row.get::<_, String>(column).map(Into::into)
}

fn optional_text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Arc<str>>> {
    Ok(row.get::<_, Option<String>>(column)?.map(Into::into))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_ms))
}

pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::fmt::Display,
{
    row.get::<_, String>(column)?.parse().map_err(|e: T::Err| unreadable(column, e))
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text)).transpose().map_err(|e| unreadable(column, e))
}

fn raw(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Box<RawValue>>> {
    let text: Option<String> = row.get(column)?;
    text.map(RawValue::from_string).transpose().map_err(|e| unreadable(column, e))
}

fn unreadable(column: usize, why: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.to_string().into())
}
