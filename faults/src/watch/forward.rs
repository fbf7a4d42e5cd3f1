//! The contract, call by call: what is watched, and what only passes through.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidemill::clock::Timestamp;
use tidemill::job::{Incarnation, JobId, JobRecord, Progress, QueueName};
use tidemill::store::{
    Beat, BeatReply, BreakerState, Budget, Cancel, Claimed, Counts, Enqueued, HistoryEntry, LeaseToken, ListQuery,
    LogLine, NewJob, Page, Promoted, Pruned, QueueSettings, RateDecision, RateLimit, RememberedReply, Rescued,
    Reservation, RetryDead, ScheduleChange, ScheduleDeclaration, ScheduleRecord, Settled, Settlement, Store,
    StoreError, StoreHealth, Tick, Ticked, WhyNot, WorkerRecord,
};
use tokio::sync::Notify;

use super::Watched;
use crate::event::What;
use crate::steps;

#[async_trait]
impl Store for Watched {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreError> {
        self.doom.begin(steps::ENQUEUE_DURING);
        let answer = self.inner.enqueue(jobs).await;
        if answer.is_ok() {
            self.doom.reach(steps::ENQUEUE_AFTER);
        }
        answer
    }

    async fn claim(
        &self,
        queue: &QueueName,
        worker: Incarnation,
        n: u32,
        wait: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.doom.begin(steps::CLAIM_DURING);
        let jobs = self.inner.claim(queue, worker, n, wait).await?;
        self.claimed(worker, &jobs);
        if !jobs.is_empty() {
            self.doom.reach(steps::CLAIM_AFTER);
        }
        Ok(jobs)
    }

    async fn settle(&self, batch: Arc<[Settlement]>) -> Result<Vec<Settled>, StoreError> {
        self.doom.reach(steps::SETTLE_BEFORE);
        let call = self.settling(&batch);
        self.doom.begin(steps::SETTLE_DURING);
        let answer = self.inner.settle(batch).await;
        if answer.is_ok() {
            self.doom.reach(steps::SETTLE_AFTER);
        }
        self.settled(call, &answer);
        answer
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, StoreError> {
        let holder = beat.incarnation;
        self.log.write(What::Beating { holder });
        self.doom.begin(steps::BEAT_DURING);
        let answer = self.inner.heartbeat(beat).await;
        match &answer {
            Ok(reply) => self.log.write(What::Beat { holder, store_ms: reply.store_now.as_ms() }),
            Err(StoreError::DeadIncarnation(_)) => self.log.write(What::DeclaredDead { holder }),
            Err(_) => {}
        }
        answer
    }

    async fn sign_off(&self, worker: Incarnation) -> Result<Rescued, StoreError> {
        self.log.write(What::SigningOff { holder: worker });
        self.inner.sign_off(worker).await
    }

    async fn progress(&self, lease: LeaseToken, progress: Progress) -> Result<bool, StoreError> {
        let answer = self.inner.progress(lease, progress).await;
        self.noted(lease, &answer);
        answer
    }

    async fn log(&self, lease: LeaseToken, lines: Vec<String>) -> Result<bool, StoreError> {
        let answer = self.inner.log(lease, lines).await;
        self.noted(lease, &answer);
        answer
    }

    async fn rescue(&self, limit: u32) -> Result<Rescued, StoreError> {
        self.doom.begin(steps::RESCUE_DURING);
        let rescued = self.inner.rescue(limit).await?;
        if rescued.dead_workers + rescued.to_ready + rescued.to_dead > 0 {
            let (dead, ready, to_dead) = (rescued.dead_workers, rescued.to_ready, rescued.to_dead);
            self.log.write(What::Rescued { dead, ready, to_dead });
            self.doom.reach(steps::RESCUE_AFTER);
        }
        Ok(rescued)
    }

    async fn promote(&self, limit: u32) -> Result<Promoted, StoreError> {
        self.doom.begin(steps::PROMOTE_DURING);
        let promoted = self.inner.promote(limit).await?;
        if promoted.promoted > 0 {
            self.doom.reach(steps::PROMOTE_AFTER);
        }
        Ok(promoted)
    }

    async fn tick(&self, tick: Tick) -> Result<Ticked, StoreError> {
        self.doom.begin(steps::TICK_DURING);
        let ticked = self.inner.tick(tick).await?;
        if matches!(ticked, Ticked::Enqueued(_)) {
            self.doom.reach(steps::TICK_AFTER);
        }
        Ok(ticked)
    }

    async fn declare_queues(&self, queues: Vec<QueueSettings>) -> Result<(), StoreError> {
        self.inner.declare_queues(queues).await
    }

    async fn prune(&self, limit: u32) -> Result<Pruned, StoreError> {
        self.inner.prune(limit).await
    }

    fn due_signal(&self) -> Arc<Notify> {
        self.inner.due_signal()
    }

    async fn cancel(&self, job: JobId, reason: &str) -> Result<Cancel, StoreError> {
        self.inner.cancel(job, reason).await
    }

    async fn retry(&self, job: JobId) -> Result<RetryDead, StoreError> {
        self.inner.retry(job).await
    }

    async fn delete(&self, job: JobId) -> Result<(), StoreError> {
        self.inner.delete(job).await
    }

    async fn pause(&self, queue: &QueueName) -> Result<bool, StoreError> {
        self.inner.pause(queue).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<bool, StoreError> {
        self.inner.resume(queue).await
    }

    async fn purge(&self, queue: &QueueName, limit: u32) -> Result<u32, StoreError> {
        self.inner.purge(queue, limit).await
    }

    async fn drain_worker(&self, worker: Incarnation) -> Result<(), StoreError> {
        self.inner.drain_worker(worker).await
    }

    async fn get(&self, job: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.inner.get(job).await
    }

    async fn logs(&self, job: JobId) -> Result<Vec<LogLine>, StoreError> {
        self.inner.logs(job).await
    }

    async fn list(&self, query: ListQuery) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.inner.counts().await
    }

    async fn explain(&self, job: JobId) -> Result<WhyNot, StoreError> {
        self.inner.explain(job).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        self.inner.workers().await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        self.inner.health().await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.now().await
    }

    async fn declare_schedules(&self, schedules: Vec<ScheduleDeclaration>) -> Result<(), StoreError> {
        self.inner.declare_schedules(schedules).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.inner.schedules().await
    }

    async fn change_schedule(&self, name: &str, change: ScheduleChange, by: &str) -> Result<bool, StoreError> {
        self.inner.change_schedule(name, change, by).await
    }

    async fn schedule_history(&self, name: &str) -> Result<Vec<HistoryEntry>, StoreError> {
        self.inner.schedule_history(name).await
    }

    async fn cache_get(&self, tenant: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.cache_get(tenant, key).await
    }

    async fn cache_put(&self, tenant: &str, key: &str, value: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        self.inner.cache_put(tenant, key, value, ttl).await
    }

    async fn cache_delete(&self, tenant: &str, key: &str) -> Result<(), StoreError> {
        self.inner.cache_delete(tenant, key).await
    }

    async fn take(&self, key: &str, limit: RateLimit, cost: u32) -> Result<RateDecision, StoreError> {
        self.inner.take(key, limit, cost).await
    }

    async fn budget(&self, key: &str, limit: RateLimit) -> Result<Budget, StoreError> {
        self.inner.budget(key, limit).await
    }

    async fn reserve(
        &self,
        scope: &str,
        key: &str,
        fingerprint: &[u8],
        lease: Duration,
        ttl: Duration,
    ) -> Result<Reservation, StoreError> {
        self.inner.reserve(scope, key, fingerprint, lease, ttl).await
    }

    async fn remember(&self, scope: &str, key: &str, reply: RememberedReply) -> Result<(), StoreError> {
        self.inner.remember(scope, key, reply).await
    }

    async fn release(&self, scope: &str, key: &str) -> Result<(), StoreError> {
        self.inner.release(scope, key).await
    }

    async fn breaker(&self, name: &str) -> Result<BreakerState, StoreError> {
        self.inner.breaker(name).await
    }

    async fn breaker_report(
        &self,
        name: &str,
        ok: bool,
        threshold: u32,
        cooldown: Duration,
    ) -> Result<BreakerState, StoreError> {
        self.inner.breaker_report(name, ok, threshold, cooldown).await
    }

    async fn breaker_reset(&self, name: &str) -> Result<(), StoreError> {
        self.inner.breaker_reset(name).await
    }
}
