//! Opens the file and makes sure of what the promises rest on: SQLite's version, WAL, `synchronous=FULL`, the schema.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::failure::During;
use super::room::LOG_MOST;
use crate::store::StoreError;

/// Before this version a race in WAL resets could lose committed writes.
const OLDEST_SQLITE: i32 = 3_051_003;
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENTS: usize = 128;

/// The schema's steps, in order; a file's `user_version` says how many it has.
const SCHEMA: [&str; 9] = [
    include_str!("../../../migrations/queue/sqlite/0001_queues.sql"),
    include_str!("../../../migrations/queue/sqlite/0002_jobs.sql"),
    include_str!("../../../migrations/queue/sqlite/0003_workers.sql"),
    include_str!("../../../migrations/queue/sqlite/0004_schedules.sql"),
    include_str!("../../../migrations/queue/sqlite/0005_shared.sql"),
    include_str!("../../../migrations/queue/sqlite/0006_cheap_checks.sql"),
    include_str!("../../../migrations/queue/sqlite/0007_leased_replies.sql"),
    include_str!("../../../migrations/queue/sqlite/0008_bodies.sql"),
    include_str!("../../../migrations/queue/sqlite/0009_running.sql"),
];
pub(super) const SCHEMA_VERSION: i64 = SCHEMA.len() as i64;

/// How to open the embedded store.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file.
    pub path: PathBuf,
    /// A job whose holders died so often is dead.
    pub crash_limit: u32,
    /// A running job may outlive its timeout by this before it is taken from a live worker.
    pub deadline_grace: Duration,
    /// Refuse to grow beyond so many pages of 4 KiB; `None`: only the disk limits it.
    pub max_pages: Option<u32>,
}

impl SqliteOptions {
    /// The shipped defaults for a file at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), crash_limit: 3, deadline_grace: Duration::from_secs(10), max_pages: None }
    }
}

/// The connection that writes; makes the file and its tables when there are none.
pub(super) fn writer(options: &SqliteOptions) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        let detail = format!("SQLite {} can lose committed writes; at least 3.51.3 is needed", rusqlite::version());
        return Err(StoreError::Fatal { detail });
    }
    let mut conn = connect(&options.path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    conn.pragma_update(None, "synchronous", "full").during("set synchronous=full")?;
    if let Some(pages) = options.max_pages {
        conn.query_row(&format!("pragma max_page_count = {pages}"), [], |_| Ok(())).during("set max_page_count")?;
    }
    create_schema(&mut conn)?;
    if conn.is_readonly(rusqlite::MAIN_DB).during("ask whether the file is read-only")? {
        return Err(StoreError::ReadOnly { detail: format!("{} can't be written", options.path.display()) });
    }
    read_back(&conn)?;
    Ok(conn)
}

/// The one beside the writer that brings the log into the file, and changes nothing else.
pub(super) fn checkpointer(path: &Path) -> Result<Connection, StoreError> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.pragma_update(None, "synchronous", "full").during("set synchronous=full")?;
    Ok(conn)
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.pragma_update(None, "query_only", true).during("set query_only")?;
    Ok(conn)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| StoreError::Unavailable {
        step: "open the queue file",
        detail: format!("{}: {e}", path.display()),
    })?;
    conn.busy_timeout(BUSY_TIMEOUT).during("set the busy timeout")?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    rusqlite::vtab::array::load_module(&conn).during("make room for lists in statements")?;
    switch_to_wal(&conn)?;
    // A plan must not depend on the values bound to it: without this every `limit ?` is planned anew each time.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).during("keep query plans")?;
    // What a savepoint may have to take back, else written to a file once it is more than a few pages.
    conn.pragma_update(None, "temp_store", "memory").during("keep temporary data in memory")?;
    // Whoever commits would do it, and all would wait: see checkpoint.rs.
    conn.pragma_update(None, "wal_autocheckpoint", 0).during("leave the log to the checkpoints")?;
    conn.pragma_update(None, "journal_size_limit", LOG_MOST).during("bound the journal")?;
    // Every commit walks the cache's table: a larger one costs more than what it spares.
    conn.pragma_update(None, "cache_size", -8_192).during("bound the page cache")?;
    Ok(conn)
}

/// SQLite does not wait by itself for another process that is switching a new file at the same moment.
fn switch_to_wal(conn: &Connection) -> Result<(), StoreError> {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut left = BUSY_TIMEOUT.as_millis() / PAUSE.as_millis();
    loop {
        match conn.pragma_update(None, "journal_mode", "wal") {
            Err(e) if left > 0 && e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                left -= 1;
                std::thread::sleep(PAUSE);
            }
            done => return done.during("set journal_mode=wal"),
        }
    }
}

fn create_schema(conn: &mut Connection) -> Result<(), StoreError> {
    let found = version(conn)?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    if found == 0 {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).during("begin making the tables")?;
        // Another process may have made them while this one waited for the lock.
        if version(&tx)? == 0 {
            for step in SCHEMA {
                tx.execute_batch(step).during("make the tables")?;
            }
            tx.pragma_update(None, "user_version", SCHEMA_VERSION).during("record the schema's version")?;
        }
        return tx.commit().during("commit the tables");
    }
    let advice = if found < SCHEMA_VERSION {
        "stop all Tidemill processes and run `tidemill migrate`"
    } else {
        "a newer Tidemill made it; use that version"
    };
    Err(StoreError::Schema { found, needed: SCHEMA_VERSION, advice })
}

/// Applies what the file is missing; how many steps that was.
///
/// # Errors
/// When the file is newer than this program, or a step fails (then none is kept).
pub fn migrate(path: &Path) -> Result<i64, StoreError> {
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).during("begin the migration")?;
    let found = version(&tx)?;
    let (Ok(done), true) = (usize::try_from(found), found <= SCHEMA_VERSION) else {
        let advice = "a newer Tidemill made it; use that version";
        return Err(StoreError::Schema { found, needed: SCHEMA_VERSION, advice });
    };
    for step in &SCHEMA[done..] {
        tx.execute_batch(step).during("migrate the tables")?;
    }
    tx.pragma_update(None, "user_version", SCHEMA_VERSION).during("record the schema's version")?;
    tx.commit().during("commit the migration")?;
    Ok(SCHEMA_VERSION - found)
}

fn version(conn: &Connection) -> Result<i64, StoreError> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0)).during("read the schema's version")
}

fn read_back(conn: &Connection) -> Result<(), StoreError> {
    let journal: String =
        conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).during("read journal_mode back")?;
    let synchronous: i64 =
        conn.pragma_query_value(None, "synchronous", |row| row.get(0)).during("read synchronous back")?;
    if journal != "wal" || synchronous != 2 {
        let detail = format!("journal_mode is {journal}, synchronous is {synchronous}; wal and 2 (full) are needed");
        return Err(StoreError::Fatal { detail });
    }
    Ok(())
}
