//! Retention: takes away what is old and settled, in bounded steps.
//!
//! Attempts go first, then deliveries that have none left, then messages that have none left. A delivery that may
//! still be tried keeps its row and its message. [`mend()`] gives an outcome to those that lost their job; one that nothing
//! has touched for the whole retention escaped it too: it is marked as cancelled, and goes a week later.

use std::time::Duration;

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
async fn abandon(db: &Database, before: Timestamp, limit: i64) -> Result<(), sqlx::Error> {
    let rows = on_pool!(db.write(), pool => {
        sqlx::query(
            "update deliveries
             set state = 'cancelled', next_at = null, settled_at = $2,
                 last_error = 'abandoned: its job has ended without a last attempt'
             where id in (select id from deliveries
                          where settled_at is null and updated_at < $1 order by updated_at limit $3)",
        )
        .bind(before.as_ms())
        .bind(before.after(ABANDONED_FOR).as_ms())
        .bind(limit)
        .execute(pool)
        .await?
        .rows_affected()
    });
    if rows > 0 {
        tracing::warn!(rows, "marked deliveries as cancelled that no job will bring any more");
    }
    Ok(())
}

const STEPS: [(&str, &str); 3] = [
    (
        "delivery_attempts",
        "delete from delivery_attempts where id in
           (select a.id from delivery_attempts a join deliveries d on d.id = a.delivery_id
            where a.at < $1 and d.settled_at < $1 order by a.at limit $2)",
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
