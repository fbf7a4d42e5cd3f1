//! The end of attempts: one script call for each batch.
//!
//! What was claimed from packs and is simply done is told to a short script; everything else, and what that one does not take, to
//! the one that looks at each. A verdict that can't be written holds nobody else up.

use std::time::Duration;

use super::RedisStore;
use super::failure::misread;
use super::jobs::{outcome, put_jobs, yes};
use super::link::{Access, Link};
use super::pack::Seen;
use super::parts::Parts;
use super::runs::{self, Run};
use super::wire::{self, ERROR_MAX, cut, member, millis, progress, put_six, reason_number};
use super::{script, told};
use crate::job::{DeadReason, JobState, Progress};
use crate::store::{LeaseToken, Settled, Settlement, StoreError, Verdict};

const STEP: &str = "settle";
/// Larger results are not kept.
const RESULT_MAX: usize = 16 * 1024;

impl RedisStore {
    pub(super) async fn settle_batch(&self, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let seen = Some(&*self.packs);
        match settle(&self.link, seen, batch).await {
            Err(StoreError::NoSuchQueue(queue)) if self.declare_again(&queue).await? => {
                return settle(&self.link, seen, batch).await;
            }
            Err(StoreError::Corrupt { .. }) => {}
            settled => return settled,
        }
        // One by one, so that a verdict that can't be written holds nobody else up: its job is dead and says why.
        let mut settled = Vec::with_capacity(batch.len());
        for one in batch {
            settled.extend(match settle(&self.link, None, std::slice::from_ref(one)).await {
                Err(StoreError::Corrupt { place, detail }) => {
                    let error = format!("its end could not be written ({place}: {detail})");
                    let dead = Verdict::Dead { reason: DeadReason::Permanent, error };
                    settle_as(&self.link, None, &[(one, &dead)]).await?
                }
                done => done?,
            });
        }
        Ok(settled)
    }
}

/// Settles a batch. `seen`: where packs are known.
pub(super) async fn settle(link: &Link, seen: Option<&Seen>, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
    let batch: Vec<_> = batch.iter().map(|one| (one, &one.verdict)).collect();
    settle_as(link, seen, &batch).await
}

async fn settle_as(
    link: &Link,
    seen: Option<&Seen>,
    batch: &[(&Settlement, &Verdict)],
) -> Result<Vec<Settled>, StoreError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let (runs, rest) = runs::of(batch);
    if let Some(seen) = seen
        && rest.is_empty()
        && seen.all(runs.iter().map(Run::block))
    {
        if settle_packs(link, &runs).await? {
            return Ok(vec![Settled::Accepted(JobState::Completed); batch.len()]);
        }
        seen.forget(runs.iter().map(Run::block));
    }
    let mut cmd = link.call(&script::SETTLE);
    cmd.arg(runs.len()).arg(rest.len());
    for run in &runs {
        cmd.arg(run.argument());
    }
    for &nth in &rest {
        let (settlement, verdict) = batch[nth];
        let mut one = Vec::with_capacity(64);
        put_settlement(&mut one, settlement.lease.token(), verdict)?;
        cmd.arg(one);
    }
    for &nth in &rest {
        if let Verdict::Complete { children, .. } = batch[nth].1 {
            put_jobs(&mut cmd, children)?;
        }
    }
    let reply = link.run(Access::Write, STEP, &script::SETTLE, &cmd).await?;
    let mut parts = Parts::of(STEP, reply)?;
    outcome(&mut parts)?;
    let (of_runs, of_rest) = (parts.bytes()?, parts.bytes()?);
    told(link, parts);
    let places = runs.iter().flat_map(|run| &run.places).chain(&rest);
    let mut settled = vec![Settled::LeaseLost; batch.len()];
    let mut answered = 0;
    for (&place, letter) in places.zip(of_runs.iter().chain(&of_rest)) {
        if *letter != b'-' {
            settled[place] = Settled::Accepted(wire::state_of(*letter)?);
        }
        answered += 1;
    }
    if answered != batch.len() || of_runs.len() + of_rest.len() != batch.len() {
        return Err(misread(STEP, "answer for each settlement"));
    }
    Ok(settled)
}

/// Completes runs of packs, all of them or none. False: they must be looked at one by one.
async fn settle_packs(link: &Link, runs: &[Run]) -> Result<bool, StoreError> {
    let mut cmd = link.call(&script::SETTLE_RUNS);
    cmd.arg(runs.len());
    for run in runs {
        cmd.arg(run.argument());
    }
    match link.run(Access::Write, STEP, &script::SETTLE_RUNS, &cmd).await {
        Ok(reply) => Ok(yes(&reply)),
        // A key that is not what it should be: whoever settles one by one finds out which.
        Err(StoreError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A settlement as its script reads it: verdict letter, member, holder, epoch, delay, reason, number of children, text.
pub(super) fn put_settlement(out: &mut Vec<u8>, lease: LeaseToken, verdict: &Verdict) -> Result<(), StoreError> {
    let too_large = "\"the result was larger than 16 KiB and was not kept\"";
    let mut children_len = 0;
    let snoozed;
    let (letter, delay, reason, text) = match verdict {
        Verdict::Complete { result, children } => {
            children_len = children.len();
            let result = result.as_ref().map_or("", |r| if r.get().len() > RESULT_MAX { too_large } else { r.get() });
            (b'C', Duration::ZERO, 0, result)
        }
        Verdict::Retry { error, delay } => (b'T', *delay, 0, cut(error, ERROR_MAX)),
        Verdict::Snooze { reason, delay } => {
            snoozed = progress(&Progress { percent: 0, note: reason.clone() })?;
            (b'Z', *delay, 0, snoozed.as_str())
        }
        Verdict::Dead { reason, error } => (b'D', Duration::ZERO, reason_number(*reason), cut(error, ERROR_MAX)),
        Verdict::Cancel { reason } => (b'X', Duration::ZERO, 0, cut(reason, ERROR_MAX)),
        Verdict::Release => (b'L', Duration::ZERO, 0, ""),
    };
    let Ok(children) = u16::try_from(children_len) else {
        let (what, max) = ("the list of children", usize::from(u16::MAX));
        return Err(StoreError::TooMany { what, len: children_len, max });
    };
    out.push(letter);
    out.extend_from_slice(&member(lease.slot));
    out.extend_from_slice(lease.holder.as_bytes());
    // Epochs count claims: four bytes are enough for a claim each second for a century.
    out.extend_from_slice(&u32::try_from(lease.epoch).unwrap_or(u32::MAX).to_le_bytes());
    put_six(out, millis(delay));
    out.push(reason);
    out.extend_from_slice(&children.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}
