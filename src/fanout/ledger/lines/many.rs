//! Many lines at once: a handful of statements for all of a group, where each would need as many for itself.
//!
//! For the plain way only: a first attempt without an order to keep, and a success that changes nothing but its own rows.
//! What it writes is what [`open`](super::open) and [`close`](super::close) write one by one. No statement answers with a row
//! for each: the driver hands every row over to another thread.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sqlx::QueryBuilder;

use super::{Closed, Closing, Next, Opening, Said, ms, words};
use crate::clock::Timestamp;
use crate::data::{Tx, padded};
use crate::on_tx;

/// True for an opening that needs no look at other lines of its delivery or at an order.
pub(super) fn opens_plainly(it: &Opening) -> bool {
    !it.strict && it.turn.epoch <= 1 && it.turn.number <= 1
}

/// True for a closing that touches its line and its delivery alone, unless its endpoint is in trouble.
pub(super) fn closes_plainly(it: &Closing) -> bool {
    it.next == Next::Succeeded && it.posted.succeeded() && !it.line.strict && it.disable.is_none()
}

/// Opens a line for each whose endpoint has a place, in their order.
pub(super) async fn open_all(tx: &mut Tx, all: &[&Arc<Opening>]) -> Result<Vec<Said>, sqlx::Error> {
    let Some(now) = all.iter().map(|it| it.now).min() else { return Ok(Vec::new()) };
    let endpoints: HashSet<&str> = all.iter().map(|it| it.endpoint.as_str()).collect();
    let mut places = Places { open: look(tx, &endpoints, now).await?.open };
    let (mut said, mut opened) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    for it in all {
        let has_place = places.take(it);
        said.push(if has_place { Said::Opened } else { Said::Busy });
        opened.extend(has_place.then_some(&***it));
    }
    all_there(insert(tx, &opened, Of::Any).await?, opened.len())?;
    Ok(said)
}

/// What is looked up before lines are opened.
#[derive(Debug)]
pub(in super::super) struct Look {
    /// The number of the last change of any endpoint.
    pub(in super::super) revision: i64,
    /// How many lines of each endpoint are open and believed; none where it is not named.
    open: HashMap<String, i64>,
}

impl Look {
    pub(in super::super) fn places(&mut self) -> Places {
        Places { open: std::mem::take(&mut self.open) }
    }
}

/// Counts lines against what each endpoint may have.
#[derive(Debug, Default)]
pub(in super::super) struct Places {
    open: HashMap<String, i64>,
}

impl Places {
    pub(super) fn learn(&mut self, endpoint: String, open: i64) {
        self.open.insert(endpoint, open);
    }

    /// False: as many are open as may be.
    pub(in super::super) fn take(&mut self, it: &Opening) -> bool {
        let Some(lines) = self.open.get_mut(it.endpoint.as_str()) else {
            self.open.insert(it.endpoint.clone(), 1);
            return it.max_concurrency > 0;
        };
        let has_place = *lines < i64::from(it.max_concurrency);
        *lines += i64::from(has_place);
        has_place
    }
}

/// Looks at all endpoints at once; one row answers.
pub(in super::super) async fn look(
    tx: &mut Tx,
    endpoints: &HashSet<&str>,
    now: Timestamp,
) -> Result<Look, sqlx::Error> {
    let (revision, open): (i64, Option<String>) = on_tx!(tx, conn => {
        let mut query = QueryBuilder::new(
            "select (select n from endpoint_revision),
                    (select string_agg(o.endpoint_id || ' ' || o.n, ',')
                     from (select endpoint_id, count(*) as n from delivery_posts where expires_at > ",
        );
        query.push_bind(now.as_ms()).push(" and endpoint_id in (");
        let mut ids = query.separated(", ");
        let endpoints: Vec<&str> = endpoints.iter().copied().collect();
        for endpoint in padded(&endpoints) {
            ids.push_bind(endpoint.copied());
        }
        query.push(") group by endpoint_id) o)");
        query.build_query_as().fetch_one(conn).await?
    });
    let each = open.iter().flat_map(|open| open.split(','));
    let open = each.map(|one| {
        let read = one.split_once(' ').and_then(|(endpoint, n)| Some((endpoint.to_owned(), n.parse().ok()?)));
        read.ok_or_else(|| sqlx::Error::Protocol(format!("`{one}` counts no lines")))
    });
    Ok(Look { revision, open: open.collect::<Result<_, _>>()? })
}

/// Which deliveries get their lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Of {
    /// All that are there.
    Any,
    /// Those that nothing has become of yet.
    Pending,
}

/// Writes the lines of first attempts; how many there were deliveries for.
pub(in super::super) async fn insert(tx: &mut Tx, all: &[&Opening], of: Of) -> Result<u64, sqlx::Error> {
    let Some(first) = all.first() else { return Ok(0) };
    on_tx!(tx, conn => {
        let mut insert = QueryBuilder::new("with v (id, delivery_id, endpoint_id, at, expires_at, host) as (");
        insert.push_values(padded(all), |mut row, it| {
            row.push_bind(it.map(|it| &it.attempt))
                .push_bind(it.map(|it| &it.delivery))
                .push_bind(it.map(|it| &it.endpoint))
                .push_bind(it.map(|it| it.now.as_ms()))
                .push_bind(it.map(|it| it.expires_at.as_ms()))
                .push_bind(it.map(|it| &*it.host));
        });
        insert.push(
            ") insert into delivery_posts (endpoint_id, delivery_id, id, attempt, at, node, expires_at, host)
               select d.endpoint_id, d.id, v.id, 1, v.at, ",
        );
        // A group is of one process.
        insert.push_bind(first.turn.node.to_string());
        // Written so that a delivery is looked up by its own number and not by its endpoint's index.
        insert.push(
            ", v.expires_at, v.host from v cross join deliveries d
               where d.id = v.delivery_id and coalesce(d.endpoint_id, '') = v.endpoint_id",
        );
        if of == Of::Pending {
            insert.push(" and d.state = 'pending'");
        }
        Ok(insert.build().execute(conn).await?.rows_affected())
    })
}

/// Which of these lines are open.
pub(in super::super) async fn opened(tx: &mut Tx, all: &[&Opening]) -> Result<HashSet<String>, sqlx::Error> {
    on_tx!(tx, conn => {
        let mut query = keys(all);
        query.push("select id from delivery_posts where (endpoint_id, delivery_id, id) in (select * from v)");
        Ok(query.build_query_scalar().fetch_all(conn).await?.into_iter().collect())
    })
}

/// `v` are the keys of these lines. A list of values would be compared with every line there is; what is selected from one is
/// looked up.
fn keys<DB: sqlx::Database>(all: &[&Opening]) -> QueryBuilder<DB>
where
    for<'q> Option<&'q String>: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
{
    let mut query = QueryBuilder::new("with v (endpoint_id, delivery_id, id) as (");
    query.push_values(padded(all), |mut row, it| {
        row.push_bind(it.map(|it| &it.endpoint))
            .push_bind(it.map(|it| &it.delivery))
            .push_bind(it.map(|it| &it.attempt));
    });
    query.push(") ");
    query
}

/// Those of these endpoints that have failed since their last success.
pub(super) async fn troubled(tx: &mut Tx, all: &[&Closing]) -> Result<HashSet<String>, sqlx::Error> {
    let endpoints: HashSet<&str> = all.iter().map(|it| it.line.endpoint.as_str()).collect();
    if endpoints.is_empty() {
        return Ok(HashSet::new());
    }
    let endpoints: Vec<&str> = endpoints.into_iter().collect();
    on_tx!(tx, conn => {
        let mut query = QueryBuilder::new("select endpoint_id from endpoint_trouble where endpoint_id in (");
        let mut ids = query.separated(", ");
        for endpoint in padded(&endpoints) {
            ids.push_bind(endpoint.copied());
        }
        query.push(")");
        Ok(query.build_query_scalar().fetch_all(conn).await?.into_iter().collect())
    })
}

/// Closes lines of POSTs that were answered with 2xx, and settles their deliveries. Where one is not as it should be, none is
/// closed, and each is tried alone.
pub(super) async fn close_all(tx: &mut Tx, all: &[&Closing]) -> Result<Vec<Closed>, sqlx::Error> {
    let Some(node) = all.first().map(|it| it.line.turn.node.to_string()) else { return Ok(Vec::new()) };
    let lines: Vec<&Opening> = all.iter().map(|it| &*it.line).collect();
    on_tx!(&mut *tx, conn => {
        let mut delete = keys(&lines);
        delete.push("delete from delivery_posts where (endpoint_id, delivery_id, id) in (select * from v)");
        all_there(delete.build().execute(&mut *conn).await?.rows_affected(), all.len())?;

        let mut log = QueryBuilder::new(
            "with v (delivery_id, id, attempt, at, ended_at, host, address, reused, status, duration_ms, dns_ms, connect_ms,
                     tls_ms, first_byte_ms, reply) as (",
        );
        log.push_values(padded(all), |mut row, it| {
            let (line, posted) = (it.map(|it| &it.line), it.map(|it| &it.posted));
            let steps = posted.map(|posted| &posted.steps);
            row.push_bind(line.map(|line| &line.delivery))
                .push_bind(line.map(|line| &line.attempt))
                .push_bind(line.map(|line| i64::from(line.turn.number)))
                .push_bind(line.map(|line| line.now.as_ms()))
                .push_bind(it.map(|it| it.now.as_ms()))
                .push_bind(line.map(|line| &*line.host))
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
        log.push(
            ") insert into delivery_attempts
                 (delivery_id, id, attempt, at, ended_at, node, host, address, reused, status, duration_ms, dns_ms, connect_ms,
                  tls_ms, first_byte_ms, reply)
               select delivery_id, id, attempt, at, ended_at, ",
        );
        log.push_bind(node);
        log.push(
            ", host, address, reused, status, duration_ms, dns_ms, connect_ms, tls_ms, first_byte_ms, reply
               from v where id is not null",
        );
        all_there(log.build().execute(&mut *conn).await?.rows_affected(), all.len())?;

        for (of, same) in &alike(all) {
            let mut settle = QueryBuilder::new("update deliveries set state = 'succeeded', next_at = null, last_status = ");
            settle.push_bind(of.status).push(", last_error = null, attempts = attempts + 1, updated_at = ");
            settle.push_bind(of.now.as_ms()).push(", settled_at = ").push_bind(of.now.as_ms());
            settle.push(", epoch = case when epoch > ").push_bind(of.epoch);
            settle.push(" then epoch else ").push_bind(of.epoch).push(" end where state <> 'succeeded' and id in (");
            let mut ids = settle.separated(", ");
            for delivery in padded(same) {
                ids.push_bind(delivery.copied());
            }
            settle.push(")");
            all_there(settle.build().execute(&mut *conn).await?.rows_affected(), same.len())?;
        }
    });
    Ok(all.iter().map(|_| Closed { moved: true, ..Closed::default() }).collect())
}

/// What deliveries that settle together have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alike {
    pub(super) status: Option<i64>,
    pub(super) epoch: i64,
    pub(super) now: Timestamp,
}

/// Deliveries that one statement settles: nearly always all of them. The last one's time is good for all.
pub(super) fn alike<'a>(all: &[&'a Closing]) -> BTreeMap<Alike, Vec<&'a str>> {
    let now = all.iter().map(|it| it.now).max().unwrap_or_default();
    let mut alike: BTreeMap<Alike, Vec<&str>> = BTreeMap::new();
    for it in all {
        let of = Alike { status: words(&it.posted.answer).0, epoch: it.line.turn.epoch, now };
        alike.entry(of).or_default().push(&it.line.delivery);
    }
    alike
}

/// Fewer rows than asked for: each is tried alone, and the one that is gone says so.
pub(super) fn all_there(rows: u64, asked: usize) -> Result<(), sqlx::Error> {
    if u64::try_from(asked).is_ok_and(|asked| asked == rows) { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}
