//! Reads the service's two files, from copies where it has been killed, so that looking never repairs what the service
//! itself has to.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use super::history::{Books, Delivery, Dump, Job};

pub(super) const QUEUE: &str = "queue.db";
pub(super) const DATA: &str = "tidemill.db";

const JOBS: &str = "select lower(hex(id)), queue, kind, state, attempt, crashes, epoch, lower(hex(holder)), started_at,
            finished_at,
            coalesce(case kind when 'webhook.received' then json_extract(payload, '$.event_id')
                               when 'stripe.event' then json_extract(payload, '$.event_id')
                               when 'webhook.fanout' then json_extract(payload, '$.id')
                               when 'webhook.deliver' then json_extract(payload, '$.message') end, '')
     from jobs";

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
pub(super) fn seen(folder: &Path, since: i64) -> Vec<Job> {
    let copy = copy(folder, QUEUE);
    let queue = Connection::open(copy.path().join(QUEUE)).unwrap();
    rows(&queue, &format!("{JOBS} where finished_at is null or finished_at >= {since}"), job)
}

/// Opens a file that the service has open too.
pub(super) fn beside(folder: &Path) -> Connection {
    let queue = Connection::open_with_flags(folder.join(QUEUE), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    queue.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    queue
}

/// The unfinished jobs now, while the service runs. By their indexes: a scan at every look would take the machine from
/// the service.
pub(super) fn unfinished(folder: &Path) -> Vec<Job> {
    let by = [("ready", "jobs_to_claim"), ("scheduled", "jobs_to_promote"), ("running", "jobs_to_rescue")];
    let sql = by.map(|(state, index)| format!("{JOBS} indexed by {index} where state = '{state}'")).join(" union all ");
    rows(&beside(folder), &sql, job)
}

/// Everything, at the end.
pub(super) fn read(folder: &Path) -> Dump {
    let (queue_copy, data_copy) = (copy(folder, QUEUE), copy(folder, DATA));
    let queue = Connection::open(queue_copy.path().join(QUEUE)).unwrap();
    let data = Connection::open(data_copy.path().join(DATA)).unwrap();
    let mut mirror: Books = rows(&data, "select id, status || ' ' || amount_minor from stripe_subscriptions", pair);
    let invoices = "select id, status || ' ' || amount_due || ' ' || amount_paid || ' ' || amount_remaining
                    from stripe_invoices";
    mirror.extend(rows::<Books, _>(&data, invoices, pair));
    Dump {
        jobs: rows(&queue, JOBS, job),
        counts: rows(&queue, "select queue, state, n from counts", |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?))),
        completed: rows(&queue, "select id, completed_total from queues", pair),
        alive: rows(&queue, "select lower(hex(incarnation)) from workers where state = 'alive'", |row| row.get(0)),
        events: rows(&data, "select event_id, outcome from webhook_events where source = 'stripe'", pair),
        endpoints: rows(&data, "select id from endpoints where state = 'enabled'", |row| row.get(0)),
        messages: rows(&data, "select id, event_id from messages", pair),
        deliveries: rows(&data, "select id, message_id, endpoint_id, state, attempts from deliveries", |row| {
            Ok(Delivery {
                id: row.get(0)?,
                message: row.get(1)?,
                endpoint: row.get(2)?,
                state: row.get(3)?,
                attempts: row.get(4)?,
            })
        }),
        attempts: rows(
            &data,
            "select delivery_id, coalesce(status between 200 and 299, 0) from delivery_attempts",
            pair,
        ),
        mirror,
        integrity: [(QUEUE, &queue), (DATA, &data)]
            .into_iter()
            .flat_map(|(name, file)| {
                let said: Vec<String> = rows(file, "pragma integrity_check", |row| row.get(0));
                said.into_iter().map(move |what| (name, what))
            })
            .collect(),
    }
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
