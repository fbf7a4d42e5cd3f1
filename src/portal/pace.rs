//! How fast a link may be used: so many a minute, counted in the store and so over all processes.
//!
//! By link, not by session: whoever has the link begins as many sessions as they like. Asked before the database is, and only
//! for links that we have signed, so that strangers make no keys.

use std::time::Duration;

use crate::store::{RateDecision, RateLimit, Store, StoreError};

/// One of the page's rates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Tells it apart from the others.
    pub(super) what: &'static str,
    /// As many may come at once.
    pub(super) per_minute: u64,
}

impl Pace {
    /// Counts one; `Some`: it is too many, and how long to wait.
    pub(super) async fn exceeded(self, store: &dyn Store, link: &str) -> Result<Option<Duration>, StoreError> {
        let per_minute = u32::try_from(self.per_minute).unwrap_or(u32::MAX);
        let limit = RateLimit::TokenBucket { burst: per_minute, limit: per_minute, window_ms: 60_000 };
        Ok(match store.take(&format!("{}:{link}", self.what), limit, 1).await? {
            RateDecision::Allowed { .. } => None,
            RateDecision::Limited { retry_after } => Some(retry_after),
        })
    }
}
