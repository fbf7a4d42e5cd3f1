//! Packs: jobs of one large call that differ in nothing the server looks at, as one string (layout in `lua/pack.lua`).
//!
//! The server then keeps, gives out and completes them by few commands for all. Whatever else becomes of one moves it out, so
//! that nobody sees a difference. Also how a claim's answer gives neighbours of a pack.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::failure::misread;
use super::parts::Parts;
use super::wire::{self, put_six};
use crate::job::{JobId, RunAt};
use crate::store::{BATCH_MAX, NewJob, StoreError};

/// So many numbers a block has.
const BLOCK: usize = 1000;
const HEAD: usize = 96;
const ID: usize = 16;
/// Larger ones would hold back the server, and their memory while some of their jobs are kept for long.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a pack is made of.
pub(super) struct Pack {
    /// How it begins; the server sets the time.
    pub(super) head: Vec<u8>,
    /// What stands in it from the ids on.
    pub(super) rest: Vec<u8>,
}

/// The pack that these jobs can be. `None`: they must be looked at one by one.
pub(super) fn of(batches: &[&[NewJob]], at_least: usize) -> Result<Option<Pack>, StoreError> {
    let n: usize = batches.iter().map(|jobs| jobs.len()).sum();
    let jobs = || batches.iter().flat_map(|jobs| jobs.iter());
    let Some(first) = jobs().next() else { return Ok(None) };
    // A batch has no more than a block; the count has two bytes.
    if n < at_least || n > BLOCK.min(BATCH_MAX) {
        return Ok(None);
    }
    let alike = |job: &NewJob| {
        let (spec, one) = (&job.spec, &first.spec);
        spec.run_at == RunAt::Now
            && spec.unique.is_none()
            && spec.queue == one.queue
            && spec.priority == one.priority
            && spec.timeout == one.timeout
    };
    let bytes: usize = jobs().map(|job| job.spec.payload.len()).sum();
    let mut ids = HashSet::with_capacity(n);
    if bytes > BYTES_MAX || !jobs().all(|job| alike(job) && ids.insert(job.id)) {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(n * (ID + 4 + 96) + bytes);
    for job in jobs() {
        out.extend_from_slice(job.id.as_bytes());
    }
    let ends = out.len();
    let bodies = ends + 4 * (n + 1);
    out.resize(bodies, 0);
    for (nth, job) in jobs().enumerate() {
        wire::put_body(&mut out, job)?;
        // Four gigabytes are far above what was let in.
        let end = u32::try_from(out.len() - bodies).unwrap_or(u32::MAX).to_le_bytes();
        out[ends + 4 * (nth + 1)..][..4].copy_from_slice(&end);
    }
    Ok(Some(Pack { head: head(first, n), rest: out }))
}

fn head(job: &NewJob, n: usize) -> Vec<u8> {
    let (spec, mut out) = (&job.spec, Vec::with_capacity(HEAD));
    put_six(&mut out, 0);
    out.extend_from_slice(&[spec.priority.get(), 0, 0]);
    put_six(&mut out, wire::millis(spec.timeout));
    // Both fit: a batch is bounded, a name has 64 bytes at most.
    out.extend_from_slice(&u16::try_from(n).unwrap_or(u16::MAX).to_le_bytes());
    let name = spec.queue.as_str().as_bytes();
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name);
    out.resize(HEAD, 0);
    out
}

/// Blocks that packs were claimed from not long ago: what of them is simply done may be told in short.
///
/// Only a hint: the server knows better, and says so.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashSet<i64>>);

impl Seen {
    /// More are forgotten, all at once: forgetting costs one call that is refused.
    const MAX: usize = 4096;

    pub(super) fn add(&self, number: i64) {
        let mut blocks = self.lock();
        if blocks.len() >= Self::MAX {
            blocks.clear();
        }
        blocks.insert(number / BLOCK as i64);
    }

    pub(super) fn all(&self, mut blocks: impl Iterator<Item = i64>) -> bool {
        let seen = self.lock();
        blocks.all(|block| seen.contains(&block))
    }

    pub(super) fn forget(&self, blocks: impl Iterator<Item = i64>) {
        let mut seen = self.lock();
        for block in blocks {
            seen.remove(&block);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<i64>> {
        // A set of numbers is whole after every change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Neighbours of a pack as a claim gives them.
pub(super) struct Given {
    head: Vec<u8>,
    ids: Vec<u8>,
    ends: Vec<u8>,
    bodies: Vec<u8>,
}

impl Given {
    /// Reads what stands behind front, first member and number of a run.
    pub(super) fn read(parts: &mut Parts, mut front: Vec<u8>) -> Result<Self, StoreError> {
        let (born, ids, queue) = (parts.bytes()?, parts.bytes()?, parts.bytes()?);
        front.extend_from_slice(&born);
        front.extend_from_slice(&[0; ID]);
        front.extend_from_slice(&queue);
        Ok(Self { head: front, ids, ends: parts.bytes()?, bodies: parts.bytes()? })
    }

    /// Their head; each has an id of its own.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The id of the job at a place.
    pub(super) fn id(&self, nth: usize) -> Result<JobId, StoreError> {
        let id = self.ids.get(nth * ID..(nth + 1) * ID).and_then(|id| id.try_into().ok());
        id.map(JobId::from_bytes).ok_or_else(|| misread("claim", "id of each job"))
    }

    /// Its body.
    pub(super) fn body(&self, nth: usize) -> Result<&[u8], StoreError> {
        self.range(nth).and_then(|range| self.bodies.get(range)).ok_or_else(|| misread("claim", "body of each job"))
    }

    fn range(&self, nth: usize) -> Option<Range<usize>> {
        let end = |nth: usize| -> Option<usize> {
            let four = self.ends.get(nth * 4..nth * 4 + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(four)).ok()
        };
        let begin = end(0)?;
        Some(end(nth)?.checked_sub(begin)?..end(nth + 1)?.checked_sub(begin)?)
    }
}
