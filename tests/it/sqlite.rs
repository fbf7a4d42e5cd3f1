//! What only the embedded store has: a file that can be locked, full, read-only, damaged or of another version,
//! processes that share it, and a backlog that must cost nothing.

mod backlog;
mod opening;
mod processes;
mod small_disk;
mod trouble;
mod upkeep;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use tidemill::clock::{Clock, Entropy};
use tidemill::job::{Incarnation, JobId};
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{Beat, ListQuery, NewJob, Store, StoreError};

use crate::conformance::rig::{LEASE, START, job, list_all, settings, work};

/// A store's file and what opens it.
struct File {
    dir: TempDir,
    clock: Clock,
    entropy: Entropy,
}

impl File {
    fn new() -> Self {
        Self::in_dir(tempfile::tempdir().expect("a temporary directory"))
    }

    /// In memory where there is such a place: for what is measured in time, not in durability.
    fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self::in_dir(dir.expect("a temporary directory"))
    }

    fn in_dir(dir: TempDir) -> Self {
        Self { dir, clock: Clock::manual(START), entropy: Entropy::seeded(3) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("queue.db")
    }

    async fn try_open(&self, options: SqliteOptions) -> Result<Arc<dyn Store>, StoreError> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options, self.clock.clone()).await?);
        store.declare_queues(vec![settings("work")]).await?;
        Ok(store)
    }

    async fn open(&self) -> Arc<dyn Store> {
        self.try_open(SqliteOptions::at(self.path())).await.expect("open the store")
    }

    async fn refused(&self) -> StoreError {
        self.try_open(SqliteOptions::at(self.path())).await.expect_err("it must not open")
    }

    /// A look at the file from outside.
    fn outside(&self) -> Connection {
        Connection::open(self.path()).expect("open the file")
    }

    fn jobs(&self, n: usize) -> Vec<NewJob> {
        let new = || NewJob { id: JobId::new(self.clock.now(), &self.entropy), spec: job() };
        std::iter::repeat_with(new).take(n).collect()
    }

    async fn worker(&self, store: &Arc<dyn Store>) -> Incarnation {
        let incarnation = Incarnation::new(&self.entropy);
        let (queues, worker_now) = (vec![work()], self.clock.now());
        let beat = Beat { incarnation, label: "test".into(), queues, running: 0, lease: LEASE, worker_now };
        store.heartbeat(beat).await.expect("beat");
        incarnation
    }
}

async fn all(store: &Arc<dyn Store>) -> BTreeSet<JobId> {
    let query = ListQuery { limit: 200, ..ListQuery::default() };
    list_all(&**store, query).await.into_iter().map(|j| j.id).collect()
}
