//! The baseline on SQLite: the least that a table can be used as a queue with, in one thread and one process.
//!
//! Each transaction deletes the 500 jobs of the one before and claims the next 500 with `returning`; WAL and
//! `synchronous=FULL`, as our store. No leases, retries, counters or retention: what those cost is the difference.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::machine;
use crate::measurement::Measurement;
use crate::payload::{Noop, Stage};
use crate::place::Place;
use crate::scenario::rate;

/// Its name in the results.
pub const NAME: &str = "sqlite-loop";
/// Jobs in one transaction.
const BATCH: u64 = 500;

/// One drain.
///
/// # Errors
/// When the file fails or a job is lost.
pub async fn drain(place: &Place, jobs: u64) -> anyhow::Result<Measurement> {
    let path = place.file().context("the plain loop needs a file")?.with_extension("loop");
    let stage = Stage::counting(jobs);
    let (file, counted) = (path.clone(), std::sync::Arc::clone(&stage));
    let work = move || {
        let mut conn = open(&file)?;
        fill(&mut conn, jobs)?;
        machine::reset_peak();
        let start = machine::resident();
        let begun = Instant::now();
        run(&mut conn, &counted)?;
        anyhow::Ok((start, begun.elapsed()))
    };
    let (start, took) = tokio::task::spawn_blocking(work).await??;
    stage.census.verdict()?;
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(format!("{}{suffix}", path.display())));
    }
    let mut line = Measurement::new("drain", NAME, &place.facts().await?, jobs).memory(start);
    line.per_second = Some(rate(jobs, took));
    line.batch = Some(BATCH);
    line.concurrency = Some(1);
    line.lost = Some(0);
    Ok(line)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.execute_batch(
        "create table jobs (id integer primary key, state text not null, payload text not null);
         create index ready on jobs (id) where state = 'ready';",
    )?;
    Ok(conn)
}

fn fill(conn: &mut Connection, jobs: u64) -> anyhow::Result<()> {
    for from in (0..jobs).step_by(1_000) {
        let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = txn.prepare_cached("insert into jobs (state, payload) values ('ready', ?1)")?;
            for i in from..(from + 1_000).min(jobs) {
                insert.execute([serde_json::to_string(&Noop::new(i))?])?;
            }
        }
        txn.commit()?;
    }
    Ok(())
}

fn run(conn: &mut Connection, stage: &Stage) -> anyhow::Result<()> {
    let mut running: Vec<i64> = Vec::new();
    loop {
        let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut delete = txn.prepare_cached("delete from jobs where id = ?1")?;
            for id in running.drain(..) {
                delete.execute([id])?;
            }
        }
        let claimed: Vec<(i64, String)> = txn
            .prepare_cached(
                "update jobs set state = 'running'
                 where id in (select id from jobs where state = 'ready' order by id limit ?1) returning id, payload",
            )?
            .query_map(params![BATCH], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        txn.commit()?;
        if claimed.is_empty() {
            return Ok(());
        }
        for (id, payload) in claimed {
            stage.enter(serde_json::from_str::<Noop>(&payload)?.i);
            running.push(id);
        }
    }
}
