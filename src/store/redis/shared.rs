//! The cache, idempotent replies and breakers.

use super::RedisStore;
use crate::store::StoreError;

impl RedisStore {
    pub(super) async fn cached(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Err(StoreError::Unavailable { step: "cached", detail: String::new() })
    }

    pub(super) async fn cache(&self, _: &str, _: &str, _: &[u8], _: std::time::Duration) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { step: "cache", detail: String::new() })
    }

    pub(super) async fn uncache(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { step: "uncache", detail: String::new() })
    }

    pub(super) async fn reserve_key(
        &self,
        _: &str,
        _: &str,
        _: &[u8],
        _: std::time::Duration,
    ) -> Result<crate::store::Reservation, StoreError> {
        Err(StoreError::Unavailable { step: "reserve_key", detail: String::new() })
    }

    pub(super) async fn remember_reply(
        &self,
        _: &str,
        _: &str,
        _: &crate::store::RememberedReply,
    ) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { step: "remember_reply", detail: String::new() })
    }

    pub(super) async fn forget_key(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { step: "forget_key", detail: String::new() })
    }

    pub(super) async fn breaker_state(&self, _: &str) -> Result<crate::store::BreakerState, StoreError> {
        Err(StoreError::Unavailable { step: "breaker_state", detail: String::new() })
    }

    pub(super) async fn report_to_breaker(
        &self,
        _: &str,
        _: bool,
        _: u32,
        _: std::time::Duration,
    ) -> Result<crate::store::BreakerState, StoreError> {
        Err(StoreError::Unavailable { step: "report_to_breaker", detail: String::new() })
    }

    pub(super) async fn close_breaker(&self, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { step: "close_breaker", detail: String::new() })
    }
}
