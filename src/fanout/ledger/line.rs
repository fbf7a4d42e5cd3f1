//! The line of an endpoint with strict order: who is ahead of a delivery.

use sqlx::FromRow;

use super::super::{Deliver, FanoutState};
use super::Due;
use crate::clock::Timestamp;
use crate::on_pool;

/// A delivery that must settle first.
#[derive(Debug, FromRow)]
pub(in super::super) struct Ahead {
    next_at: Option<i64>,
}

impl Ahead {
    /// When it is tried again, if that is known.
    pub(in super::super) fn next_at(&self) -> Option<Timestamp> {
        self.next_at.map(Timestamp::from_ms)
    }
}

/// The first unsettled delivery before this one. A delivery that stands in no line has none.
pub(in super::super) async fn ahead(
    state: &FanoutState,
    job: &Deliver,
    due: &Due,
) -> Result<Option<Ahead>, sqlx::Error> {
    on_pool!(state.db.read(), pool => {
        sqlx::query_as(
            "select d.next_at from delivery_order o join deliveries d on d.id = o.delivery_id
             where o.endpoint_id = $1 and d.settled_at is null
               and o.seq < (select seq from delivery_order where delivery_id = $2)
             order by o.seq limit 1",
        )
        .bind(&job.endpoint)
        .bind(&due.id)
        .fetch_optional(pool)
        .await
    })
}
