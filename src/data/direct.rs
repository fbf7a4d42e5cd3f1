//! The line's own connection to SQLite: statements run where they are made, one row at a time, prepared once.
//!
//! The driver hands each statement to a thread of its own and waits for the answer; a text for many rows is built anew each time.
//! What is written all the time goes past that. Whoever writes here holds the pool's one writing connection meanwhile, so that
//! this process's writers wait for each other as they always do, and not in SQLite.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

pub use rusqlite::{CachedStatement as Prepared, Error as DirectError, params as values};

/// Prepared statements that are kept.
const STATEMENTS: usize = 64;

/// A transaction over the line's own connection; undone when dropped without a commit.
#[derive(Debug)]
pub struct Direct<'a>(Transaction<'a>);

impl Direct<'_> {
    /// A statement, prepared once and kept. For the subset that Postgres speaks too this is not the place: it runs on SQLite alone.
    ///
    /// # Errors
    /// When it can't be prepared.
    pub fn prepare(&self, sql: &'static str) -> Result<Prepared<'_>, DirectError> {
        self.0.prepare_cached(sql)
    }

    pub(super) fn commit(self) -> Result<(), DirectError> {
        self.0.commit()
    }
}

/// The connection; `None` once it was closed.
#[derive(Debug)]
pub(super) struct Own(Mutex<Option<Connection>>);

impl Own {
    /// Opens the file, which is there already.
    pub(super) fn open(path: &Path, busy: Duration, checkpoint: u32) -> Result<Self, DirectError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(busy)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.pragma_update(None, "wal_autocheckpoint", checkpoint)?;
        conn.pragma_update(None, "temp_store", "memory")?;
        conn.pragma_update(None, "cache_size", -8_192)?;
        Ok(Self(Mutex::new(Some(conn))))
    }

    /// Runs `work` in a transaction that may write from its first statement on. The first error: it could not begin.
    pub(super) fn within<T>(&self, work: impl FnOnce(Direct<'_>) -> T) -> Result<T, DirectError> {
        let mut conn = self.lock();
        let conn = conn.as_mut().ok_or(DirectError::InvalidQuery)?;
        Ok(work(Direct(conn.transaction_with_behavior(TransactionBehavior::Immediate)?)))
    }

    pub(super) fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        // A transaction that a panic has left is undone on its way out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
