//! The plain way over the line's own connection: a row is written by a statement that is prepared already.
//!
//! For the same cases as [`many`](super::many), and with the same outcome: what is not as it should be is left, or undone, to be
//! written the other way. These are most of what a healthy installation writes, two or three rows for each POST.

use std::collections::HashSet;

use super::many::{Places, alike};
use super::{Closed, Closing, Opening, ms, words};
use crate::clock::Timestamp;
use crate::data::{Direct, DirectError, values};

/// The number of the last change of any endpoint, and how many lines of these endpoints are open and believed.
pub(in super::super) fn look<'a>(
    on: &Direct<'_>,
    endpoints: impl Iterator<Item = &'a str>,
    now: Timestamp,
) -> Result<(i64, Places), DirectError> {
    let revision = on.prepare("select n from endpoint_revision")?.query_row([], |row| row.get(0))?;
    let endpoints: HashSet<&str> = endpoints.collect();
    let ids = serde_json::Value::from(endpoints.into_iter().collect::<Vec<_>>()).to_string();
    let mut count = on.prepare(
        "select endpoint_id, count(*) from delivery_posts
         where endpoint_id in (select value from json_each(?1)) and expires_at > ?2 group by endpoint_id",
    )?;
    let mut rows = count.query(values![ids, now.as_ms()])?;
    let mut places = Places::default();
    while let Some(row) = rows.next()? {
        places.learn(row.get(0)?, row.get(1)?);
    }
    Ok((revision, places))
}

/// Opens the lines of first attempts whose deliveries wait; which of them there are.
pub(in super::super) fn open_pending<'a>(
    on: &Direct<'_>,
    all: impl Iterator<Item = &'a Opening>,
    node: &str,
) -> Result<Vec<bool>, DirectError> {
    // A delivery is looked up by its own number and not by its endpoint's index.
    let mut insert = on.prepare(
        "insert into delivery_posts (endpoint_id, delivery_id, id, attempt, at, node, expires_at, host)
         select endpoint_id, id, ?1, 1, ?4, ?5, ?6, ?7 from deliveries
         where id = ?2 and +endpoint_id = ?3 and +state = 'pending'",
    )?;
    let opened = all.map(|it| {
        let (at, expires_at) = (it.now.as_ms(), it.expires_at.as_ms());
        let rows = insert.execute(values![it.attempt, it.delivery, it.endpoint, at, node, expires_at, &*it.host])?;
        Ok(rows == 1)
    });
    opened.collect()
}

/// Closes lines of POSTs that were answered with 2xx and settles their deliveries; `None` for those of endpoints in trouble.
pub(super) fn close_all(on: &Direct<'_>, all: &[&Closing]) -> Result<Vec<Option<Closed>>, DirectError> {
    let troubled = troubled(on, all)?;
    let Some(node) = all.first().map(|it| it.line.turn.node.to_string()) else { return Ok(Vec::new()) };
    let mut delete =
        on.prepare("delete from delivery_posts where endpoint_id = ?1 and delivery_id = ?2 and id = ?3")?;
    let mut log = on.prepare(
        "insert into delivery_attempts
           (delivery_id, id, attempt, at, ended_at, node, host, address, reused, status, duration_ms, dns_ms, connect_ms,
            tls_ms, first_byte_ms, reply)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?;
    let (mut closed, mut settled) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    for it in all {
        let (line, posted) = (&it.line, &it.posted);
        if troubled.contains(line.endpoint.as_str()) || line.turn.node != all[0].line.turn.node {
            closed.push(None);
            continue;
        }
        settled.push(*it);
        one(delete.execute(values![line.endpoint, line.delivery, line.attempt])?)?;
        let steps = &posted.steps;
        one(log.execute(values![
            line.delivery,
            line.attempt,
            line.turn.number,
            line.now.as_ms(),
            it.now.as_ms(),
            node,
            &*line.host,
            steps.address.map(|a| a.to_string()),
            posted.reused.map(i64::from),
            words(&posted.answer).0,
            ms(posted.duration),
            steps.dns.map(ms),
            steps.connect.map(ms),
            steps.tls.map(ms),
            posted.first_byte.map(ms),
            posted.reply,
        ])?)?;
        closed.push(Some(Closed { moved: true, ..Closed::default() }));
    }
    settle(on, &settled)?;
    Ok(closed)
}

/// Settles deliveries that have succeeded. Of many in one statement: what their table demands of a state is a list that SQLite
/// makes anew for each statement, at twice the cost of the change itself.
fn settle(on: &Direct<'_>, all: &[&Closing]) -> Result<(), DirectError> {
    let mut update = on.prepare(
        "update deliveries
         set state = 'succeeded', next_at = null, last_status = ?2, last_error = null, attempts = attempts + 1,
             updated_at = ?3, settled_at = ?3, epoch = max(epoch, ?4)
         where id in (select value from json_each(?1)) and +state <> 'succeeded'",
    )?;
    for (of, same) in &alike(all) {
        let ids = serde_json::Value::from(same.as_slice()).to_string();
        let rows = update.execute(values![ids, of.status, of.now.as_ms(), of.epoch])?;
        if rows != same.len() {
            return Err(DirectError::StatementChangedRows(rows));
        }
    }
    Ok(())
}

/// Those of these endpoints that have failed since their last success: nearly always there are none at all.
fn troubled<'a>(on: &Direct<'_>, all: &[&'a Closing]) -> Result<HashSet<&'a str>, DirectError> {
    let any = on.prepare("select exists (select 1 from endpoint_trouble)")?.query_row([], |row| row.get(0))?;
    let mut troubled = HashSet::new();
    if any {
        let mut ask = on.prepare("select exists (select 1 from endpoint_trouble where endpoint_id = ?1)")?;
        for it in all {
            if ask.query_row([&it.line.endpoint], |row| row.get(0))? {
                troubled.insert(it.line.endpoint.as_str());
            }
        }
    }
    Ok(troubled)
}

/// Not one row: all is undone, each is tried alone, and the one that is not as it should be says so.
fn one(rows: usize) -> Result<(), DirectError> {
    if rows == 1 { Ok(()) } else { Err(DirectError::StatementChangedRows(rows)) }
}
