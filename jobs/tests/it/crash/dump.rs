//! Reads the service's two files, from copies where it has been killed, so that looking never repairs what the service
//! itself has to; or, where its queue is in a Redis, that Redis' keys.

mod keys;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row};

use tidemill_testkit::RedisServer;

use super::history::{Books, Delivery, Dump, Job};

pub(super) const QUEUE: &str = "queue.db";
pub(super) const DATA: &str = "tidemill.db";

/// Where the service has its queue.
pub(super) enum Queue<'a> {
    /// In this folder.
    File(PathBuf),
    Server(&'a RedisServer),
}

const JOBS: &str = "select lower(hex(id)), (select name from queues where queues.id = jobs.queue), kind, state, attempt, crashes, epoch, lower(hex(holder)), started_at,
            finished_at,
            coalesce(case kind when 'webhook.received' then json_extract(payload, '$.event_id')
                               when 'stripe.event' then json_extract(payload, '$.event_id')
                               when 'webhook.fanout' then json_extract(payload, '$.id')
                               when 'webhook.deliver' then json_extract(payload, '$.message') end, '')
     from jobs";
/// What is written of a job once stands in a row of its own.
const BODIES: &str = "cross join bodies using (seq)";

/// Copies a file that no process has open, with its log.
pub(super) fn copy(from: &Path, file: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for part in [file.to_owned(), format!("{file}-wal")] {
        if from.join(&part).exists() {
            std::fs::copy(from.join(&part), to.path().join(&part)).unwrap();
        }
    }
    to
}

/// The unfinished jobs, and those that finished at or after `since`.
pub(super) fn seen(queue: Queue<'_>, since: i64) -> Vec<Job> {
    let folder = match queue {
        Queue::File(folder) => folder,
        Queue::Server(server) => return keys::jobs(server, |job| job.finished_at.is_none_or(|at| at >= since)),
    };
    let copy = copy(&folder, QUEUE);
    let queue = Connection::open(copy.path().join(QUEUE)).unwrap();
    rows(&queue, &format!("{JOBS} {BODIES} where finished_at is null or finished_at >= {since}"), job)
}

/// Opens a file that the service has open too.
pub(super) fn beside(folder: &Path) -> Connection {
    let queue = Connection::open_with_flags(folder.join(QUEUE), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    queue.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    queue
}

/// The unfinished jobs now, while the service runs. By their indexes: a scan at every look would take the machine from
/// the service.
pub(super) fn unfinished(queue: Queue<'_>) -> Vec<Job> {
    let folder = match queue {
        Queue::File(folder) => folder,
        Queue::Server(server) => return keys::jobs(server, |job| job.finished_at.is_none()),
    };
    let by = [("ready", "jobs_to_claim"), ("scheduled", "jobs_to_promote"), ("running", "jobs_to_rescue")];
    let sql = by.map(|(state, index)| format!("{JOBS} indexed by {index} {BODIES} where state = '{state}'"));
    let sql = sql.join(" union all ");
    rows(&beside(&folder), &sql, job)
}

/// Everything, at the end. `folder` has the database.
pub(super) fn read(queue: Queue<'_>, folder: &Path) -> Dump {
    let mut dump = Dump::default();
    match queue {
        Queue::File(folder) => read_queue(&folder, &mut dump),
        Queue::Server(server) => keys::read(server, &mut dump),
    }
    read_data(folder, &mut dump);
    dump
}

fn read_queue(folder: &Path, dump: &mut Dump) {
    let copy = copy(folder, QUEUE);
    let queue = Connection::open(copy.path().join(QUEUE)).unwrap();
    let counts = "select name, state, n from counts join queues on queues.id = counts.queue";
    dump.jobs = rows(&queue, &format!("{JOBS} {BODIES}"), job);
    dump.counts = rows(&queue, counts, |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)));
    dump.completed = rows(&queue, "select name, completed_total from queues", pair);
    dump.alive = rows(&queue, "select lower(hex(incarnation)) from workers where state = 'alive'", |row| row.get(0));
    dump.integrity.extend(integrity(QUEUE, &queue));
}

fn read_data(folder: &Path, dump: &mut Dump) {
    let copy = copy(folder, DATA);
    let data = Connection::open(copy.path().join(DATA)).unwrap();
    dump.mirror = rows(&data, "select id, status || ' ' || amount_minor from stripe_subscriptions", pair);
    let invoices = "select id, status || ' ' || amount_due || ' ' || amount_paid || ' ' || amount_remaining
                    from stripe_invoices";
    dump.mirror.extend(rows::<Books, _>(&data, invoices, pair));
    dump.events = rows(&data, "select event_id, outcome from webhook_events where source = 'stripe'", pair);
    dump.endpoints = rows(&data, "select id from endpoints where state = 'enabled'", |row| row.get(0));
    dump.messages = rows(&data, "select id, event_id from messages", pair);
    dump.deliveries = rows(&data, "select id, message_id, endpoint_id, state, attempts from deliveries", |row| {
        Ok(Delivery {
            id: row.get(0)?,
            message: row.get(1)?,
            endpoint: row.get(2)?,
            state: row.get(3)?,
            attempts: row.get(4)?,
        })
    });
    let attempts = "select delivery_id, coalesce(status between 200 and 299, 0) from delivery_attempts";
    dump.attempts = rows(&data, attempts, pair);
    dump.integrity.extend(integrity(DATA, &data));
}

fn integrity(name: &'static str, file: &Connection) -> Vec<(&'static str, String)> {
    let said: Vec<String> = rows(file, "pragma integrity_check", |row| row.get(0));
    said.into_iter().map(|what| (name, what)).collect()
}

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        id: row.get(0)?,
        queue: row.get(1)?,
        kind: row.get(2)?,
        state: row.get(3)?,
        attempt: row.get(4)?,
        crashes: row.get(5)?,
        epoch: row.get(6)?,
        holder: row.get::<_, Option<String>>(7)?.filter(|holder| !holder.is_empty()),
        started_at: row.get(8)?,
        finished_at: row.get(9)?,
        about: row.get(10)?,
    })
}

fn pair<A: rusqlite::types::FromSql, B: rusqlite::types::FromSql>(row: &Row<'_>) -> rusqlite::Result<(A, B)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn rows<C: FromIterator<T>, T>(file: &Connection, sql: &str, read: fn(&Row<'_>) -> rusqlite::Result<T>) -> C {
    let mut statement = file.prepare(sql).unwrap();
    statement.query_map([], read).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The sender's own state in the words of the mirror.
pub(super) fn books(account: &serde_json::Value) -> Books {
    let objects = |name: &str| account[name].as_object().cloned().unwrap_or_default();
    let mut books = BTreeMap::new();
    for (id, s) in objects("subscriptions") {
        let status = s["status"].as_str().unwrap();
        books.insert(id, format!("{status} {}", s["items"]["data"][0]["price"]["unit_amount"]));
    }
    for (id, i) in objects("invoices") {
        let status = i["status"].as_str().unwrap();
        books.insert(id, format!("{status} {} {} {}", i["amount_due"], i["amount_paid"], i["amount_remaining"]));
    }
    books
}
