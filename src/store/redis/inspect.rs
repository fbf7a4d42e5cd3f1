//! What can be seen of jobs, queues and workers. Nothing here scans what grows.

use super::RedisStore;
use crate::store::StoreError;

impl RedisStore {
    pub(super) async fn record_of(&self, _: crate::job::JobId) -> Result<Option<crate::job::JobRecord>, StoreError> {
        Err(StoreError::Unavailable { step: "record_of", detail: String::new() })
    }

    pub(super) async fn lines_of(&self, _: crate::job::JobId) -> Result<Vec<crate::store::LogLine>, StoreError> {
        Err(StoreError::Unavailable { step: "lines_of", detail: String::new() })
    }

    pub(super) async fn counters(&self) -> Result<crate::store::Counts, StoreError> {
        Err(StoreError::Unavailable { step: "counters", detail: String::new() })
    }

    pub(super) async fn why_not(&self, _: crate::job::JobId) -> Result<crate::store::WhyNot, StoreError> {
        Err(StoreError::Unavailable { step: "why_not", detail: String::new() })
    }

    pub(super) async fn living(&self) -> Result<Vec<crate::store::WorkerRecord>, StoreError> {
        Err(StoreError::Unavailable { step: "living", detail: String::new() })
    }

    pub(super) async fn server_time(&self) -> Result<crate::clock::Timestamp, StoreError> {
        Err(StoreError::Unavailable { step: "server_time", detail: String::new() })
    }
}
