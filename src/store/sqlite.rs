//! The embedded store: one SQLite file, one writing thread, a few readers.
//!
//! Guarantees the contract of [`crate::store`] with WAL and `synchronous=FULL`: what was acknowledged survives the
//! process and the power, if the disk keeps what it says it has synced. Several processes may share the file on one
//! machine. Statements live in the files below, one subject each; this file only says which is which.

mod checkpoint;
mod claim;
mod enqueue;
mod failure;
mod inspect;
mod limits;
mod list;
mod open;
mod operate;
mod room;
mod row;
mod settle;
mod shared;
mod ticks;
mod txn;
mod upkeep;
mod workers;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Notify, Semaphore};

pub use self::open::{SqliteOptions, migrate};

use self::claim::ClaimRequest;
use self::failure::During;
use self::txn::{Rules, Txn};
use self::writer::Writer;
use super::shared::PROBE_FOR;
use super::{
    BATCH_MAX, Beat, BeatReply, BreakerState, Budget, Cancel, Claimed, Counts, Enqueued, HistoryEntry, LeaseToken,
    ListQuery, LogLine, NewJob, Page, Promoted, Pruned, QueueSettings, RateDecision, RateLimit, RememberedReply,
    Rescued, Reservation, RetryDead, ScheduleChange, ScheduleDeclaration, ScheduleRecord, Settled, Settlement, Store,
    StoreError, StoreHealth, Tick, Ticked, Verdict, WhyNot, WorkerRecord,
};
use crate::clock::{Clock, Timestamp};
use crate::job::{DeadReason, Incarnation, JobId, JobRecord, Progress, QueueName};

const READERS: usize = 3;

/// Jobs in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: Arc<Readers>,
    clock: Clock,
    due: Arc<Notify>,
    path: PathBuf,
}

#[derive(Debug)]
struct Readers {
    free: Arc<Semaphore>,
    connections: Mutex<Vec<Connection>>,
}

impl SqliteStore {
    /// Opens the file, or makes it with its tables. `clock` is the store's clock: it decides leases and due times.
    ///
    /// # Errors
    /// When the file can't be written, is of another schema version, or SQLite can't promise durability.
    pub async fn open(options: SqliteOptions, clock: Clock) -> Result<Self, StoreError> {
        let path = options.path.clone();
        let due = Arc::new(Notify::new());
        let (opened_clock, opened_due) = (clock.clone(), Arc::clone(&due));
        let opening = tokio::task::spawn_blocking(move || {
            let rules = Rules {
                crash_limit: options.crash_limit.max(1),
                deadline_grace_ms: i64::try_from(options.deadline_grace.as_millis()).unwrap_or(i64::MAX / 4),
            };
            let (conn, beside) = (open::writer(&options)?, open::checkpointer(&options.path)?);
            let writer = Writer::start(conn, beside, opened_clock, rules, opened_due)?;
            let connections = (0..READERS).map(|_| open::reader(&options.path)).collect::<Result<Vec<_>, _>>()?;
            Ok((writer, connections))
        });
        let (writer, connections) = opening.await.map_err(|e| lost("open the store", &e))??;
        let readers =
            Arc::new(Readers { free: Arc::new(Semaphore::new(READERS)), connections: Mutex::new(connections) });
        Ok(Self { writer, readers, clock, due, path })
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnMut(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.writer.write(work).await
    }

    /// Settles one by one, so that a verdict that can't be written holds nobody else up: its job is dead and says why.
    async fn settle_each(&self, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let mut settled = Vec::with_capacity(batch.len());
        for Settlement { lease, verdict } in batch {
            let (token, verdict) = (lease.token(), verdict.clone());
            let done = match self.write(move |txn| settle::settle_one(txn, token, &verdict)).await {
                Err(StoreError::Corrupt { place, detail }) => {
                    let error = format!("its end could not be written ({place}: {detail})");
                    let dead = Verdict::Dead { reason: DeadReason::Permanent, error };
                    self.write(move |txn| settle::settle_one(txn, token, &dead)).await
                }
                done => done,
            };
            settled.push(done?);
        }
        Ok(settled)
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let pool = Arc::clone(&self.readers);
        let place = Arc::clone(&pool.free).acquire_owned().await.map_err(|_| closed())?;
        let reading = tokio::task::spawn_blocking(move || {
            // Held here and not by the caller, who may go away while the connection is out.
            let _place = place;
            let conn = pool.connections.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or_else(closed)?;
            // One snapshot for all statements of a question.
            let result = conn.unchecked_transaction().during("begin reading").and_then(|snapshot| work(&snapshot));
            pool.connections.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            result
        });
        reading.await.map_err(|e| lost("read", &e))?
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable { step: "read", detail: "the store was closed".into() }
}

fn lost(step: &'static str, error: &tokio::task::JoinError) -> StoreError {
    StoreError::Unavailable { step, detail: error.to_string() }
}

fn bounded(what: &'static str, len: usize) -> Result<(), StoreError> {
    if len > BATCH_MAX { Err(StoreError::TooMany { what, len, max: BATCH_MAX }) } else { Ok(()) }
}

fn batch(limit: u32) -> u32 {
    limit.clamp(1, u32::try_from(BATCH_MAX).unwrap_or(u32::MAX))
}

#[async_trait]
impl Store for SqliteStore {
    async fn declare_queues(&self, queues: Vec<QueueSettings>) -> Result<(), StoreError> {
        bounded("the list of queues", queues.len())?;
        self.write(move |txn| queues.iter().try_for_each(|queue| txn.declare(queue))).await
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreError> {
        bounded("the batch", jobs.len())?;
        let jobs = Arc::new(jobs);
        // Who made the jobs frees them: the one writer has enough to do.
        let written = Arc::clone(&jobs);
        let done = self.write(move |txn| enqueue::enqueue_all(txn, &written)).await;
        drop(jobs);
        done
    }

    async fn claim(
        &self,
        queue: &QueueName,
        worker: Incarnation,
        n: u32,
        wait: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.writer.claim(ClaimRequest { queue: queue.clone(), worker, n }, wait).await
    }

    async fn settle(&self, batch: Arc<[Settlement]>) -> Result<Vec<Settled>, StoreError> {
        bounded("the batch", batch.len())?;
        let whole = Arc::clone(&batch);
        match self.writer.write_settlements(move |txn| settle::settle_all(txn, &whole)).await {
            Err(StoreError::Corrupt { .. }) => self.settle_each(&batch).await,
            settled => settled,
        }
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, StoreError> {
        let who = beat.incarnation;
        let beaten = self.writer.write_first(move |txn| workers::heartbeat(txn, &beat)).await?;
        beaten.ok_or(StoreError::DeadIncarnation(who))
    }

    async fn sign_off(&self, worker: Incarnation) -> Result<Rescued, StoreError> {
        self.write(move |txn| workers::sign_off(txn, worker)).await
    }

    async fn progress(&self, lease: LeaseToken, progress: Progress) -> Result<bool, StoreError> {
        self.write(move |txn| settle::progress(txn, lease, &progress)).await
    }

    async fn log(&self, lease: LeaseToken, lines: Vec<String>) -> Result<bool, StoreError> {
        bounded("the list of lines", lines.len())?;
        self.write(move |txn| settle::log(txn, lease, &lines)).await
    }

    async fn rescue(&self, limit: u32) -> Result<Rescued, StoreError> {
        self.write(move |txn| workers::rescue(txn, batch(limit))).await
    }

    async fn promote(&self, limit: u32) -> Result<Promoted, StoreError> {
        self.write(move |txn| upkeep::promote(txn, batch(limit))).await
    }

    async fn prune(&self, limit: u32) -> Result<Pruned, StoreError> {
        self.write(move |txn| upkeep::prune(txn, batch(limit))).await
    }

    fn due_signal(&self) -> Arc<Notify> {
        Arc::clone(&self.due)
    }

    async fn cancel(&self, job: JobId, reason: &str) -> Result<Cancel, StoreError> {
        let reason = reason.to_owned();
        self.write(move |txn| operate::cancel(txn, job, &reason)).await
    }

    async fn retry(&self, job: JobId) -> Result<RetryDead, StoreError> {
        self.write(move |txn| operate::retry(txn, job)).await
    }

    async fn delete(&self, job: JobId) -> Result<(), StoreError> {
        self.write(move |txn| operate::delete(txn, job)).await
    }

    async fn pause(&self, queue: &QueueName) -> Result<bool, StoreError> {
        let queue = queue.clone();
        self.write(move |txn| operate::set_paused(txn, &queue, true)).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<bool, StoreError> {
        let queue = queue.clone();
        self.write(move |txn| operate::set_paused(txn, &queue, false)).await
    }

    async fn purge(&self, queue: &QueueName, limit: u32) -> Result<u32, StoreError> {
        let queue = queue.clone();
        self.write(move |txn| operate::purge(txn, &queue, batch(limit))).await
    }

    async fn drain_worker(&self, worker: Incarnation) -> Result<(), StoreError> {
        self.write(move |txn| operate::drain(txn, worker)).await
    }

    async fn get(&self, job: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.read(move |conn| inspect::get(conn, job)).await
    }

    async fn logs(&self, job: JobId) -> Result<Vec<LogLine>, StoreError> {
        self.read(move |conn| inspect::logs(conn, job)).await
    }

    async fn list(&self, query: ListQuery) -> Result<Page, StoreError> {
        self.read(move |conn| list::list(conn, &query)).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        let now = self.clock.now();
        self.read(move |conn| inspect::counts(conn, now)).await
    }

    async fn explain(&self, job: JobId) -> Result<WhyNot, StoreError> {
        let now = self.clock.now();
        self.read(move |conn| inspect::explain(conn, job, now)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        self.read(inspect::workers).await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        // Through the writer: a store that can only be read is not healthy.
        self.write(|txn| txn.sql("select 1")?.query_row([], |_| Ok(())).during("make a round trip")).await?;
        let promise = format!(
            "SQLite {} at {}: an acknowledged job survives a crash of the process and of the machine (WAL, synchronous=FULL)",
            rusqlite::version(),
            self.path.display()
        );
        Ok(StoreHealth { store: "sqlite", promise, schema: open::SCHEMA_VERSION })
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    async fn declare_schedules(&self, schedules: Vec<ScheduleDeclaration>) -> Result<(), StoreError> {
        bounded("the list of schedules", schedules.len())?;
        self.write(move |txn| schedules.iter().try_for_each(|schedule| ticks::declare(txn, schedule))).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.read(ticks::list).await
    }

    async fn tick(&self, tick: Tick) -> Result<Ticked, StoreError> {
        self.write(move |txn| ticks::tick(txn, &tick)).await
    }

    async fn change_schedule(&self, name: &str, change: ScheduleChange, by: &str) -> Result<bool, StoreError> {
        let (name, by) = (name.to_owned(), by.to_owned());
        self.write(move |txn| ticks::change(txn, &name, &change, &by)).await
    }

    async fn schedule_history(&self, name: &str) -> Result<Vec<HistoryEntry>, StoreError> {
        let name = name.to_owned();
        self.read(move |conn| ticks::history(conn, &name)).await
    }

    async fn cache_get(&self, tenant: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let (tenant, key, now) = (tenant.to_owned(), key.to_owned(), self.clock.now());
        self.read(move |conn| shared::cache_get(conn, &tenant, &key, now)).await
    }

    async fn cache_put(&self, tenant: &str, key: &str, value: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        let (tenant, key) = (tenant.to_owned(), key.to_owned());
        self.write(move |txn| shared::cache_put(txn, &tenant, &key, &value, ttl)).await
    }

    async fn cache_delete(&self, tenant: &str, key: &str) -> Result<(), StoreError> {
        let (tenant, key) = (tenant.to_owned(), key.to_owned());
        self.write(move |txn| shared::cache_delete(txn, &tenant, &key)).await
    }

    async fn take(&self, key: &str, limit: RateLimit, cost: u32) -> Result<RateDecision, StoreError> {
        let key = key.to_owned();
        self.write(move |txn| limits::take(txn, &key, limit, cost)).await
    }

    async fn budget(&self, key: &str, limit: RateLimit) -> Result<Budget, StoreError> {
        let (key, now) = (key.to_owned(), self.clock.now());
        self.read(move |conn| limits::budget(conn, &key, limit, now)).await
    }

    async fn reserve(
        &self,
        scope: &str,
        key: &str,
        fingerprint: &[u8],
        lease: Duration,
        ttl: Duration,
    ) -> Result<Reservation, StoreError> {
        let (scope, key, fingerprint) = (scope.to_owned(), key.to_owned(), fingerprint.to_vec());
        self.write(move |txn| shared::reserve(txn, &scope, &key, &fingerprint, (lease, ttl))).await
    }

    async fn remember(&self, scope: &str, key: &str, reply: RememberedReply) -> Result<(), StoreError> {
        let (scope, key) = (scope.to_owned(), key.to_owned());
        self.write(move |txn| shared::remember(txn, &scope, &key, &reply)).await
    }

    async fn release(&self, scope: &str, key: &str) -> Result<(), StoreError> {
        let (scope, key) = (scope.to_owned(), key.to_owned());
        self.write(move |txn| shared::release(txn, &scope, &key)).await
    }

    async fn breaker(&self, name: &str) -> Result<BreakerState, StoreError> {
        let name = name.to_owned();
        self.write(move |txn| shared::breaker(txn, &name, PROBE_FOR)).await
    }

    async fn breaker_report(
        &self,
        name: &str,
        ok: bool,
        threshold: u32,
        cooldown: Duration,
    ) -> Result<BreakerState, StoreError> {
        let name = name.to_owned();
        self.write(move |txn| shared::report(txn, &name, ok, threshold, cooldown)).await
    }

    async fn breaker_reset(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |txn| shared::reset(txn, &name)).await
    }
}
