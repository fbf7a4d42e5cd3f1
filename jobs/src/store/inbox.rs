//! `webhook_events` as operators see it, and `webhook_repeats`: how often events came again.

use tidemill::admin::{Inbound, InboundContent, InboxFilter, InboxPage, InboxPlace};
use tidemill::clock::Timestamp;
use tidemill::data::Database;
use tidemill::ingress::{RawBody, Repeat};
use tidemill::{on_pool, on_tx};

use super::{at, unreadable};

/// A filter that no index answers looks at so many rows for one page.
const LOOK: usize = 1_000;

macro_rules! columns {
    () => {
        "select e.source, e.event_id, e.event_type, e.received_at, e.verified_with, e.job, e.outcome, e.finished_at,
                e.redeliveries, length(e.body), e.queue, e.handle_as, coalesce(r.same, 0),
                coalesce(r.differing, 0), r.last_at
         from webhook_events e
         left join webhook_repeats r on r.source = e.source and r.event_id = e.event_id "
    };
}

/// As [`columns!`] has them.
type Row = (
    String,
    String,
    String,
    i64,
    Option<String>,
    Option<String>,
    String,
    Option<i64>,
    i64,
    i64,
    Option<String>,
    Option<String>,
    i64,
    i64,
    Option<i64>,
);

/// A page of webhooks, newest first.
///
/// # Errors
/// When the database did not answer.
pub async fn list(
    db: &Database,
    filter: &InboxFilter,
    place: Option<&InboxPlace>,
    limit: u32,
) -> Result<InboxPage, sqlx::Error> {
    let limit = usize::try_from(limit).unwrap_or(LOOK);
    let sifted = filter.event_type.is_some() || filter.state.is_some();
    let look = if sifted { LOOK.max(limit + 1) } else { limit + 1 };
    let rows = i64::try_from(look).unwrap_or(i64::MAX);
    let (below, source, id) = match place {
        Some(place) => (place.received_at.as_ms(), place.source.as_str(), place.event_id.as_str()),
        None => (filter.until.map_or(i64::MAX, Timestamp::as_ms), "", ""),
    };
    let since = filter.since.map_or(i64::MIN, Timestamp::as_ms);
    let found: Vec<Row> = on_pool!(db.read(), pool => match &filter.source {
        Some(of) => sqlx::query_as(concat!(
            columns!(),
            "where e.source = $1 and (e.received_at, e.event_id) < ($2, $3) and e.received_at >= $4
             order by e.received_at desc, e.event_id desc limit $5"
        ))
        .bind(of)
        .bind(below)
        .bind(id)
        .bind(since)
        .bind(rows)
        .fetch_all(pool)
        .await?,
        None => sqlx::query_as(concat!(
            columns!(),
            "where (e.received_at, e.source, e.event_id) < ($1, $2, $3) and e.received_at >= $4
             order by e.received_at desc, e.source desc, e.event_id desc limit $5"
        ))
        .bind(below)
        .bind(source)
        .bind(id)
        .bind(since)
        .bind(rows)
        .fetch_all(pool)
        .await?,
    });
    let full = found.len() == look;
    let seen = found.into_iter().map(inbound).collect::<Result<Vec<_>, _>>()?;
    let last_seen = seen.last().map(InboxPlace::after);
    let mut items: Vec<Inbound> = seen.into_iter().filter(|webhook| filter.fits(webhook)).collect();
    let next = if items.len() > limit {
        items.truncate(limit);
        items.last().map(InboxPlace::after)
    } else {
        last_seen.filter(|_| full)
    };
    Ok(InboxPage { items, next })
}

/// One webhook.
///
/// # Errors
/// When the database did not answer.
pub async fn find(db: &Database, source: &str, event_id: &str) -> Result<Option<Inbound>, sqlx::Error> {
    let row: Option<Row> = on_pool!(db.read(), pool => {
        sqlx::query_as(concat!(columns!(), "where e.source = $1 and e.event_id = $2"))
            .bind(source)
            .bind(event_id)
            .fetch_optional(pool)
            .await?
    });
    row.map(inbound).transpose()
}

/// What a webhook brought.
///
/// # Errors
/// When the database did not answer.
pub async fn content(db: &Database, source: &str, event_id: &str) -> Result<Option<InboundContent>, sqlx::Error> {
    let row: Option<(String, Vec<u8>)> = on_pool!(db.read(), pool => {
        sqlx::query_as("select headers, body from webhook_events where source = $1 and event_id = $2")
            .bind(source)
            .bind(event_id)
            .fetch_optional(pool)
            .await?
    });
    let read = |(headers, body): (String, Vec<u8>)| {
        let headers = serde_json::from_str(&headers).map_err(|e| unreadable("webhook_events.headers", e))?;
        Ok(InboundContent { headers, body: RawBody::new(body.into()) })
    };
    row.map(read).transpose()
}

/// When the last `n` webhooks of a source were received, oldest first.
///
/// # Errors
/// When the database did not answer.
pub async fn last_times(db: &Database, source: &str, n: u32) -> Result<Vec<Timestamp>, sqlx::Error> {
    let mut times: Vec<i64> = on_pool!(db.read(), pool => {
        sqlx::query_scalar(
            "select received_at from webhook_events where source = $1 order by received_at desc, event_id desc limit $2",
        )
        .bind(source)
        .bind(i64::from(n))
        .fetch_all(pool)
        .await?
    });
    times.reverse();
    Ok(times.into_iter().map(Timestamp::from_ms).collect())
}

/// Adds counts of repeats, all or none.
///
/// # Errors
/// When the database did not take them.
pub async fn count_repeats(db: &Database, repeats: &[Repeat]) -> Result<(), sqlx::Error> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut tx = db.begin().await?;
    for repeat in repeats {
        on_tx!(&mut tx, conn => {
            sqlx::query(
                "insert into webhook_repeats (source, event_id, same, differing, last_at) values ($1, $2, $3, $4, $5)
                 on conflict (source, event_id) do update set same = webhook_repeats.same + excluded.same,
                    differing = webhook_repeats.differing + excluded.differing,
                    last_at = case when excluded.last_at > webhook_repeats.last_at then excluded.last_at
                                   else webhook_repeats.last_at end",
            )
            .bind(&repeat.source)
            .bind(&repeat.event_id)
            .bind(number(repeat.same))
            .bind(number(repeat.differing))
            .bind(repeat.last_at.as_ms())
            .execute(conn)
            .await?
        });
    }
    tx.commit().await
}

/// Takes away up to `limit` counts of events that came last before `before`; how many it was.
///
/// # Errors
/// When the database did not do it.
pub async fn prune_repeats(db: &Database, before: Timestamp, limit: u32) -> Result<u64, sqlx::Error> {
    on_pool!(db.write(), pool => {
        sqlx::query(
            "delete from webhook_repeats where (source, event_id) in
                 (select source, event_id from webhook_repeats where last_at < $1 order by last_at limit $2)",
        )
        .bind(before.as_ms())
        .bind(i64::from(limit))
        .execute(pool)
        .await
        .map(|done| done.rows_affected())
    })
}

fn inbound(row: Row) -> Result<Inbound, sqlx::Error> {
    let (source, event_id, event_type, received, verified_with, job, state, finished, again, bytes, ..) = row;
    let (.., queue, handle_as, same, other, last) = row;
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(Inbound {
        source,
        event_id,
        event_type,
        received_at: Timestamp::from_ms(received),
        verified_with,
        queue,
        handle_as,
        job: job.map(|id| id.parse().map_err(|e| unreadable("webhook_events.job", e))).transpose()?,
        state,
        finished_at: at(finished),
        duplicates: count(same),
        differing: count(other),
        last_duplicate_at: at(last),
        redeliveries: count(again),
        body_bytes: count(bytes),
    })
}
