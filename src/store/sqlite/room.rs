//! How much of the disk the write-ahead log may take, so that it can always be brought into the file beside it.
//!
//! Its pages leave the log only when all of them have found room in the file, which may have to grow by as much. On a disk
//! with little left, a log of the usual length would wait for that room for ever, and hold its own meanwhile. So the log is
//! brought in once it has taken a quarter of what is free, and gives back what it has beyond. What one transaction writes is
//! not bounded by this: the disk must have its room twice.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::fs::statvfs;

use super::checkpoint::PAGES;
use super::failure::During as _;
use crate::store::StoreError;

/// The log has no more pages than this (32 MiB) when a transaction begins.
pub(super) const PAGES_MOST: i64 = 4 * PAGES;
/// Below this each commit would bring it in.
const PAGES_LEAST: i64 = 32;
const PAGE: u64 = 4_096;
/// A page in the log has a head of 24 bytes.
const FRAME: i64 = 4_120;
/// A log that readers have held up is cut to this when it begins anew, where there is plenty of room.
pub(super) const LOG_MOST: i64 = 64 << 20;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A reader that is in the way of cutting the log is not waited for: the next round tries again.
const NO_WAIT: Duration = Duration::from_millis(10);

/// What the writer's connection has been told.
#[derive(Debug)]
pub(super) struct Room {
    pages: i64,
    looked: Option<Instant>,
}

impl Room {
    /// As the connection was opened.
    pub(super) fn new() -> Self {
        Self { pages: PAGES_MOST, looked: None }
    }

    /// How many pages the log may have.
    pub(super) fn pages(&self) -> i64 {
        self.pages
    }

    /// Looks at the disk, once a second, and tells the connection when it has changed much.
    pub(super) fn look(&mut self, conn: &Connection) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let Some(free) = conn.path().and_then(|path| statvfs(path).ok()) else { return };
        let pages = pages_beside(free.f_bavail.saturating_mul(free.f_frsize));
        if pages != self.pages {
            self.tell(conn, pages);
        }
    }

    /// After a write that found no room: brings the log into the file and cuts it, so that space that came back is not eaten by
    /// the log again. An error is fatal.
    pub(super) fn make(&mut self, conn: &Connection, busy: Duration) -> Result<(), StoreError> {
        self.looked = None;
        self.look(conn);
        let moved = conn.busy_timeout(NO_WAIT).and_then(|()| {
            conn.query_row("pragma wal_checkpoint(truncate)", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })
        });
        let waits_again = conn.busy_timeout(busy);
        tracing::debug!(
            ?moved,
            ?waits_again,
            pages = self.pages,
            "the disk was full; tried to begin the write-ahead log anew"
        );
        match moved.during("bring the write-ahead log into the file") {
            Err(fatal @ StoreError::Fatal { .. }) => Err(fatal),
            // It may be refused for the very lack of room, or because somebody reads: the next round tries again.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn tell(&mut self, conn: &Connection, pages: i64) {
        let log = if pages == PAGES_MOST { LOG_MOST } else { pages * FRAME };
        match conn.pragma_update(None, "journal_size_limit", log) {
            Ok(()) => self.pages = pages,
            Err(error) => tracing::warn!(%error, pages, "the length of the write-ahead log can't be set"),
        }
    }
}

/// A quarter of what is free, in steps of a power of two.
fn pages_beside(free: u64) -> i64 {
    let quarter = i64::try_from(free / 4 / PAGE).unwrap_or(i64::MAX).clamp(PAGES_LEAST, PAGES_MOST);
    // The largest power of two that is not above it.
    1 << quarter.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_may_take_a_quarter_of_what_is_free_and_32_mebibytes_at_most() {
        let mebi = |n: u64| n << 20;
        let cases = [
            (0, 32),
            (mebi(1), 64),
            (mebi(4), 256),
            (mebi(16), 1_024),
            (mebi(31), 1_024),
            (mebi(32), 2_048),
            (mebi(127), 4_096),
        ];
        for (free, pages) in cases.into_iter().chain([(mebi(128), 8_192), (mebi(1 << 20), 8_192), (u64::MAX, 8_192)]) {
            assert_eq!(pages_beside(free), pages, "{free}");
        }
    }
}
