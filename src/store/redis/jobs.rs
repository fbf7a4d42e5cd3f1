//! The hot path: enqueue and claim. One script call for each batch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{Cmd, Value};
use tokio::sync::Mutex as Turn;

use super::RedisStore;
use super::failure::misread;
use super::link::{Access, Link};
use super::pack::{self, Given, Pack, Seen};
use super::parts::Parts;
use super::settle::settle;
use super::wire::{self, Head, member};
use super::{script, told};
use crate::clock::Timestamp;
use crate::job::{DeadReason, Incarnation, JobId, QueueName};
use crate::store::{Claimed, Enqueued, Lease, NewJob, Settlement, StoreError, Verdict};

/// A waiting claim asks again after this at the latest, should a message have been lost.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The ticket that has not been answered yet, if there is one. Whoever holds the lock claims.
type Unanswered = Turn<Option<u64>>;

/// Claims of one worker and queue go one after the other, so that a lost answer can be asked for again.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    turns: Mutex<HashMap<(Incarnation, QueueName), Arc<Unanswered>>>,
    next: AtomicU64,
}

impl Tickets {
    /// Tickets that no other process has, because `first` is random.
    pub(super) fn from(first: u64) -> Self {
        Self { turns: Mutex::default(), next: AtomicU64::new(first) }
    }

    fn turn(&self, worker: Incarnation, queue: &QueueName) -> Arc<Unanswered> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry((worker, queue.clone())).or_default())
    }

    /// Forgets a worker that has ended.
    pub(super) fn forget(&self, worker: Incarnation) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).retain(|(who, _), _| *who != worker);
    }
}

/// What one look of a claim found.
enum Look {
    Jobs(Vec<Claimed>),
    /// Nothing now; a limit allows more after this.
    Nothing(Option<Duration>),
}

impl RedisStore {
    pub(super) async fn enqueue_batch(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let jobs = Arc::new(jobs);
        match self.gather.enqueue(Arc::clone(&jobs)).await {
            Err(StoreError::NoSuchQueue(queue)) if self.declare_again(&queue).await? => self.gather.enqueue(jobs).await,
            done => done,
        }
    }

    /// Claims in a task of its own: a caller that goes away must not take an answer with it.
    pub(super) async fn claim_waiting(
        &self,
        queue: &QueueName,
        worker: Incarnation,
        n: u32,
        wait: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let until = Instant::now() + wait;
        let bell = self.link.wakes().of(queue.as_str());
        loop {
            let rung = bell.notified();
            tokio::pin!(rung);
            // Before looking: what becomes ready from here on rings.
            rung.as_mut().enable();
            let limited = match self.look(queue, worker, n).await {
                Ok(Look::Jobs(jobs)) => return Ok(jobs),
                Ok(Look::Nothing(limited)) => limited,
                Err(StoreError::NoSuchQueue(_)) if self.declare_again(queue).await? => continue,
                Err(error) => return Err(error),
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let pause = left.min(ASK_AGAIN_AFTER).min(limited.unwrap_or(left));
            // Over or rung: both mean to look again.
            let _ = tokio::time::timeout(pause, rung).await;
        }
    }

    async fn look(&self, queue: &QueueName, worker: Incarnation, n: u32) -> Result<Look, StoreError> {
        let (link, tickets, grace_ms) = (Arc::clone(&self.link), Arc::clone(&self.tickets), self.grace_ms());
        let packs = Arc::clone(&self.packs);
        let request = Request { queue: queue.clone(), worker, n: n.min(super::batch(u32::MAX)), grace_ms, packs };
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.tasks.spawn(async move {
            let found = request.ask(&link, &tickets).await;
            // The caller went away: nobody will run what it was given.
            if let Err(Ok(Look::Jobs(orphans))) = reply.send(found) {
                give_back(&link, orphans).await;
            }
        });
        let mut awaited = Awaited { store: self, answer };
        (&mut awaited.answer)
            .await
            .map_err(|_| StoreError::Unavailable { step: "claim", detail: "the store was closed".into() })?
    }
}

/// Enqueues batches in one call: all of them, or none; answers in their order.
pub(super) async fn enqueue(link: &Link, batches: &[&[NewJob]]) -> Result<Vec<Enqueued>, StoreError> {
    let step = "enqueue";
    if let Some(pack) = pack::of(batches, link.pack_from())?
        && let Some(answers) = enqueue_pack(link, batches, &pack).await?
    {
        return Ok(answers);
    }
    let mut cmd = link.call(&script::ENQUEUE);
    for jobs in batches {
        put_jobs(&mut cmd, jobs)?;
    }
    let reply = link.run(Access::Write, step, &script::ENQUEUE, &cmd).await?;
    let mut parts = Parts::of(step, reply)?;
    outcome(&mut parts)?;
    let (new, kept) = (parts.bytes()?, parts.bytes()?);
    told(link, parts);
    let ids = kept.chunks_exact(16).map(|id| id.try_into().map(JobId::from_bytes));
    let answers: Result<Vec<_>, _> = new
        .iter()
        .zip(ids)
        .map(|(new, id)| id.map(|id| if *new == b'1' { Enqueued::Inserted(id) } else { Enqueued::Duplicate(id) }))
        .collect();
    let sent: usize = batches.iter().map(|jobs| jobs.len()).sum();
    answers.ok().filter(|answers| answers.len() == sent).ok_or_else(|| misread(step, "answer for each job"))
}

/// Enqueues them as one. `None`: some of them are known, and each must be looked at.
async fn enqueue_pack(link: &Link, batches: &[&[NewJob]], pack: &Pack) -> Result<Option<Vec<Enqueued>>, StoreError> {
    let step = "enqueue";
    let mut cmd = link.call(&script::ENQUEUE_PACK);
    cmd.arg(&pack.head).arg(&pack.rest);
    let reply = link.run(Access::Write, step, &script::ENQUEUE_PACK, &cmd).await?;
    let mut parts = Parts::of(step, reply)?;
    if parts.is_next(b"known") {
        return Ok(None);
    }
    outcome(&mut parts)?;
    told(link, parts);
    Ok(Some(batches.iter().flat_map(|jobs| jobs.iter()).map(|job| Enqueued::Inserted(job.id)).collect()))
}

/// A claim's answer that is on its way. Dropped before it was read, it hands back the jobs that came meanwhile.
struct Awaited<'a> {
    store: &'a RedisStore,
    answer: tokio::sync::oneshot::Receiver<Result<Look, StoreError>>,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.answer.close();
        // Without an answer here the task finds the channel closed and hands the jobs back itself.
        if let Ok(Ok(Look::Jobs(orphans))) = self.answer.try_recv() {
            let link = Arc::clone(&self.store.link);
            self.store.tasks.spawn(async move { give_back(&link, orphans).await });
        }
    }
}

/// Where a claimed job stands that can't be read, its id and epoch if these can be, and why it can't.
type Unreadable = (i64, Option<(JobId, u64)>, StoreError);

/// Ends claimed jobs that can't be read: asked for again they would stand in their queue's way for ever.
async fn bury(link: &Link, worker: Incarnation, unreadable: Vec<Unreadable>) -> Result<(), StoreError> {
    let mut batch = Vec::new();
    for (slot, lease, error) in unreadable {
        tracing::error!(slot, %error, "a job can't be read");
        // Without a head nobody knows its lease; its deadline takes it.
        let Some((id, epoch)) = lease else { continue };
        let verdict = Verdict::Dead { reason: DeadReason::BadPayload, error: error.to_string() };
        batch.push(Settlement { lease: Lease::new(id, epoch, worker, slot), verdict });
    }
    settle(link, None, &batch).await.map(drop)
}

async fn give_back(link: &Link, orphans: Vec<Claimed>) {
    let batch: Vec<_> =
        orphans.into_iter().map(|job| Settlement { lease: job.lease, verdict: Verdict::Release }).collect();
    if let Err(error) = settle(link, None, &batch).await {
        tracing::warn!(%error, jobs = batch.len(), "could not hand back jobs that nobody took; their deadline will");
    }
}

struct Request {
    queue: QueueName,
    worker: Incarnation,
    n: u32,
    grace_ms: u64,
    packs: Arc<Seen>,
}

impl Request {
    async fn ask(&self, link: &Link, tickets: &Tickets) -> Result<Look, StoreError> {
        let turn = tickets.turn(self.worker, &self.queue);
        let mut unanswered = turn.lock().await;
        // A ticket whose answer was lost: whatever it got is asked for again before anything new.
        let ticket = *unanswered.get_or_insert_with(|| tickets.next.fetch_add(1, Ordering::Relaxed));
        let found = self.once(link, ticket).await;
        match &found {
            Err(StoreError::Unavailable { .. } | StoreError::Corrupt { .. }) => {}
            Err(StoreError::DeadIncarnation(_)) => tickets.forget(self.worker),
            _ => *unanswered = None,
        }
        found
    }

    async fn once(&self, link: &Link, ticket: u64) -> Result<Look, StoreError> {
        let step = "claim";
        let mut cmd = link.call(&script::CLAIM);
        cmd.arg(self.queue.as_str()).arg(self.worker.as_bytes()).arg(self.n).arg(self.grace_ms);
        cmd.arg(format!("{ticket:016x}"));
        let reply = link.run(Access::Read, step, &script::CLAIM, &cmd).await?;
        let mut parts = Parts::of(step, reply)?;
        match outcome(&mut parts) {
            Err(StoreError::DeadIncarnation(_)) => return Err(StoreError::DeadIncarnation(self.worker)),
            done => done?,
        }
        let now = Timestamp::from_ms(parts.number()?);
        let limited = parts.number()?;
        let claim = (self.worker, now);
        let (mut jobs, mut unreadable) = (Vec::new(), Vec::new());
        while !parts.is_over() {
            let (front, first, n) = (parts.bytes()?, wire::slot(&parts.bytes()?)?, parts.number()?);
            if n < 0 {
                let given = Given::read(&mut parts, front)?;
                self.packs.add(first);
                let mut head = Head::read(given.head())?;
                for (nth, slot) in (first..first.saturating_sub(n)).enumerate() {
                    head.id = given.id(nth)?;
                    match wire::claimed(slot, &head, given.body(nth)?, claim, jobs.last()) {
                        Ok(job) => jobs.push(job),
                        Err(error) => unreadable.push((slot, Some((head.id, head.epoch)), error)),
                    }
                }
                continue;
            }
            for slot in first..first.saturating_add(n) {
                let (mut head, body) = (parts.bytes()?, parts.bytes()?);
                wire::put_front(&mut head, &front);
                let head = Head::read(&head);
                let lease = head.as_ref().ok().map(|head| (head.id, head.epoch));
                match head.and_then(|head| wire::claimed(slot, &head, &body, claim, jobs.last())) {
                    Ok(job) => jobs.push(job),
                    Err(error) => unreadable.push((slot, lease, error)),
                }
            }
        }
        bury(link, self.worker, unreadable).await?;
        // Asked for again by a pool that has fewer places now.
        let surplus = jobs.split_off(jobs.len().min(usize::try_from(self.n).unwrap_or(usize::MAX)));
        if !surplus.is_empty() {
            give_back(link, surplus).await;
        }
        if jobs.is_empty() {
            return Ok(Look::Nothing((limited >= 0).then(|| Timestamp::from_ms(limited).since(now))));
        }
        Ok(Look::Jobs(jobs))
    }
}

/// Adds the two arguments of each job.
pub(super) fn put_jobs(cmd: &mut Cmd, jobs: &[NewJob]) -> Result<(), StoreError> {
    for job in jobs {
        cmd.arg(wire::meta(job)).arg(wire::body(job)?);
    }
    Ok(())
}

/// A script's first word.
pub(super) fn outcome(parts: &mut Parts) -> Result<(), StoreError> {
    match parts.bytes()?.as_slice() {
        b"ok" => Ok(()),
        b"no_queue" => {
            let name = String::from_utf8_lossy(&parts.bytes()?).into_owned();
            Err(match name.parse() {
                Ok(queue) => StoreError::NoSuchQueue(queue),
                Err(_) => misread("look a queue up", "queue's name"),
            })
        }
        b"no_schedule" => Err(StoreError::NoSuchSchedule(String::from_utf8_lossy(&parts.bytes()?).into_owned())),
        // Which one the caller knows.
        b"dead" => Err(StoreError::DeadIncarnation(Incarnation::from_bytes([0; 16]))),
        _ => Err(misread("read an outcome", "known word")),
    }
}

/// The three arguments by which a script knows a lease.
pub(super) fn put_lease(cmd: &mut Cmd, lease: crate::store::LeaseToken) {
    let epoch = u32::try_from(lease.epoch).unwrap_or(u32::MAX);
    cmd.arg(&member(lease.slot)).arg(&epoch.to_le_bytes()).arg(lease.holder.as_bytes());
}

/// True for a script's 1.
pub(super) fn yes(reply: &Value) -> bool {
    matches!(reply, Value::Int(1))
}
