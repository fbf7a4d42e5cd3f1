//! Who lives, what becomes of the jobs of those who don't, and what becomes due.

use super::RedisStore;
use super::jobs::{outcome, put_lease, yes};
use super::link::Access;
use super::parts::Parts;
use super::wire::{self, Head};
use super::{script, told};
use crate::clock::Timestamp;
use crate::job::{Incarnation, Progress, QueueName};
use crate::store::{BATCH_MAX, Beat, BeatReply, LeaseToken, Promoted, QueueSettings, Rescued, StoreError};

const LINE_MAX: usize = 1024;

impl RedisStore {
    pub(super) async fn declare(&self, queues: &[QueueSettings]) -> Result<(), StoreError> {
        let step = "declare queues";
        let json = |e: serde_json::Error| StoreError::Corrupt { place: "queue settings".into(), detail: e.to_string() };
        if queues.is_empty() {
            return Ok(());
        }
        let mut cmd = self.link.call(&script::DECLARE);
        for queue in queues {
            let rate = queue.rate.as_ref().map(serde_json::to_string).transpose().map_err(json)?;
            let retention = serde_json::to_string(&queue.retention).map_err(json)?;
            cmd.arg(queue.name.as_str()).arg(rate.unwrap_or_default()).arg(retention);
        }
        let mut parts = Parts::of(step, self.link.run(Access::Write, step, &script::DECLARE, &cmd).await?)?;
        outcome(&mut parts)?;
        told(&self.link, parts);
        self.memory.declared(queues);
        Ok(())
    }

    /// Declares what this process has declared before: for a server that came back without it. False: it was not that.
    pub(super) async fn declare_again(&self, unknown: &QueueName) -> Result<bool, StoreError> {
        let queues = self.memory.queues();
        if !queues.iter().any(|queue| queue.name == *unknown) {
            return Ok(false);
        }
        tracing::warn!(queue = %unknown, "the server has lost its queues; they are declared again");
        self.declare(&queues).await?;
        Ok(true)
    }

    pub(super) async fn beat(&self, beat: &Beat) -> Result<BeatReply, StoreError> {
        let step = "beat";
        let queues: Vec<_> = beat.queues.iter().map(|queue| queue.as_str()).collect();
        let queues = serde_json::to_string(&queues)
            .map_err(|e| StoreError::Corrupt { place: "a worker's queues".into(), detail: e.to_string() })?;
        let mut cmd = self.link.call(&script::HEARTBEAT);
        cmd.arg(beat.incarnation.as_bytes()).arg(&*beat.label).arg(queues).arg(beat.running);
        let beaten_before = self.memory.has_beaten(beat.incarnation);
        cmd.arg(wire::millis(beat.lease)).arg(beat.worker_now.as_ms()).arg(u8::from(beaten_before));
        let mut parts = Parts::of(step, self.link.run(Access::Read, step, &script::HEARTBEAT, &cmd).await?)?;
        match outcome(&mut parts) {
            Err(StoreError::DeadIncarnation(_)) => {
                self.memory.ended(beat.incarnation);
                return Err(StoreError::DeadIncarnation(beat.incarnation));
            }
            done => done?,
        }
        self.memory.beat(beat.incarnation);
        let (store_now, drain) = (Timestamp::from_ms(parts.number()?), parts.number()? == 1);
        let mut cancel = Vec::new();
        while !parts.is_over() {
            let (slot, head) = (wire::slot(&parts.bytes()?)?, Head::read(&parts.bytes()?)?);
            cancel.push(LeaseToken { job: head.id, epoch: head.epoch, holder: beat.incarnation, slot });
        }
        Ok(BeatReply { store_now, cancel, drain })
    }

    pub(super) async fn leave(&self, worker: Incarnation) -> Result<Rescued, StoreError> {
        let step = "sign a worker off";
        let mut report = Rescued::default();
        loop {
            let mut cmd = self.link.call(&script::SIGN_OFF);
            cmd.arg(worker.as_bytes()).arg(BATCH_MAX);
            let mut parts = Parts::of(step, self.link.run(Access::Write, step, &script::SIGN_OFF, &cmd).await?)?;
            outcome(&mut parts)?;
            report.to_ready += count(&mut parts)?;
            let more = parts.number()? == 1;
            told(&self.link, parts);
            if !more {
                self.tickets.forget(worker);
                self.memory.ended(worker);
                return Ok(report);
            }
        }
    }

    pub(super) async fn rescue_round(&self, limit: u32) -> Result<Rescued, StoreError> {
        let step = "rescue";
        let build = |healthy_since: Timestamp| {
            let mut cmd = self.link.call(&script::RESCUE);
            // Lua's numbers are exact up to 2^53.
            let since = healthy_since.as_ms().max(-(1 << 52));
            cmd.arg(limit).arg(self.rules.crash_limit.max(1)).arg(self.grace_ms()).arg(since);
            cmd
        };
        let mut parts = Parts::of(step, self.link.judge(step, &script::RESCUE, build).await?)?;
        outcome(&mut parts)?;
        let report = Rescued {
            dead_workers: count(&mut parts)?,
            to_ready: count(&mut parts)?,
            to_dead: count(&mut parts)?,
            more: parts.number()? == 1,
        };
        told(&self.link, parts);
        if !report.more
            && let Err(error) = self.repair_block().await
        {
            // The rescue itself is done; the next round repairs as well.
            tracing::warn!(%error, "could not look for jobs that somebody has torn out of their places");
        }
        Ok(report)
    }

    /// Puts right what somebody has deleted by hand, in one block of a thousand jobs; each call looks at the next one.
    async fn repair_block(&self) -> Result<(), StoreError> {
        let step = "repair";
        let cmd = self.link.call(&script::REPAIR);
        let mut parts = Parts::of(step, self.link.run(Access::Write, step, &script::REPAIR, &cmd).await?)?;
        outcome(&mut parts)?;
        let (repaired, dropped) = (count(&mut parts)?, count(&mut parts)?);
        told(&self.link, parts);
        if repaired > 0 || dropped > 0 {
            tracing::warn!(
                repaired,
                dropped,
                "keys of the store were deleted by hand: jobs were put back in their places, or dropped where their \
                 payload was gone"
            );
        }
        Ok(())
    }

    pub(super) async fn promote_round(&self, limit: u32) -> Result<Promoted, StoreError> {
        let step = "promote";
        let mut cmd = self.link.call(&script::PROMOTE);
        cmd.arg(limit);
        let mut parts = Parts::of(step, self.link.run(Access::Write, step, &script::PROMOTE, &cmd).await?)?;
        outcome(&mut parts)?;
        let (promoted, next, more) = (count(&mut parts)?, parts.number()?, parts.number()? == 1);
        told(&self.link, parts);
        Ok(Promoted { promoted, next_due: (next >= 0).then(|| Timestamp::from_ms(next)), more })
    }

    pub(super) async fn keep_progress(&self, lease: LeaseToken, progress: &Progress) -> Result<bool, StoreError> {
        let mut cmd = self.link.call(&script::PROGRESS);
        put_lease(&mut cmd, lease);
        cmd.arg(wire::progress(progress)?);
        Ok(yes(&self.link.run(Access::Read, "keep a job's progress", &script::PROGRESS, &cmd).await?))
    }

    pub(super) async fn keep_lines(&self, lease: LeaseToken, lines: &[String]) -> Result<bool, StoreError> {
        let mut cmd = self.link.call(&script::LOG);
        put_lease(&mut cmd, lease);
        for line in lines {
            cmd.arg(wire::cut(line, LINE_MAX));
        }
        Ok(yes(&self.link.run(Access::Read, "keep a job's lines", &script::LOG, &cmd).await?))
    }
}

/// A part that counts.
pub(super) fn count(parts: &mut Parts) -> Result<u32, StoreError> {
    Ok(u32::try_from(parts.number()?).unwrap_or(u32::MAX))
}
