//! `prune`: what time takes away. Bounded batches.

use super::RedisStore;
use crate::store::StoreError;

impl RedisStore {
    pub(super) async fn prune_round(&self, _: u32) -> Result<crate::store::Pruned, StoreError> {
        Err(StoreError::Unavailable { step: "prune_round", detail: String::new() })
    }
}
