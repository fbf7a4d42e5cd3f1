//! What operators do to jobs and queues: cancel, retry, delete, pause, resume, purge, drain.

use super::RedisStore;
use crate::store::StoreError;

impl RedisStore {
    pub(super) async fn cancel_job(&self, _: crate::job::JobId, _: &str) -> Result<crate::store::Cancel, StoreError> {
        Err(StoreError::Unavailable { step: "cancel_job", detail: String::new() })
    }

    pub(super) async fn retry_job(&self, _: crate::job::JobId) -> Result<crate::store::RetryDead, StoreError> {
        Err(StoreError::Unavailable { step: "retry_job", detail: String::new() })
    }

    pub(super) async fn delete_job(&self, _: crate::job::JobId) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { step: "delete_job", detail: String::new() })
    }

    pub(super) async fn set_paused(&self, _: &crate::job::QueueName, _: bool) -> Result<bool, StoreError> {
        Err(StoreError::Unavailable { step: "set_paused", detail: String::new() })
    }

    pub(super) async fn purge_round(&self, _: &crate::job::QueueName, _: u32) -> Result<u32, StoreError> {
        Err(StoreError::Unavailable { step: "purge_round", detail: String::new() })
    }

    pub(super) async fn ask_to_drain(&self, _: crate::job::Incarnation) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { step: "ask_to_drain", detail: String::new() })
    }
}
