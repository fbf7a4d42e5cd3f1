//! What operators do to jobs and queues: cancel, retry, delete, pause, resume, purge, drain.
//!
//! One script each. It looks at everything before it changes anything, so that a refusal leaves no trace.

use redis::{Cmd, Script};

use super::RedisStore;
use super::failure::misread;
use super::jobs::outcome;
use super::link::Access;
use super::parts::Parts;
use super::wire::{self, ERROR_MAX};
use super::workers::count;
use super::{script, told};
use crate::job::{Incarnation, JobId, QueueName};
use crate::store::{Cancel, RetryDead, StoreError};

/// Which states a verb is for, as words, and the verb itself.
type Verb = (&'static str, &'static str);

impl RedisStore {
    pub(super) async fn cancel_job(&self, job: JobId, reason: &str) -> Result<Cancel, StoreError> {
        let step = "cancel a job";
        let note = format!("cancelled: {reason}");
        let mut cmd = self.link.call(&script::CANCEL);
        cmd.arg(job.as_bytes()).arg(wire::cut(&note, ERROR_MAX));
        let mut parts = self.change_one(step, &script::CANCEL, &cmd).await?;
        let is = refused(&mut parts, job, ("scheduled, ready and running", "cancelled"))?;
        told(&self.link, parts);
        match is.as_slice() {
            b"x" => Ok(Cancel::Cancelled),
            b"u" => Ok(Cancel::Requested),
            _ => Err(misread(step, "known state")),
        }
    }

    pub(super) async fn retry_job(&self, job: JobId) -> Result<RetryDead, StoreError> {
        let step = "retry a job";
        let mut cmd = self.link.call(&script::RETRY);
        cmd.arg(job.as_bytes());
        let mut parts = self.change_one(step, &script::RETRY, &cmd).await?;
        let was = refused(&mut parts, job, ("dead and scheduled", "retried"))?;
        told(&self.link, parts);
        match was.as_slice() {
            b"d" => Ok(RetryDead::Revived),
            b"s" => Ok(RetryDead::RunNow),
            _ => Err(misread(step, "known state")),
        }
    }

    pub(super) async fn delete_job(&self, job: JobId) -> Result<(), StoreError> {
        let mut cmd = self.link.call(&script::DELETE);
        cmd.arg(job.as_bytes());
        let mut parts = self.change_one("delete a job", &script::DELETE, &cmd).await?;
        refused(&mut parts, job, ("completed, dead and cancelled", "deleted")).map(drop)
    }

    pub(super) async fn set_paused(&self, queue: &QueueName, paused: bool) -> Result<bool, StoreError> {
        let mut cmd = self.link.call(&script::PAUSE);
        cmd.arg(queue.as_str()).arg(u8::from(paused));
        let mut parts = self.change_one("pause or resume a queue", &script::PAUSE, &cmd).await?;
        outcome(&mut parts)?;
        let changed = parts.number()? == 1;
        told(&self.link, parts);
        Ok(changed)
    }

    pub(super) async fn purge_round(&self, queue: &QueueName, limit: u32) -> Result<u32, StoreError> {
        let mut cmd = self.link.call(&script::PURGE);
        cmd.arg(queue.as_str()).arg(limit).arg("cancelled: its queue was purged");
        let mut parts = self.change_one("purge a queue", &script::PURGE, &cmd).await?;
        outcome(&mut parts)?;
        let purged = count(&mut parts)?;
        told(&self.link, parts);
        Ok(purged)
    }

    pub(super) async fn ask_to_drain(&self, worker: Incarnation) -> Result<(), StoreError> {
        let mut cmd = self.link.call(&script::DRAIN);
        cmd.arg(worker.as_bytes());
        let mut parts = self.change_one("drain a worker", &script::DRAIN, &cmd).await?;
        match outcome(&mut parts) {
            Err(StoreError::DeadIncarnation(_)) => Err(StoreError::DeadIncarnation(worker)),
            done => done,
        }
    }

    async fn change_one(&self, step: &'static str, script: &Script, cmd: &Cmd) -> Result<Parts, StoreError> {
        Parts::of(step, self.link.run(Access::Write, step, script, cmd).await?)
    }
}

/// The state's letter that a job's script answers, or why it did nothing.
fn refused(parts: &mut Parts, job: JobId, (allowed, verb): Verb) -> Result<Vec<u8>, StoreError> {
    match parts.bytes()?.as_slice() {
        b"ok" => parts.bytes(),
        b"no_job" => Err(StoreError::NoSuchJob(job)),
        b"wrong_state" => match parts.bytes()?.as_slice() {
            [letter] => Err(StoreError::WrongState { job, state: wire::state_of(*letter)?, allowed, verb }),
            _ => Err(misread(verb, "state")),
        },
        b"key_taken" => {
            let key = String::from_utf8_lossy(&parts.bytes()?).into_owned();
            let holder = parts.bytes()?.as_slice().try_into().map(JobId::from_bytes);
            Err(StoreError::KeyTaken { job, key, holder: holder.map_err(|_| misread(verb, "job id"))? })
        }
        _ => Err(misread(verb, "known word")),
    }
}
