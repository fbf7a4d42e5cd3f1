//! What can be seen of jobs, queues and workers. Nothing here scans what grows.

use redis::{Cmd, Script, Value};

use super::RedisStore;
use super::failure::misread;
use super::link::Access;
use super::parts::Parts;
use super::script;
use super::wire::{self, Body, Extras, Head};
use super::workers::count;
use crate::clock::Timestamp;
use crate::job::{Incarnation, JobId, JobRecord, JobState, QueueName};
use crate::store::{Counts, LogLine, QueueCounts, StoreError, WhyNot, WorkerRecord};

impl RedisStore {
    pub(super) async fn record_of(&self, job: JobId) -> Result<Option<JobRecord>, StoreError> {
        let step = "read a job";
        match self.look_up(step, &script::GET, job).await? {
            Some(mut parts) => record(&mut parts.parts()?).map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn lines_of(&self, job: JobId) -> Result<Vec<LogLine>, StoreError> {
        let Some(mut parts) = self.look_up("read a job's lines", &script::LINES, job).await? else {
            return Ok(Vec::new());
        };
        let mut lines = Vec::new();
        while !parts.is_over() {
            let (at, attempt, line) = wire::line(&parts.bytes()?)?;
            lines.push(LogLine { at, attempt, line });
        }
        Ok(lines)
    }

    pub(super) async fn counters(&self) -> Result<Counts, StoreError> {
        let step = "read the counters";
        let mut parts = Parts::of(step, self.ask(step, &script::COUNTS, &self.link.call(&script::COUNTS)).await?)?;
        let now = Timestamp::from_ms(parts.number()?);
        let lease_refusals = natural(&mut parts)?;
        let mut queues = Vec::new();
        while !parts.is_over() {
            queues.push(queue_counts(&mut parts, now)?);
        }
        queues.sort_by(|a: &QueueCounts, b| a.queue.as_str().cmp(b.queue.as_str()));
        Ok(Counts { queues, lease_refusals })
    }

    pub(super) async fn why_not(&self, job: JobId) -> Result<WhyNot, StoreError> {
        let step = "explain a job";
        let mut parts = self.look_up(step, &script::EXPLAIN, job).await?.ok_or(StoreError::NoSuchJob(job))?;
        let head = Head::read(&parts.bytes()?)?;
        let now = Timestamp::from_ms(parts.number()?);
        match head.state {
            state @ (JobState::Completed | JobState::Dead | JobState::Cancelled) => Ok(WhyNot::Finished { state }),
            JobState::Scheduled => Ok(WhyNot::NotDue { run_at: head.run_at }),
            JobState::Running => {
                let holder = head.holder.ok_or_else(|| StoreError::Corrupt {
                    place: "head".into(),
                    detail: format!("job {job} is running without a holder"),
                })?;
                Ok(WhyNot::Running { holder, since: head.started_at.unwrap_or(now) })
            }
            JobState::Ready => match parts.bytes()?.as_slice() {
                b"paused" => Ok(WhyNot::QueuePaused),
                b"no_worker" => Ok(WhyNot::NoWorker),
                b"limited" => Ok(WhyNot::RateLimited { until: Timestamp::from_ms(parts.number()?) }),
                b"waiting" => Ok(WhyNot::Waiting { ahead: count(&mut parts)? }),
                _ => Err(misread(step, "known reason")),
            },
        }
    }

    pub(super) async fn living(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        let step = "list workers";
        let mut parts = Parts::of(step, self.ask(step, &script::WORKERS, &self.link.call(&script::WORKERS)).await?)?;
        let mut workers = Vec::new();
        while !parts.is_over() {
            workers.push(worker(step, &mut parts)?);
        }
        workers.sort_by_key(|worker| (worker.started_at, *worker.id.as_bytes()));
        Ok(workers)
    }

    pub(super) async fn server_time(&self) -> Result<Timestamp, StoreError> {
        let step = "read the time";
        match self.ask(step, &script::NOW, &self.link.call(&script::NOW)).await? {
            Value::Int(ms) => Ok(Timestamp::from_ms(ms)),
            _ => Err(misread(step, "number")),
        }
    }

    /// Runs a script that only looks.
    pub(super) async fn ask(&self, step: &'static str, script: &Script, cmd: &Cmd) -> Result<Value, StoreError> {
        self.link.run(Access::Read, step, script, cmd).await
    }

    /// Asks about one job; `None` when it is not there.
    async fn look_up(&self, step: &'static str, script: &Script, job: JobId) -> Result<Option<Parts>, StoreError> {
        let mut cmd = self.link.call(script);
        cmd.arg(job.as_bytes());
        let mut parts = Parts::of(step, self.ask(step, script, &cmd).await?)?;
        match parts.bytes()?.as_slice() {
            b"ok" => Ok(Some(parts)),
            b"no_job" => Ok(None),
            _ => Err(misread(step, "known word")),
        }
    }
}

/// A job as `lua/whole.lua` answers it.
pub(super) fn record(parts: &mut Parts) -> Result<JobRecord, StoreError> {
    let _member = parts.bytes()?;
    let (head, body) = (Head::read(&parts.bytes()?)?, Body::read(&parts.bytes()?)?);
    let mut extras = Extras { progress: parts.next_bytes(), result: parts.next_bytes(), ..Extras::default() };
    let mut failures = parts.parts()?;
    while !failures.is_over() {
        extras.failures.push(failures.bytes()?);
    }
    wire::record(head, body, extras)
}

fn queue_counts(parts: &mut Parts, now: Timestamp) -> Result<QueueCounts, StoreError> {
    let queue = queue_named(&parts.bytes()?)?;
    let paused = parts.bytes()? == b"1";
    let completed_total = natural(parts)?;
    let mut counts = QueueCounts {
        queue,
        paused,
        scheduled: natural(parts)?,
        ready: natural(parts)?,
        running: natural(parts)?,
        completed: natural(parts)?,
        dead: natural(parts)?,
        cancelled: natural(parts)?,
        completed_total,
        oldest_ready_ms: None,
    };
    let oldest = parts.number()?;
    if oldest >= 0 {
        let waited = now.since(Timestamp::from_ms(oldest)).as_millis();
        counts.oldest_ready_ms = Some(u64::try_from(waited).unwrap_or(u64::MAX));
    }
    Ok(counts)
}

fn worker(step: &'static str, parts: &mut Parts) -> Result<WorkerRecord, StoreError> {
    let id = parts.bytes()?.as_slice().try_into().map(Incarnation::from_bytes);
    let lease_until = Timestamp::from_ms(parts.number()?);
    let (label, queues) = (parts.bytes()?, parts.bytes()?);
    Ok(WorkerRecord {
        id: id.map_err(|_| misread(step, "incarnation"))?,
        label: String::from_utf8_lossy(&label).into(),
        queues: serde_json::from_slice(&queues)
            .map_err(|e| StoreError::Corrupt { place: "a worker's queues".into(), detail: e.to_string() })?,
        running: count(parts)?,
        started_at: Timestamp::from_ms(parts.number()?),
        last_beat_at: Timestamp::from_ms(parts.number()?),
        lease_until,
        clock_skew_ms: parts.number()?,
        draining: parts.bytes()? == b"1",
    })
}

fn queue_named(bytes: &[u8]) -> Result<QueueName, StoreError> {
    let name = String::from_utf8_lossy(bytes);
    name.parse()
        .map_err(|_| StoreError::Corrupt { place: "queues".into(), detail: format!("`{name}` is no queue's name") })
}

/// A part that counts; one below zero, which only hands at the server can make, is none.
fn natural(parts: &mut Parts) -> Result<u64, StoreError> {
    Ok(u64::try_from(parts.number()?).unwrap_or(0))
}
