//! Schedules: declared, changed, ticked. The cursor makes each due time decided once.

use super::RedisStore;
use crate::store::StoreError;

impl RedisStore {
    pub(super) async fn declare_each(&self, _: &[crate::store::ScheduleDeclaration]) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { step: "declare_each", detail: String::new() })
    }

    pub(super) async fn all_schedules(&self) -> Result<Vec<crate::store::ScheduleRecord>, StoreError> {
        Err(StoreError::Unavailable { step: "all_schedules", detail: String::new() })
    }

    pub(super) async fn decide(&self, _: &crate::store::Tick) -> Result<crate::store::Ticked, StoreError> {
        Err(StoreError::Unavailable { step: "decide", detail: String::new() })
    }

    pub(super) async fn change(&self, _: &str, _: &crate::store::ScheduleChange, _: &str) -> Result<bool, StoreError> {
        Err(StoreError::Unavailable { step: "change", detail: String::new() })
    }

    pub(super) async fn history_of(&self, _: &str) -> Result<Vec<crate::store::HistoryEntry>, StoreError> {
        Err(StoreError::Unavailable { step: "history_of", detail: String::new() })
    }
}
