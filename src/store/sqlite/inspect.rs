//! What can be seen of jobs, queues and workers. Reading connections only; nothing here scans what grows.

use rusqlite::{Connection, OptionalExtension, Row};

use super::claim::rate_limit;
use super::failure::During;
use super::limits;
use super::row::{RECORD, from_json, parsed, record};
use crate::clock::Timestamp;
use crate::job::{Incarnation, JobId, JobRecord, JobState, QueueName};
use crate::store::{Counts, LogLine, QueueCounts, StoreError, WhyNot, WorkerRecord};

/// "Others are before it" is counted up to here.
const AHEAD_MAX: u32 = 1_000;

/// One job.
pub(super) fn get(conn: &Connection, job: JobId) -> Result<Option<JobRecord>, StoreError> {
    conn.prepare_cached(&format!("{RECORD} where j.id = ?1"))
        .and_then(|mut sql| sql.query_row([job.as_bytes()], record).optional())
        .during("read a job")
}

/// One job by its row.
pub(super) fn get_row(conn: &Connection, seq: i64) -> Result<Option<JobRecord>, StoreError> {
    conn.prepare_cached(&format!("{RECORD} where j.seq = ?1"))
        .and_then(|mut sql| sql.query_row([seq], record).optional())
        .during("read a listed job")
}

/// The lines a job logged, oldest first.
pub(super) fn logs(conn: &Connection, job: JobId) -> Result<Vec<LogLine>, StoreError> {
    let sql = "select at, attempt, line from job_logs where job = (select seq from jobs where id = ?1) order by n";
    conn.prepare_cached(sql)
        .and_then(|mut sql| {
            sql.query_map([job.as_bytes()], |row| {
                Ok(LogLine { at: Timestamp::from_ms(row.get(0)?), attempt: row.get(1)?, line: row.get(2)? })
            })?
            .collect()
        })
        .during("read a job's lines")
}

/// All queues' counters.
pub(super) fn counts(conn: &Connection, now: Timestamp) -> Result<Counts, StoreError> {
    let sql = "select q.id, q.name, q.paused, q.completed_total from queues q order by q.name";
    let mut queues = conn
        .prepare_cached(sql)
        .and_then(|mut sql| {
            sql.query_map([], |row| {
                let counts = QueueCounts {
                    queue: parsed(row, 1)?,
                    paused: row.get(2)?,
                    scheduled: 0,
                    ready: 0,
                    running: 0,
                    completed: 0,
                    dead: 0,
                    cancelled: 0,
                    completed_total: row.get(3)?,
                    oldest_ready_ms: None,
                };
                Ok((row.get::<_, i64>(0)?, counts))
            })?
            .collect::<Result<Vec<_>, _>>()
        })
        .during("read the queues")?;
    for (id, counts) in &mut queues {
        for (state, n) in counters(conn, *id)? {
            match state {
                JobState::Scheduled => counts.scheduled = n,
                JobState::Ready => counts.ready = n,
                JobState::Running => counts.running = n,
                JobState::Completed => counts.completed = n,
                JobState::Dead => counts.dead = n,
                JobState::Cancelled => counts.cancelled = n,
            }
        }
        if counts.ready > 0 {
            counts.oldest_ready_ms =
                oldest_ready(conn, *id)?.map(|due| u64::try_from(now.since(due).as_millis()).unwrap_or(u64::MAX));
        }
    }
    let lease_refusals = conn
        .prepare_cached("select value from gauges where name = 'lease_refusals'")
        .and_then(|mut sql| sql.query_row([], |row| row.get(0)))
        .during("read the refusals")?;
    Ok(Counts { queues: queues.into_iter().map(|(_, counts)| counts).collect(), lease_refusals })
}

fn counters(conn: &Connection, queue: i64) -> Result<Vec<(JobState, u64)>, StoreError> {
    conn.prepare_cached("select state, n from counts where queue = ?1")
        .and_then(|mut sql| sql.query_map([queue], |row| Ok((parsed(row, 0)?, row.get(1)?)))?.collect())
        .during("read the counters")
}

/// One look into the index for each of the ten priorities.
fn oldest_ready(conn: &Connection, queue: i64) -> Result<Option<Timestamp>, StoreError> {
    let sql = "select min(run_at) from jobs where queue = ?1 and state = 'ready' and priority = ?2";
    let mut oldest = None;
    for priority in 0..=9_u8 {
        let first: Option<i64> = conn
            .prepare_cached(sql)
            .and_then(|mut sql| sql.query_row((queue, priority), |row| row.get(0)))
            .during("look for the oldest ready job")?;
        oldest = oldest.into_iter().chain(first).min();
    }
    Ok(oldest.map(Timestamp::from_ms))
}

/// The one answer to "why is this job not running?".
pub(super) fn explain(conn: &Connection, job: JobId, now: Timestamp) -> Result<WhyNot, StoreError> {
    let record = get(conn, job)?.ok_or(StoreError::NoSuchJob(job))?;
    match record.state {
        state @ (JobState::Completed | JobState::Dead | JobState::Cancelled) => Ok(WhyNot::Finished { state }),
        JobState::Scheduled => Ok(WhyNot::NotDue { run_at: record.run_at }),
        JobState::Running => {
            let holder = record.holder.ok_or_else(|| StoreError::Corrupt {
                place: "jobs.holder".into(),
                detail: format!("job {job} is running without a holder"),
            })?;
            Ok(WhyNot::Running { holder, since: record.started_at.unwrap_or(now) })
        }
        JobState::Ready => why_ready(conn, &record, now),
    }
}

fn why_ready(conn: &Connection, job: &JobRecord, now: Timestamp) -> Result<WhyNot, StoreError> {
    let (queue, paused, rate): (i64, bool, Option<String>) = conn
        .prepare_cached("select id, paused, rate from queues where name = ?1")
        .and_then(|mut sql| sql.query_row([job.queue.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))
        .during("read the job's queue")?;
    if paused {
        return Ok(WhyNot::QueuePaused);
    }
    let served = workers(conn)?.iter().any(|w| !w.draining && w.lease_until >= now && w.queues.contains(&job.queue));
    if !served {
        return Ok(WhyNot::NoWorker);
    }
    if let Some(rate) = rate {
        let until = limits::next_at(conn, &format!("queue:{}", job.queue), rate_limit(&rate)?, now)?;
        if until > now {
            return Ok(WhyNot::RateLimited { until });
        }
    }
    // Step by step, with the place bound: a comparison of (priority, run_at, seq) as one would walk the index past the job,
    // through all that are due at the same moment.
    let sql = "select min(?5,
          (select count(*) from (select 1 from jobs where queue = ?1 and state = 'ready' and priority < ?2 limit ?5))
        + (select count(*) from (select 1 from jobs where queue = ?1 and state = 'ready' and priority = ?2
              and run_at < ?3 limit ?5))
        + (select count(*) from (select 1 from jobs where queue = ?1 and state = 'ready' and priority = ?2
              and run_at = ?3 and seq < ?4 limit ?5)))";
    let (seq, priority, run_at): (i64, i64, i64) = conn
        .prepare_cached("select seq, priority, run_at from jobs where id = ?1")
        .and_then(|mut sql| sql.query_row([job.id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))
        .during("find the job's place")?;
    let ahead = conn
        .prepare_cached(sql)
        .and_then(|mut sql| sql.query_row((queue, priority, run_at, seq, AHEAD_MAX), |row| row.get(0)))
        .during("count the jobs ahead")?;
    Ok(WhyNot::Waiting { ahead })
}

/// The workers that are alive, oldest first.
pub(super) fn workers(conn: &Connection) -> Result<Vec<WorkerRecord>, StoreError> {
    let sql = "select incarnation, label, queues, running, started_at, last_beat, lease_until, skew_ms, draining
               from workers where state = 'alive' order by started_at, incarnation limit 1000";
    let read = |row: &Row<'_>| {
        Ok(WorkerRecord {
            id: Incarnation::from_bytes(row.get(0)?),
            label: row.get::<_, String>(1)?.into(),
            queues: from_json::<Vec<QueueName>>(row, 2)?.unwrap_or_default(),
            running: row.get(3)?,
            started_at: Timestamp::from_ms(row.get(4)?),
            last_beat_at: Timestamp::from_ms(row.get(5)?),
            lease_until: Timestamp::from_ms(row.get(6)?),
            clock_skew_ms: row.get(7)?,
            draining: row.get(8)?,
        })
    };
    conn.prepare_cached(sql).and_then(|mut sql| sql.query_map([], read)?.collect()).during("list workers")
}
