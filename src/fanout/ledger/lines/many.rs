//! Many lines at once: a handful of statements for all of a group, where each would need as many for itself.
//!
//! For the plain way only: a first attempt without an order to keep, and a success that changes nothing but its own rows.
//! What it writes is what [`open`](super::open) and [`close`](super::close) write one by one.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use super::{Closed, Closing, Next, Opening, Said, ms, words};
use crate::data::{Tx, padded};
use crate::on_tx;

/// True for an opening that needs no look at other lines of its delivery or at an order.
pub(super) fn opens_plainly(it: &Opening) -> bool {
    !it.strict && it.turn.epoch <= 1 && it.turn.number <= 1
}

/// True for a closing that touches its line and its delivery alone.
pub(super) fn closes_plainly(it: &Closing) -> bool {
    it.next == Next::Succeeded && it.posted.succeeded() && !it.strict && !it.was_failing && it.disable.is_none()
}

/// Opens a line for each whose endpoint has a place, in their order.
pub(in super::super) async fn open_all(tx: &mut Tx, all: &[&Opening]) -> Result<Vec<Said>, sqlx::Error> {
    let Some(now) = all.iter().map(|it| it.now).min() else { return Ok(Vec::new()) };
    let mut open = open_lines(tx, all, now.as_ms()).await?;
    let mut said = Vec::with_capacity(all.len());
    let mut opened = Vec::new();
    for it in all {
        let lines = open.entry(it.endpoint.as_str()).or_default();
        if *lines < i64::from(it.max_concurrency) {
            *lines += 1;
            opened.push(*it);
            said.push(Said::Opened);
        } else {
            said.push(Said::Busy);
        }
    }
    if opened.is_empty() {
        return Ok(said);
    }
    on_tx!(&mut *tx, conn => {
        let mut insert = QueryBuilder::new(
            "with v (id, delivery_id, endpoint_id, attempt, at, node, expires_at, host) as (",
        );
        insert.push_values(padded(&opened), |mut row, it| {
            row.push_bind(it.map(|it| &it.attempt))
                .push_bind(it.map(|it| &it.delivery))
                .push_bind(it.map(|it| &it.endpoint))
                .push_bind(it.map(|it| i64::from(it.turn.number)))
                .push_bind(it.map(|it| it.now.as_ms()))
                .push_bind(it.map(|it| it.turn.node.to_string()))
                .push_bind(it.map(|it| it.expires_at.as_ms()))
                .push_bind(it.map(|it| &it.host));
        });
        insert.push(
            ") insert into delivery_attempts (id, delivery_id, endpoint_id, attempt, at, node, expires_at, host, reply)
               select id, delivery_id, endpoint_id, attempt, at, node, expires_at, host, '' from v where id is not null",
        );
        let inserted = insert.build().execute(&mut *conn).await?.rows_affected();
        all_there(inserted, opened.len())?;
        let mut count = QueryBuilder::new("update deliveries set attempts = attempts + 1, updated_at = ");
        count.push_bind(now.as_ms()).push(" where id in (");
        let mut ids = count.separated(", ");
        for it in padded(&opened) {
            ids.push_bind(it.map(|it| &it.delivery));
        }
        count.push(")");
        let counted = count.build().execute(conn).await?.rows_affected();
        all_there(counted, opened.len())?;
    });
    Ok(said)
}

/// How many lines of each endpoint are open and believed.
async fn open_lines<'a>(tx: &mut Tx, all: &[&'a Opening], now: i64) -> Result<HashMap<&'a str, i64>, sqlx::Error> {
    let mut open: HashMap<&str, i64> = all.iter().map(|it| (it.endpoint.as_str(), 0)).collect();
    let counted: Vec<(String, i64)> = on_tx!(tx, conn => {
        let mut query = QueryBuilder::new(
            "select endpoint_id, count(*) from delivery_attempts where ended_at is null and expires_at > ",
        );
        query.push_bind(now).push(" and endpoint_id in (");
        let mut ids = query.separated(", ");
        let endpoints: Vec<&str> = open.keys().copied().collect();
        for endpoint in padded(&endpoints) {
            ids.push_bind(endpoint.copied());
        }
        query.push(") group by endpoint_id");
        query.build_query_as().fetch_all(conn).await?
    });
    for (endpoint, lines) in counted {
        if let Some(known) = open.get_mut(endpoint.as_str()) {
            *known = lines;
        }
    }
    Ok(open)
}

/// Closes lines of POSTs that were answered with 2xx, and settles their deliveries.
pub(super) async fn close_all(tx: &mut Tx, all: &[&Closing]) -> Result<Vec<Closed>, sqlx::Error> {
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let moved: Vec<String> = on_tx!(&mut *tx, conn => {
        let mut close = QueryBuilder::new(
            "with v (id, ended_at, address, reused, status, duration_ms, dns_ms, connect_ms, tls_ms, first_byte_ms, reply) as (",
        );
        close.push_values(padded(all), |mut row, it| {
            let posted = it.map(|it| &it.posted);
            let steps = posted.map(|posted| &posted.steps);
            row.push_bind(it.map(|it| &it.attempt))
                .push_bind(it.map(|it| it.now.as_ms()))
                .push_bind(steps.and_then(|steps| steps.address).map(|a| a.to_string()))
                .push_bind(posted.and_then(|posted| posted.reused).map(i64::from))
                .push_bind(posted.and_then(|posted| words(&posted.answer).0))
                .push_bind(posted.map(|posted| ms(posted.duration)))
                .push_bind(steps.and_then(|steps| steps.dns).map(ms))
                .push_bind(steps.and_then(|steps| steps.connect).map(ms))
                .push_bind(steps.and_then(|steps| steps.tls).map(ms))
                .push_bind(posted.and_then(|posted| posted.first_byte).map(ms))
                .push_bind(posted.map(|posted| &posted.reply));
        });
        // An `interrupted` goes: the POST has come to its end after all.
        close.push(
            ") update delivery_attempts
               set ended_at = v.ended_at, address = v.address, reused = v.reused, status = v.status, error_class = null,
                   error = null, duration_ms = v.duration_ms, dns_ms = v.dns_ms, connect_ms = v.connect_ms,
                   tls_ms = v.tls_ms, first_byte_ms = v.first_byte_ms, next_at = null, reply = v.reply
               from v where delivery_attempts.id = v.id",
        );
        let closed = close.build().execute(&mut *conn).await?.rows_affected();
        all_there(closed, all.len())?;

        let mut settle = QueryBuilder::new("with v (id, status, now, epoch) as (");
        settle.push_values(padded(all), |mut row, it| {
            row.push_bind(it.map(|it| &it.delivery))
                .push_bind(it.and_then(|it| words(&it.posted.answer).0))
                .push_bind(it.map(|it| it.now.as_ms()))
                .push_bind(it.map(|it| it.turn.epoch));
        });
        settle.push(
            ") update deliveries
               set state = 'succeeded', next_at = null, last_status = v.status, last_error = null, updated_at = v.now,
                   settled_at = v.now,
                   epoch = case when deliveries.epoch > v.epoch then deliveries.epoch else v.epoch end
               from v where deliveries.id = v.id and deliveries.state <> 'succeeded' returning deliveries.id",
        );
        settle.build_query_scalar().fetch_all(conn).await?
    });
    // Not there: it had succeeded before.
    let moved = |it: &&Closing| Closed { moved: moved.contains(&it.delivery), ..Closed::default() };
    Ok(all.iter().map(moved).collect())
}

/// Fewer rows than asked for: each is tried alone, and the one that is gone says so.
pub(super) fn all_there(rows: u64, asked: usize) -> Result<(), sqlx::Error> {
    if u64::try_from(asked).is_ok_and(|asked| asked == rows) { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}
