//! Schedules: declared, changed, ticked. The cursor makes each due time decided once.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::enqueue::{enqueue, json};
use super::failure::During;
use super::txn::Txn;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::store::{
    Enqueued, Fired, HistoryEntry, Overlap, ScheduleChange, ScheduleDeclaration, ScheduleRecord, StoreError, Tick,
    Ticked,
};

const HISTORY_MAX: u32 = 100;
const COLUMNS: &str = "name, declared, overridden, paused, cursor, last_job, last_due, held_due";

/// Makes a schedule known; a new one begins at now.
pub(super) fn declare(txn: &Txn<'_>, schedule: &ScheduleDeclaration) -> Result<(), StoreError> {
    let rows = txn
        .sql(
            "insert into schedules (name, declared, cursor) values (?1, ?2, ?3)
             on conflict (name) do update set declared = excluded.declared",
        )?
        .execute((&*schedule.name, schedule.declared.to_string(), txn.now.as_ms()))
        .during("declare a schedule")?;
    if rows == 1 { Ok(()) } else { Err(StoreError::NoSuchSchedule(schedule.name.to_string())) }
}

/// Decides one due time.
pub(super) fn tick(txn: &mut Txn<'_>, tick: &Tick) -> Result<Ticked, StoreError> {
    let schedule = find(txn.conn, &tick.schedule)?;
    if tick.manual {
        return fire(txn, tick, &schedule, Fired::RunByHand);
    }
    if schedule.paused {
        return Ok(Ticked::Paused);
    }
    let held = schedule.held_due == Some(tick.due);
    if tick.due <= schedule.cursor && !held {
        return Ok(Ticked::AlreadyDecided);
    }
    match (schedule.last_job.filter(|job| lives(txn, *job).unwrap_or(true)), tick.overlap) {
        (None, _) | (Some(_), Overlap::Allow) => fire(txn, tick, &schedule, Fired::Enqueued),
        (Some(last), Overlap::Skip) => {
            move_cursor(txn, &tick.schedule, tick.due)?;
            let note = format!("job {last} is not finished");
            remember(txn, &tick.schedule, Fired::SkippedOverlap, Some(tick.due), None, &note)?;
            Ok(Ticked::SkippedOverlap(last))
        }
        (Some(_), Overlap::QueueOne) => {
            if !held {
                move_cursor(txn, &tick.schedule, tick.due)?;
                set_held(txn, &tick.schedule, Some(tick.due))?;
            }
            Ok(Ticked::Held)
        }
    }
}

fn fire(txn: &mut Txn<'_>, tick: &Tick, schedule: &ScheduleRecord, what: Fired) -> Result<Ticked, StoreError> {
    let enqueued = enqueue(txn, &tick.job)?;
    let by_hand = what == Fired::RunByHand;
    if !by_hand {
        move_cursor(txn, &tick.schedule, tick.due)?;
        if schedule.held_due.is_some_and(|held| held <= tick.due) {
            set_held(txn, &tick.schedule, None)?;
        }
    }
    let job = match enqueued {
        Enqueued::Inserted(job) => job,
        Enqueued::Duplicate(holder) => {
            let note = format!("job {holder} has its unique key");
            remember(txn, &tick.schedule, Fired::SkippedOverlap, Some(tick.due), None, &note)?;
            return Ok(Ticked::SkippedOverlap(holder));
        }
    };
    let rows = txn
        .sql("update schedules set last_job = ?2, last_due = ?3 where name = ?1")?
        .execute((&*tick.schedule, job.as_bytes(), tick.due.as_ms()))
        .during("keep a schedule's last job")?;
    found(rows, &tick.schedule)?;
    let note = if by_hand { &*tick.job.spec.enqueued_by } else { "" };
    remember(txn, &tick.schedule, what, Some(tick.due), Some(job), note)?;
    Ok(Ticked::Enqueued(job))
}

fn lives(txn: &Txn<'_>, job: JobId) -> Result<bool, StoreError> {
    txn.sql("select exists (select 1 from jobs where id = ?1 and finished_at is null)")?
        .query_row([job.as_bytes()], |row| row.get(0))
        .during("ask whether a schedule's last job lives")
}

/// An operator's change, or due times left out after downtime.
pub(super) fn change(txn: &Txn<'_>, name: &str, change: &ScheduleChange, by: &str) -> Result<bool, StoreError> {
    let (rows, what, note) =
        match change {
            ScheduleChange::Pause => {
                let rows = txn.sql("update schedules set paused = 1 where name = ?1")?.execute([name]);
                (rows, Fired::Changed, format!("paused by {by}"))
            }
            ScheduleChange::Resume => {
                // What came due during the pause is not made up for: a pause is meant.
                let rows = txn
                .sql("update schedules set cursor = case paused when 1 then max(cursor, ?2) else cursor end, paused = 0
                      where name = ?1")?
                .execute((name, txn.now.as_ms()));
                (rows, Fired::Changed, format!("resumed by {by}"))
            }
            ScheduleChange::Override(spec) => {
                let rows = txn
                    .sql("update schedules set overridden = ?2 where name = ?1")?
                    .execute((name, spec.as_ref().map(Value::to_string)));
                let what = spec.as_ref().map_or_else(|| "the code's own description".to_owned(), Value::to_string);
                (rows, Fired::Changed, format!("set by {by} to {what}"))
            }
            ScheduleChange::SkipTo { from, cursor, missed } => {
                find(txn.conn, name)?;
                let rows = txn
                    .sql("update schedules set cursor = ?2 where name = ?1 and cursor = ?3 and cursor < ?2")?
                    .execute((name, cursor.as_ms(), from.as_ms()));
                if matches!(rows, Ok(0)) {
                    return Ok(false);
                }
                match missed {
                    0 => (rows, Fired::Changed, format!("starts afresh from {cursor}: {by}")),
                    n => (rows, Fired::Missed, format!("{n} due times up to {cursor} were left out: {by}")),
                }
            }
        };
    found(rows.during("change a schedule")?, name)?;
    remember(txn, name, what, None, None, &note)?;
    Ok(true)
}

fn move_cursor(txn: &Txn<'_>, name: &str, due: Timestamp) -> Result<(), StoreError> {
    let rows = txn
        .sql("update schedules set cursor = max(cursor, ?2) where name = ?1")?
        .execute((name, due.as_ms()))
        .during("move a schedule's cursor")?;
    found(rows, name)
}

fn set_held(txn: &Txn<'_>, name: &str, due: Option<Timestamp>) -> Result<(), StoreError> {
    let rows = txn
        .sql("update schedules set held_due = ?2 where name = ?1")?
        .execute((name, due.map(Timestamp::as_ms)))
        .during("hold a due time back")?;
    found(rows, name)
}

fn found(rows: usize, name: &str) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(StoreError::NoSuchSchedule(name.to_owned())) }
}

fn remember(
    txn: &Txn<'_>,
    name: &str,
    what: Fired,
    due: Option<Timestamp>,
    job: Option<JobId>,
    note: &str,
) -> Result<(), StoreError> {
    // The enum's own snake_case word is the table's word.
    let word = json(&what)?;
    txn.sql("insert into schedule_history (schedule, at, what, due, job, note) values (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute((
            name,
            txn.now.as_ms(),
            word.trim_matches('"'),
            due.map(Timestamp::as_ms),
            job.map(|job| *job.as_bytes()),
            note,
        ))
        .during("keep a schedule's history")?;
    txn.sql(
        "delete from schedule_history where schedule = ?1 and id <= (
            select id from schedule_history where schedule = ?1 order by id desc limit 1 offset ?2)",
    )?
    .execute((name, HISTORY_MAX))
    .during("bound a schedule's history")?;
    Ok(())
}

fn find(conn: &Connection, name: &str) -> Result<ScheduleRecord, StoreError> {
    conn.prepare_cached(&format!("select {COLUMNS} from schedules where name = ?1"))
        .and_then(|mut sql| sql.query_row([name], read).optional())
        .during("look a schedule up")?
        .ok_or_else(|| StoreError::NoSuchSchedule(name.to_owned()))
}

/// All schedules by name.
pub(super) fn list(conn: &Connection) -> Result<Vec<ScheduleRecord>, StoreError> {
    conn.prepare_cached(&format!("select {COLUMNS} from schedules order by name"))
        .and_then(|mut sql| sql.query_map([], read)?.collect())
        .during("list schedules")
}

fn read(row: &Row<'_>) -> rusqlite::Result<ScheduleRecord> {
    Ok(ScheduleRecord {
        name: row.get::<_, String>(0)?.into(),
        declared: value(row, 1)?.unwrap_or(Value::Null),
        overridden: value(row, 2)?,
        paused: row.get(3)?,
        cursor: Timestamp::from_ms(row.get(4)?),
        last_job: row.get::<_, Option<[u8; 16]>>(5)?.map(JobId::from_bytes),
        last_due: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_ms),
        held_due: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_ms),
    })
}

fn value(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Value>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e)))
}

/// What happened to a schedule, newest first.
pub(super) fn history(conn: &Connection, name: &str) -> Result<Vec<HistoryEntry>, StoreError> {
    find(conn, name)?;
    let sql = "select at, what, due, job, note from schedule_history where schedule = ?1 order by id desc limit ?2";
    conn.prepare_cached(sql)
        .and_then(|mut sql| {
            sql.query_map((name, HISTORY_MAX), |row| {
                Ok(HistoryEntry {
                    at: Timestamp::from_ms(row.get(0)?),
                    what: match row.get::<_, String>(1)?.as_str() {
                        "enqueued" => Fired::Enqueued,
                        "run_by_hand" => Fired::RunByHand,
                        "skipped_overlap" => Fired::SkippedOverlap,
                        "missed" => Fired::Missed,
                        // The table's check allows one more word: `changed`.
                        _ => Fired::Changed,
                    },
                    due: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_ms),
                    job: row.get::<_, Option<[u8; 16]>>(3)?.map(JobId::from_bytes),
                    note: row.get(4)?,
                })
            })?
            .collect()
        })
        .during("read a schedule's history")
}
