//! The shared store: one Redis (alone, behind Sentinel, or one slot of a Cluster), used by any number of processes.
//!
//! Guarantees the contract of [`crate::store`]. Every change is one script that checks everything before its first write and
//! takes the time from the server. All keys share one hash tag, so that a job, its unique key, its children on other queues and
//! its holder's life are judged in one step. What survives a crash is what the server promises; it is read at each
//! connection, and one that promises less than `durability` is refused. Keys are listed in `lua/base.lua`.

mod address;
mod driver;
mod failure;
mod gather;
mod inspect;
mod jobs;
mod limits;
mod link;
mod list;
mod memory;
mod operate;
mod pack;
mod parts;
mod promise;
mod prune;
mod runs;
mod script;
mod settle;
mod shared;
mod ticks;
mod wake;
mod wire;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

pub use self::address::{InvalidAddress, RedisAddress};

use self::gather::Gather;
use self::jobs::Tickets;
use self::link::Link;
use self::memory::Memory;
use self::pack::Seen;
use self::parts::Parts;
use self::wake::Wakes;
use super::{
    BATCH_MAX, Beat, BeatReply, BreakerState, Budget, Cancel, Claimed, Counts, Enqueued, HistoryEntry, LeaseToken,
    ListQuery, LogLine, NewJob, Page, Promoted, Pruned, QueueSettings, RateDecision, RateLimit, RememberedReply,
    Rescued, Reservation, RetryDead, ScheduleChange, ScheduleDeclaration, ScheduleRecord, Settled, Settlement, Store,
    StoreError, StoreHealth, StoreRules, Tick, Ticked, WhyNot, WorkerRecord,
};
use crate::clock::{Clock, Entropy, Timestamp};
use crate::job::{Incarnation, JobId, JobRecord, Progress, QueueName};

/// The layout of keys and records.
const SCHEMA_VERSION: i64 = 3;
/// Those that are read as they are, and that this Tidemill adds to.
const SCHEMAS_BEFORE: std::ops::RangeInclusive<i64> = 1..=2;

/// Which server, and what is asked of it.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where it is.
    pub address: RedisAddress,
    /// What every store is told.
    pub rules: StoreRules,
}

/// Jobs in a Redis.
#[derive(Debug)]
pub struct RedisStore {
    link: Arc<Link>,
    gather: Arc<Gather>,
    tickets: Arc<Tickets>,
    packs: Arc<Seen>,
    memory: Memory,
    tasks: TaskTracker,
    rules: StoreRules,
}

impl RedisStore {
    /// Connects and checks what the server promises. The server's clock decides leases and due times; a `clock` turned by hand
    /// takes its place.
    ///
    /// # Errors
    /// When it can't be reached, or promises less than asked.
    pub async fn open(options: RedisOptions, clock: Clock) -> Result<Self, StoreError> {
        let RedisOptions { address, rules } = options;
        let link = Arc::new(Link::new(address, rules.durability, clock, Arc::new(Wakes::default()))?);
        let mut first = [0; 8];
        Entropy::system().fill(&mut first);
        let tickets = Arc::new(Tickets::from(u64::from_le_bytes(first)));
        let tasks = TaskTracker::new();
        let gather = Gather::new(Arc::clone(&link), tasks.clone());
        let packs = Arc::new(Seen::default());
        let store = Self { link, gather, tickets, packs, memory: Memory::default(), tasks, rules };
        store.check_schema().await?;
        Ok(store)
    }

    /// The layout's version: the first to come writes it, all others must know it.
    async fn check_schema(&self) -> Result<(), StoreError> {
        let step = "check the layout's version";
        let key = format!("{}schema", self.link.prefix());
        let set = redis::cmd("SET").arg(&key).arg(SCHEMA_VERSION).arg("NX").to_owned();
        // A server that is full or read-only for now may hold jobs to be finished all the same.
        match self.link.send(step, &set).await {
            Ok(_) | Err(StoreError::Full { .. }) => {}
            Err(error) => return Err(error),
        }
        let found = self.link.send(step, redis::cmd("GET").arg(&key)).await?;
        match redis::from_redis_value::<Option<i64>>(found) {
            Ok(Some(SCHEMA_VERSION) | None) => Ok(()),
            // Whoever wrote it must not come back: it would not see what this one writes.
            Ok(Some(found)) if SCHEMAS_BEFORE.contains(&found) => {
                match self.link.send(step, redis::cmd("SET").arg(&key).arg(SCHEMA_VERSION)).await {
                    Ok(_) | Err(StoreError::Full { .. }) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Ok(Some(found)) => {
                let advice = "run the Tidemill that wrote it, or take another namespace";
                Err(StoreError::Schema { found, needed: SCHEMA_VERSION, advice })
            }
            Err(e) => Err(StoreError::Corrupt { place: key, detail: e.to_string() }),
        }
    }

    fn grace_ms(&self) -> u64 {
        wire::millis(self.rules.deadline_grace)
    }
}

/// Passes on what a script has to say to this process; others hear it by message.
fn told(link: &Link, mut parts: Parts) {
    while let Some(message) = parts.next_bytes() {
        link.wakes().ring(&message);
    }
}

fn bounded(what: &'static str, len: usize) -> Result<(), StoreError> {
    if len > BATCH_MAX { Err(StoreError::TooMany { what, len, max: BATCH_MAX }) } else { Ok(()) }
}

fn batch(limit: u32) -> u32 {
    limit.clamp(1, u32::try_from(BATCH_MAX).unwrap_or(u32::MAX))
}

#[async_trait]
impl Store for RedisStore {
    async fn declare_queues(&self, queues: Vec<QueueSettings>) -> Result<(), StoreError> {
        bounded("the list of queues", queues.len())?;
        self.declare(&queues).await
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreError> {
        bounded("the batch", jobs.len())?;
        self.enqueue_batch(jobs).await
    }

    async fn claim(
        &self,
        queue: &QueueName,
        worker: Incarnation,
        n: u32,
        wait: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.claim_waiting(queue, worker, n, wait).await
    }

    async fn settle(&self, batch: Arc<[Settlement]>) -> Result<Vec<Settled>, StoreError> {
        bounded("the batch", batch.len())?;
        self.settle_batch(&batch).await
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, StoreError> {
        self.beat(&beat).await
    }

    async fn sign_off(&self, worker: Incarnation) -> Result<Rescued, StoreError> {
        self.leave(worker).await
    }

    async fn progress(&self, lease: LeaseToken, progress: Progress) -> Result<bool, StoreError> {
        self.keep_progress(lease, &progress).await
    }

    async fn log(&self, lease: LeaseToken, lines: Vec<String>) -> Result<bool, StoreError> {
        bounded("the list of lines", lines.len())?;
        self.keep_lines(lease, &lines).await
    }

    async fn rescue(&self, limit: u32) -> Result<Rescued, StoreError> {
        self.rescue_round(batch(limit)).await
    }

    async fn promote(&self, limit: u32) -> Result<Promoted, StoreError> {
        self.promote_round(batch(limit)).await
    }

    async fn prune(&self, limit: u32) -> Result<Pruned, StoreError> {
        self.prune_round(batch(limit)).await
    }

    fn due_signal(&self) -> Arc<Notify> {
        self.link.wakes().due()
    }

    async fn cancel(&self, job: JobId, reason: &str) -> Result<Cancel, StoreError> {
        self.cancel_job(job, reason).await
    }

    async fn retry(&self, job: JobId) -> Result<RetryDead, StoreError> {
        self.retry_job(job).await
    }

    async fn delete(&self, job: JobId) -> Result<(), StoreError> {
        self.delete_job(job).await
    }

    async fn pause(&self, queue: &QueueName) -> Result<bool, StoreError> {
        self.set_paused(queue, true).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<bool, StoreError> {
        self.set_paused(queue, false).await
    }

    async fn purge(&self, queue: &QueueName, limit: u32) -> Result<u32, StoreError> {
        self.purge_round(queue, batch(limit)).await
    }

    async fn drain_worker(&self, worker: Incarnation) -> Result<(), StoreError> {
        self.ask_to_drain(worker).await
    }

    async fn get(&self, job: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.record_of(job).await
    }

    async fn logs(&self, job: JobId) -> Result<Vec<LogLine>, StoreError> {
        self.lines_of(job).await
    }

    async fn list(&self, query: ListQuery) -> Result<Page, StoreError> {
        self.page(&query).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.counters().await
    }

    async fn explain(&self, job: JobId) -> Result<WhyNot, StoreError> {
        self.why_not(job).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        self.living().await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        // A write: a store that can only be read is not healthy.
        let key = format!("{}gauges", self.link.prefix());
        self.link.send("make a round trip", redis::cmd("HDEL").arg(key).arg("")).await?;
        let words = self.link.promise().map_or_else(String::new, |promise| promise.words);
        let promise = format!("{words} ({})", self.link.shown());
        Ok(StoreHealth { store: "redis", promise, schema: SCHEMA_VERSION })
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.server_time().await
    }

    async fn declare_schedules(&self, schedules: Vec<ScheduleDeclaration>) -> Result<(), StoreError> {
        bounded("the list of schedules", schedules.len())?;
        self.declare_each(&schedules).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.all_schedules().await
    }

    async fn tick(&self, tick: Tick) -> Result<Ticked, StoreError> {
        self.decide(&tick).await
    }

    async fn change_schedule(&self, name: &str, change: ScheduleChange, by: &str) -> Result<bool, StoreError> {
        self.change(name, &change, by).await
    }

    async fn schedule_history(&self, name: &str) -> Result<Vec<HistoryEntry>, StoreError> {
        self.history_of(name).await
    }

    async fn cache_get(&self, tenant: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.cached(tenant, key).await
    }

    async fn cache_put(&self, tenant: &str, key: &str, value: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        self.cache(tenant, key, &value, ttl).await
    }

    async fn cache_delete(&self, tenant: &str, key: &str) -> Result<(), StoreError> {
        self.uncache(tenant, key).await
    }

    async fn take(&self, key: &str, limit: RateLimit, cost: u32) -> Result<RateDecision, StoreError> {
        self.take_from(key, limit, cost).await
    }

    async fn budget(&self, key: &str, limit: RateLimit) -> Result<Budget, StoreError> {
        self.budget_of(key, limit).await
    }

    async fn reserve(
        &self,
        scope: &str,
        key: &str,
        fingerprint: &[u8],
        lease: Duration,
        ttl: Duration,
    ) -> Result<Reservation, StoreError> {
        self.reserve_key(scope, key, fingerprint, (lease, ttl)).await
    }

    async fn remember(&self, scope: &str, key: &str, reply: RememberedReply) -> Result<(), StoreError> {
        self.remember_reply(scope, key, &reply).await
    }

    async fn release(&self, scope: &str, key: &str) -> Result<(), StoreError> {
        self.release_key(scope, key).await
    }

    async fn breaker(&self, name: &str) -> Result<BreakerState, StoreError> {
        self.breaker_state(name).await
    }

    async fn breaker_report(
        &self,
        name: &str,
        ok: bool,
        threshold: u32,
        cooldown: Duration,
    ) -> Result<BreakerState, StoreError> {
        self.report_to_breaker(name, ok, threshold, cooldown).await
    }

    async fn breaker_reset(&self, name: &str) -> Result<(), StoreError> {
        self.close_breaker(name).await
    }
}
