//! Rate limits: one row a key, on the server's clock.

use super::RedisStore;
use crate::store::StoreError;

impl RedisStore {
    pub(super) async fn take_from(
        &self,
        _: &str,
        _: crate::store::RateLimit,
        _: u32,
    ) -> Result<crate::store::RateDecision, StoreError> {
        Err(StoreError::Unavailable { step: "take_from", detail: String::new() })
    }

    pub(super) async fn budget_of(
        &self,
        _: &str,
        _: crate::store::RateLimit,
    ) -> Result<crate::store::Budget, StoreError> {
        Err(StoreError::Unavailable { step: "budget_of", detail: String::new() })
    }
}
