//! Brings the journal into the file beside the writer, not in its way.
//!
//! SQLite does that inside of a commit: some milliseconds in which nobody's is made, several times a second under load. Here a thread
//! with a connection of its own copies what is there while commits go on, again until little is left, and the writer copies the
//! rest between two commits: only then, with nothing left, can the journal begin anew at its front. What fails is tried again with
//! the next; the journal keeps everything until then, and SQLite's own way acts when it has become long all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::super::failure::During;
use crate::store::StoreError;

/// The journal is brought into the file after so many pages (8 MiB): a page that changes with every claim is then written
/// there once for many commits, and a journal that has its length is written again from its front, which costs less than growth.
const BEGIN_AT: i64 = 2_048;
/// What the writer may copy itself: less than a millisecond's work.
const LEFT_TO_WRITER: i64 = 128;
/// Passes that the thread makes to come so far. Each is shorter than the one before, unless the disk is slower than the writer.
const PASSES: usize = 4;
/// The journal's length is looked at after so many commits.
const LOOK_EVERY: u32 = 16;

/// The thread, and what the writer knows of its work.
#[derive(Debug)]
pub(super) struct Journal {
    nudge: Option<SyncSender<()>>,
    copied: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    copying: bool,
    commits: u32,
}

impl Journal {
    /// Starts the thread. `conn` is its own.
    pub(super) fn start(conn: Connection) -> Result<Self, StoreError> {
        let (nudge, nudged) = sync_channel(1);
        let copied = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&copied);
        let thread = std::thread::Builder::new().name("tidemill-journal".into());
        let thread = thread
            .spawn(move || {
                for () in nudged {
                    copy(&conn);
                    done.store(true, Ordering::Release);
                }
            })
            .map_err(|e| StoreError::Unavailable { step: "start the journal's thread", detail: e.to_string() })?;
        Ok(Self { nudge: Some(nudge), copied, thread: Some(thread), copying: false, commits: 0 })
    }

    /// After a commit, when all have their answers. `conn` is the writer's.
    pub(super) fn tend(&mut self, conn: &Connection) {
        if self.copying {
            if self.copied.swap(false, Ordering::Acquire) {
                self.copying = false;
                note(checkpoint(conn, "passive"));
            }
            return;
        }
        self.commits = self.commits.wrapping_add(1);
        if !self.commits.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let long = matches!(checkpoint(conn, "noop"), Ok((all, _)) if all >= BEGIN_AT);
        // A thread that has ended leaves the work to SQLite's own way.
        self.copying = long && self.nudge.as_ref().is_some_and(|nudge| nudge.try_send(()).is_ok());
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.nudge.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Until little is left.
fn copy(conn: &Connection) {
    for _ in 0..PASSES {
        let done = checkpoint(conn, "passive");
        note(done.clone());
        match done.and_then(|_| checkpoint(conn, "noop")) {
            Ok((all, copied)) if all - copied > LEFT_TO_WRITER => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// How many pages the journal holds, and how many of them are in the file.
fn checkpoint(conn: &Connection, mode: &str) -> Result<(i64, i64), StoreError> {
    conn.prepare_cached(&format!("pragma wal_checkpoint({mode})"))
        .and_then(|mut sql| sql.query_row([], |row| Ok((row.get(1)?, row.get(2)?))))
        .during("bring the journal into the file")
}

fn note(done: Result<(i64, i64), StoreError>) {
    if let Err(error) = done {
        tracing::debug!(%error, "the journal stays as it is");
    }
}
