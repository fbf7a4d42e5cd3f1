//! `list`: pages of jobs, each state in the order of the index it has anyway.
//!
//! A page is merged from the queues it covers. Each queue gives at most [`LOOK_MAX`] places from the cursor on; a filter
//! that matches little may therefore give a short page that still has a `next`.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::failure::During;
use super::inspect::get_row;
use crate::job::JobState;
use crate::store::query::Place;
use crate::store::{Cursor, ListQuery, Page, StoreError};

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;
/// Rows of one queue that one page may look at.
const LOOK_MAX: usize = 2_000;

struct Candidate {
    place: Place,
    seq: i64,
    matches: bool,
}

/// A page of jobs.
pub(super) fn list(conn: &Connection, query: &ListQuery) -> Result<Page, StoreError> {
    let limit = match query.limit {
        0 => LIMIT_DEFAULT,
        n => n.min(LIMIT_MAX),
    };
    let filtered = query.kind.is_some() || query.tenant.is_some() || (query.state.is_none() && query.queue.is_some());
    let look = if filtered { LOOK_MAX } else { usize::try_from(limit).unwrap_or(LOOK_MAX) + 1 };
    let mut candidates = Vec::new();
    // Beyond the last place that a queue gave, nothing is known of it.
    let mut known_until: Option<Place> = None;
    for source in sources(conn, query)? {
        let places = look_at(conn, query, source, look)?;
        if places.len() == look
            && let Some(last) = places.last()
        {
            known_until = Some(known_until.map_or(last.place, |known| known.min(last.place)));
        }
        candidates.extend(places);
    }
    candidates.sort_by_key(|candidate| candidate.place);
    page(conn, candidates, known_until, limit)
}

fn page(
    conn: &Connection,
    candidates: Vec<Candidate>,
    known_until: Option<Place>,
    limit: u32,
) -> Result<Page, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut jobs = Vec::new();
    let mut last = None;
    let mut rest = false;
    for candidate in candidates {
        if jobs.len() == limit || known_until.is_some_and(|known| candidate.place > known) {
            rest = true;
            break;
        }
        last = Some(candidate.place);
        if candidate.matches {
            // One that was pruned between the two looks is left out.
            jobs.extend(get_row(conn, candidate.seq)?);
        }
    }
    let more = rest || known_until.is_some();
    Ok(Page { jobs, next: last.filter(|_| more).map(|after| Cursor { after }) })
}

/// The queues to merge; one source without a queue serves "all states", which the table's own order gives.
fn sources(conn: &Connection, query: &ListQuery) -> Result<Vec<Option<i64>>, StoreError> {
    let (sql, name) = match &query.queue {
        Some(name) => ("select id from queues where name = ?1", name.as_str()),
        None => ("select id from queues where ?1 = '' order by id", ""),
    };
    let ids: Vec<i64> = conn
        .prepare_cached(sql)
        .and_then(|mut sql| sql.query_map([name], |row| row.get(0))?.collect())
        .during("list the queues to look at")?;
    match &query.queue {
        Some(name) if ids.is_empty() => Err(StoreError::NoSuchQueue(name.clone())),
        _ if query.state.is_none() => Ok(vec![None]),
        _ => Ok(ids.into_iter().map(Some).collect()),
    }
}

/// Places from the cursor on, in order. Each `order by` is an index's own order.
fn look_at(
    conn: &Connection,
    query: &ListQuery,
    queue: Option<i64>,
    look: usize,
) -> Result<Vec<Candidate>, StoreError> {
    // Place columns, table part, order: newest first is written as negated numbers, so that one comparison serves all.
    let (place, index, order) = match query.state {
        None => ("0, 0, -j.seq", "?4 is null and j.seq < -?3", "j.seq desc"),
        Some(JobState::Ready) => (
            "j.priority, j.run_at, j.seq",
            "j.queue = ?4 and j.state = 'ready' and (j.priority, j.run_at, j.seq) > (?1, ?2, ?3)",
            "j.priority, j.run_at, j.seq",
        ),
        Some(JobState::Scheduled) => (
            "0, j.run_at, j.seq",
            "j.queue = ?4 and j.state = 'scheduled' and (j.run_at, j.seq) > (?2, ?3) and ?1 is not null",
            "j.run_at, j.seq",
        ),
        Some(JobState::Running) => (
            "0, 0, -j.seq",
            "j.queue = ?4 and j.state = 'running' and j.seq < -?3 and ?1 is not null and ?2 is not null",
            "j.seq desc",
        ),
        Some(JobState::Completed | JobState::Dead | JobState::Cancelled) => (
            "0, -j.finished_at, -j.seq",
            "j.queue = ?4 and j.state = ?8 and j.finished_at is not null and (j.finished_at, j.seq) < (-?2, -?3)
             and ?1 is not null",
            "j.finished_at desc, j.seq desc",
        ),
    };
    // By themselves few running jobs among many others would be looked for in the table's order, row by row.
    let through = if query.state == Some(JobState::Running) { "indexed by jobs_to_rescue" } else { "" };
    let of_body = query.kind.is_some() || query.tenant.is_some();
    // Bodies are larger than all else: they are read where the filter is about them.
    let (body, matches) = if of_body {
        ("cross join bodies b on b.seq = j.seq", "(?5 is null or b.kind = ?5) and (?6 is null or b.tenant is ?6)")
    } else {
        ("", "?5 is null and ?6 is null")
    };
    let sql = format!(
        "select {place}, j.seq,
                {matches} and (?7 is null or j.queue = (select id from queues where name = ?7))
         from jobs j {through} {body} where {index} and (?1 is not null or ?2 is not null or true) and (?8 is null or true)
         order by {order} limit ?9"
    );
    let start = Place { major: i64::MIN + 1, minor: i64::MIN + 1, seq: i64::MIN + 1 };
    let from = query.cursor.map_or(start, |cursor| cursor.after);
    let text = |value: Option<&str>| value.map_or(Value::Null, |value| Value::Text(value.to_owned()));
    let parameters = [
        Value::Integer(from.major),
        Value::Integer(from.minor),
        Value::Integer(from.seq),
        queue.map_or(Value::Null, Value::Integer),
        text(query.kind.as_deref()),
        text(query.tenant.as_deref()),
        text(query.queue.as_ref().filter(|_| query.state.is_none()).map(|queue| queue.as_str())),
        text(query.state.map(JobState::as_str)),
        Value::Integer(i64::try_from(look).unwrap_or(i64::MAX)),
    ];
    let read = |row: &rusqlite::Row<'_>| {
        let place = Place { major: row.get(0)?, minor: row.get(1)?, seq: row.get(2)? };
        Ok(Candidate { place, seq: row.get(3)?, matches: row.get(4)? })
    };
    conn.prepare_cached(&sql)
        .and_then(|mut sql| sql.query_map(rusqlite::params_from_iter(parameters), read)?.collect())
        .during("list jobs")
}
