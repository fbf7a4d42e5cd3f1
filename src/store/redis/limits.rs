//! Rate limits: one row a key, on the server's clock. The arithmetic is in `lua/limits.lua`, where claims use it too.

use std::time::Duration;

use redis::Cmd;

use super::link::Access;
use super::parts::Parts;
use super::workers::count;
use super::{RedisStore, script};
use crate::clock::Timestamp;
use crate::store::{Budget, RateDecision, RateLimit, StoreError};

impl RedisStore {
    pub(super) async fn take_from(&self, key: &str, limit: RateLimit, cost: u32) -> Result<RateDecision, StoreError> {
        let step = "take from a rate limit";
        let mut cmd = self.link.call(&script::TAKE);
        put_limit(&mut cmd, key, limit)?;
        cmd.arg(cost);
        let mut parts = Parts::of(step, self.link.run(Access::Read, step, &script::TAKE, &cmd).await?)?;
        if parts.number()? == 1 {
            return Ok(RateDecision::Allowed { remaining: count(&mut parts)? });
        }
        let wait_ms = u64::try_from(parts.number()?).unwrap_or(1);
        Ok(RateDecision::Limited { retry_after: Duration::from_millis(wait_ms) })
    }

    pub(super) async fn budget_of(&self, key: &str, limit: RateLimit) -> Result<Budget, StoreError> {
        let step = "read a rate limit";
        let mut cmd = self.link.call(&script::BUDGET);
        put_limit(&mut cmd, key, limit)?;
        let mut parts = Parts::of(step, self.link.run(Access::Read, step, &script::BUDGET, &cmd).await?)?;
        Ok(Budget { remaining: count(&mut parts)?, resets_at: Timestamp::from_ms(parts.number()?) })
    }
}

fn put_limit(cmd: &mut Cmd, key: &str, limit: RateLimit) -> Result<(), StoreError> {
    let json = serde_json::to_string(&limit)
        .map_err(|e| StoreError::Corrupt { place: "a rate limit".into(), detail: e.to_string() })?;
    cmd.arg(key).arg(json);
    Ok(())
}
