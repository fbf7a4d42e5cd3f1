//! What became of each delivery: the rows of `messages`, `deliveries` and `delivery_attempts` that handlers write.
//!
//! A delivery that has succeeded stays so, whoever reports late. Any other report is kept out when it comes with an
//! older epoch than the row has seen, so a worker that lost its lease changes no state; the POST it made is logged all
//! the same.

use sqlx::FromRow;

use super::{Deliver, FanoutState};
use crate::on_pool;

mod open;
mod record;

pub(super) use open::{BATCH, close_message, keep_message, open_batch, open_delivery};
pub(super) use record::{Next, cancel, record};

/// A delivery as its handler needs it.
#[derive(Debug, FromRow)]
pub(super) struct Due {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) body: String,
    /// `None`: the endpoint was deleted.
    pub(super) url: Option<String>,
    /// Why it is disabled.
    pub(super) reason: Option<String>,
    /// Why it is paused.
    pub(super) pause_reason: Option<String>,
    pub(super) event_type: String,
}

/// The delivery of a job; `None`: retention has taken it.
pub(super) async fn load(state: &FanoutState, job: &Deliver) -> Result<Option<Due>, sqlx::Error> {
    on_pool!(state.db.read(), pool => {
        sqlx::query_as(
            "select d.id, d.state, m.body, m.event_type, e.url, e.reason, e.pause_reason
             from deliveries d join messages m on m.id = d.message_id left join endpoints e on e.id = d.endpoint_id
             where d.message_id = $1 and d.endpoint_id = $2",
        )
        .bind(&job.message)
        .bind(&job.endpoint)
        .fetch_optional(pool)
        .await
    })
}
