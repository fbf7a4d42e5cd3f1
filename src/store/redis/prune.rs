//! `prune`: what time takes away, and what hands at the server have left behind. Bounded batches.
//!
//! A key deleted by hand, or lost by a server that kept less than it promised, leaves jobs that nobody finds and names without a
//! job. What the rescue's walk along the blocks can't see (ids, unique keys, blocks, counters, entries without a job) the sweep
//! here puts right from what the rest still tells.

use super::RedisStore;
use super::parts::Parts;
use super::workers::count;
use super::{script, told};
use crate::store::{Pruned, StoreError};

/// Jobs that one call of the sweep looks at, about.
const SLICE: u32 = 500;
/// Calls of the sweep in one round: 10,000 jobs a minute at the upkeep's pace.
const SLICES: u32 = 20;

impl RedisStore {
    pub(super) async fn prune_round(&self, limit: u32) -> Result<Pruned, StoreError> {
        let step = "prune";
        let mut cmd = self.link.call(&script::PRUNE);
        cmd.arg(limit);
        let mut parts = Parts::of(step, self.ask(step, &script::PRUNE, &cmd).await?)?;
        let (jobs, other) = (count(&mut parts)?, count(&mut parts)?);
        // With much to prune, what is damaged waits for the last round.
        let more = jobs + other >= limit || self.sweep().await? > 0;
        Ok(Pruned { jobs, other, more })
    }

    /// Looks at the next slices of all jobs; how much had to be put right.
    async fn sweep(&self) -> Result<u32, StoreError> {
        let step = "look for damage";
        let mut repaired = 0;
        for _ in 0..SLICES {
            let mut cmd = self.link.call(&script::SWEEP);
            cmd.arg(SLICE);
            let mut parts = Parts::of(step, self.ask(step, &script::SWEEP, &cmd).await?)?;
            let over = parts.number()? == 1;
            let (entries, bodies) = (count(&mut parts)?, count(&mut parts)?);
            let (ids, keys, counters) = (count(&mut parts)?, count(&mut parts)?, count(&mut parts)?);
            told(&self.link, parts);
            let found = entries + bodies + ids + keys + counters;
            if found > 0 {
                tracing::warn!(
                    entries,
                    bodies,
                    ids,
                    keys,
                    counters,
                    "keys of the queue were deleted or changed behind its back; put right what the rest still tells"
                );
                repaired += found;
            }
            if over {
                break;
            }
        }
        Ok(repaired)
    }
}
