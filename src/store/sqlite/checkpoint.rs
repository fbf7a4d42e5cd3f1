//! Brings the write-ahead log into the file, most of it beside the writer.
//!
//! SQLite lets whoever commits do that, and everybody waits meanwhile: five milliseconds and more each time, many times a
//! second under load. Here a thread with a connection of its own copies what stands in the log while the writer goes on behind
//! it, and the writer copies the little that has come since, after which the log begins anew. A log that grows faster than
//! that, or a disk with little room, makes the writer do it all. A failed fsync is told and never tried over.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::failure::During as _;
use crate::store::StoreError;

/// From so many pages on (8 MiB) the log is copied: a page that changes with every claim is then written to the file once for
/// many commits, and a log that has its length is written again from its front, which costs less than growth.
pub(super) const PAGES: i64 = 2_048;

thread_local! {
    /// Pages in the log after this thread's last commit: SQLite tells a function that can't be given anything.
    static IN_LOG: Cell<i64> = const { Cell::new(0) };
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// None: the thread is to end.
    ask: Option<SyncSender<()>>,
    done: Receiver<Result<(), StoreError>>,
    thread: Option<JoinHandle<()>>,
    /// The thread is copying.
    copies: bool,
    /// The log is left alone below this.
    next_at: i64,
}

impl Checkpoints {
    /// Starts the thread, which works on `beside`.
    pub(super) fn start(beside: Connection) -> Result<Self, StoreError> {
        let (ask, asked) = sync_channel::<()>(1);
        let (tell, done) = channel();
        let thread = std::thread::Builder::new().name("tidemill-checkpoint".into());
        let thread = thread
            .spawn(move || while asked.recv().is_ok() && tell.send(copy(&beside)).is_ok() {})
            .map_err(|e| StoreError::Unavailable { step: "start the checkpoint thread", detail: e.to_string() })?;
        Ok(Self { ask: Some(ask), done, thread: Some(thread), copies: false, next_at: PAGES })
    }

    /// Has SQLite tell the length of the log after each commit of `conn`, and do nothing about it.
    pub(super) fn watch(conn: &Connection) {
        // It takes the place of `wal_autocheckpoint`, which must not be set on this connection again.
        conn.wal_hook(Some(|_, pages| {
            IN_LOG.set(pages.into());
            Ok(())
        }));
    }

    /// Looks at the log after a commit of `conn`, in its thread. The log may have `most` pages. An error is fatal.
    pub(super) fn look(&mut self, conn: &Connection, most: i64) -> Result<(), StoreError> {
        let pages = IN_LOG.get();
        if self.copies {
            let copied = if pages < most { self.done.try_recv() } else { self.done.recv().map_err(Into::into) };
            match copied {
                Ok(copied) => {
                    self.copies = false;
                    fatal(copied)?;
                    return self.finish(conn, pages);
                }
                Err(TryRecvError::Empty) => {}
                // A panic there is no reason to stop: all of it is done here from now on.
                Err(TryRecvError::Disconnected) => (self.copies, self.ask) = (false, None),
            }
        } else if pages >= most {
            return self.finish(conn, pages);
        } else if pages >= self.next_at {
            self.copies = self.ask.as_ref().is_some_and(|ask| ask.try_send(()).is_ok());
            if !self.copies {
                return self.finish(conn, pages);
            }
        } else if pages < PAGES {
            self.next_at = PAGES;
        }
        Ok(())
    }

    /// Copies what is left. What a reader holds up is looked at again when as much has come as would be copied at once.
    fn finish(&mut self, conn: &Connection, pages: i64) -> Result<(), StoreError> {
        self.next_at = pages + PAGES;
        fatal(copy(conn))
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Copies what no reader needs where it is. Waits for nobody.
fn copy(conn: &Connection) -> Result<(), StoreError> {
    conn.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())).during("bring the write-ahead log into the file")
}

/// What is not fatal is tried again with the next commits: another process may be at it, or the disk may be full.
fn fatal(copied: Result<(), StoreError>) -> Result<(), StoreError> {
    match copied {
        Err(error @ StoreError::Fatal { .. }) => Err(error),
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::debug!(%error, "the write-ahead log could not be brought into the file");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::room::PAGES_MOST;
    use super::super::{SqliteOptions, open};
    use super::*;

    /// A writer whose commits have 100 pages and a few.
    struct Writer {
        conn: Connection,
        checkpoints: Checkpoints,
        dir: tempfile::TempDir,
    }

    impl Writer {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let options = SqliteOptions::at(dir.path().join("queue.db"));
            let (conn, beside) = (open::writer(&options).unwrap(), open::checkpointer(&options.path).unwrap());
            conn.execute_batch("create table large (n integer primary key, filler blob not null)").unwrap();
            Checkpoints::watch(&conn);
            Self { conn, checkpoints: Checkpoints::start(beside).unwrap(), dir }
        }

        /// The length of the log after a commit, before anybody looks at it.
        fn commit(&mut self, most: i64) -> i64 {
            self.conn.execute("insert into large (filler) values (zeroblob(409600))", []).unwrap();
            let pages = IN_LOG.get();
            self.checkpoints.look(&self.conn, most).unwrap();
            pages
        }

        fn rows(&self) -> i64 {
            let fresh = open::reader(&self.dir.path().join("queue.db")).unwrap();
            fresh.query_row("select count(*) from large", [], |row| row.get(0)).unwrap()
        }
    }

    #[test]
    fn the_log_begins_anew_while_somebody_writes_on_and_never_grows_beyond_its_bound() {
        let mut writer = Writer::new();
        let logs: Vec<i64> = (0..300).map(|_| writer.commit(PAGES_MOST)).collect();
        let anew = logs.windows(2).filter(|two| two[1] < two[0]).count();
        assert!(anew >= 3, "it began anew {anew} times: {logs:?}");
        assert!(logs.iter().all(|pages| *pages < PAGES_MOST + 200), "{logs:?}");
        assert_eq!(writer.rows(), 300);
    }

    #[test]
    fn with_little_room_each_commit_brings_the_log_in() {
        let mut writer = Writer::new();
        let logs: Vec<i64> = (0..10).map(|_| writer.commit(32)).collect();
        assert!(logs.iter().all(|pages| *pages < 200), "{logs:?}");
        assert_eq!(writer.rows(), 10);
    }

    #[test]
    fn a_reader_holds_the_log_up_until_it_has_read() {
        let mut writer = Writer::new();
        let reader = open::reader(&writer.dir.path().join("queue.db")).unwrap();
        let snapshot = reader.unchecked_transaction().unwrap();
        let before: i64 = snapshot.query_row("select count(*) from large", [], |row| row.get(0)).unwrap();
        let held: Vec<i64> = (0..100).map(|_| writer.commit(PAGES_MOST)).collect();
        assert!(held.is_sorted() && held.last().is_some_and(|pages| *pages > PAGES_MOST), "{held:?}");
        let after: i64 = snapshot.query_row("select count(*) from large", [], |row| row.get(0)).unwrap();
        assert_eq!((before, after), (0, 0), "a snapshot stays what it was");
        drop(snapshot);
        let freed: Vec<i64> = (0..60).map(|_| writer.commit(PAGES_MOST)).collect();
        assert!(freed.iter().any(|pages| *pages < PAGES), "{freed:?}");
        assert_eq!(writer.rows(), 160);
    }

    #[test]
    fn a_thread_that_has_died_leaves_the_log_to_the_writer() {
        let mut writer = Writer::new();
        let (ask, asked) = sync_channel(1);
        drop(asked);
        writer.checkpoints.ask = Some(ask);
        let logs: Vec<i64> = (0..60).map(|_| writer.commit(PAGES_MOST)).collect();
        assert!(logs.iter().all(|pages| *pages < PAGES + 200), "{logs:?}");
    }
}
