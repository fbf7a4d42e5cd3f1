//! Retention: takes away what is old and settled, in bounded steps.
//!
//! Attempts go first, then deliveries that have none left, then messages that have none left. A delivery that may
//! still be tried keeps its row and its message. [`mend()`] gives an outcome to those that lost their job; one that nothing
//! has touched for the whole retention escaped it too: it is marked as cancelled, and goes a week later.

use std::time::Duration;

use super::history::DeliveryState;
use super::recovery::first_id;
use crate::clock::Timestamp;
use crate::data::Database;
use crate::metrics::PRUNED;
use crate::on_pool;

mod mend;

pub(super) use mend::Walk;
pub use mend::{Mend, Mended, mend};

/// How long an abandoned delivery is still shown.
const ABANDONED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Takes away at most `limit` rows from before `before`; how many it was. Fewer than `limit`: nothing more is to be
/// taken now.
///
/// # Errors
/// When the database did not take a step; those before it stay taken.
pub async fn prune(db: &Database, before: Timestamp, limit: u32) -> Result<u64, sqlx::Error> {
    let limit = i64::from(limit);
    abandon(db, before, limit).await?;
    let mut taken = 0;
    for (what, text) in STEPS {
        let rows = on_pool!(db.write(), pool => {
            sqlx::query(text).bind(before.as_ms()).bind(limit - taken).execute(pool).await?.rows_affected()
        });
        metrics::counter!(PRUNED, "what" => what).increment(rows);
        taken += i64::try_from(rows).unwrap_or(i64::MAX);
        if taken >= limit {
            break;
        }
    }
    Ok(u64::try_from(taken).unwrap_or(0))
}

/// A job that is alive after all (its queue was paused for so long) still delivers: only success ends a delivery.
///
/// Walks those that were opened before `before`, a bounded number in each state: one that was taken up again since is passed
/// over, and settles or comes to be one that nothing has touched.
async fn abandon(db: &Database, before: Timestamp, limit: i64) -> Result<(), sqlx::Error> {
    let mut rows = 0;
    for state in [DeliveryState::Pending, DeliveryState::Failed] {
        rows += on_pool!(db.write(), pool => {
            sqlx::query(
                "update deliveries
                 set state = 'cancelled', next_at = null, settled_at = $2,
                     last_error = 'abandoned: its job has ended without a last attempt'
                 where settled_at is null and updated_at < $1 and id in
                   (select id from deliveries where state <> 'succeeded' and state = $3 and id < $4 order by id limit $5)",
            )
            .bind(before.as_ms())
            .bind(before.after(ABANDONED_FOR).as_ms())
            .bind(state.as_str())
            .bind(first_id("dlv_", before))
            .bind(limit.saturating_mul(LOOK))
            .execute(pool)
            .await?
            .rows_affected()
        });
    }
    if rows > 0 {
        tracing::warn!(rows, "marked deliveries as cancelled that no job will bring any more");
    }
    Ok(())
}

/// Old unsettled deliveries that are looked at for each row that a step may take.
const LOOK: i64 = 4;

const STEPS: [(&str, &str); 3] = [
    (
        "delivery_attempts",
        // Of the oldest settled ones; the next step takes those that have none left, so that they are not walked again.
        "delete from delivery_attempts where (delivery_id, id) in
           (select a.delivery_id, a.id
            from (select id from deliveries where settled_at < $1 order by settled_at limit $2) d
                 cross join delivery_attempts a where a.delivery_id = d.id limit $2)",
    ),
    (
        "deliveries",
        "delete from deliveries where id in
           (select d.id from deliveries d
            where d.settled_at < $1 and not exists (select 1 from delivery_attempts a where a.delivery_id = d.id)
            order by d.settled_at limit $2)",
    ),
    (
        "messages",
        "delete from messages where id in
           (select m.id from messages m
            where m.created_at < $1 and not exists (select 1 from deliveries d where d.message_id = m.id)
            order by m.created_at limit $2)",
    ),
];
