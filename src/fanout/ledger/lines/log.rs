//! Lines one by one: a row of `delivery_posts` from before the POST, a row of `delivery_attempts` in its place when it has ended.
//!
//! A POST is counted in its delivery when its line gets into the log, however that comes about: so the count and the log agree
//! whenever no POST is under way.

use super::{Closing, Next, Opening, many, ms, words};
use crate::clock::Timestamp;
use crate::data::Tx;
use crate::on_tx;

/// False: there is no place for it, an earlier delivery has not settled, or the delivery is gone.
pub(super) async fn open_line(tx: &mut Tx, it: &Opening) -> Result<bool, sqlx::Error> {
    let opened = on_tx!(tx, conn => {
        sqlx::query(
            "insert into delivery_posts (endpoint_id, delivery_id, id, attempt, at, node, expires_at, host)
             select endpoint_id, id, $1, $4, $5, $6, $7, $8 from deliveries
             where id = $2 and endpoint_id = $3
               and (select count(*) from delivery_posts p where p.endpoint_id = $3 and p.expires_at > $5) < $9
               and ($10 = 0 or not exists
                     (select 1 from delivery_order o join deliveries d on d.id = o.delivery_id
                      where o.endpoint_id = $3 and d.settled_at is null
                        and o.seq < (select seq from delivery_order where delivery_id = $2)))",
        )
        .bind(&it.attempt)
        .bind(&it.delivery)
        .bind(&it.endpoint)
        .bind(i64::from(it.turn.number))
        .bind(it.now.as_ms())
        .bind(it.turn.node.to_string())
        .bind(it.expires_at.as_ms())
        .bind(&*it.host)
        .bind(i64::from(it.max_concurrency))
        .bind(i64::from(it.strict))
        .execute(conn)
        .await?
        .rows_affected()
    });
    Ok(opened == 1)
}

/// Puts what came of a POST into the log. False: its line was given up as interrupted, and is counted already; it has come to its
/// end after all, and what it says is true.
pub(super) async fn close_line(tx: &mut Tx, it: &Closing) -> Result<bool, sqlx::Error> {
    let (line, posted) = (&it.line, &it.posted);
    let (status, class, error) = words(&posted.answer);
    let next_at = if let Next::Again(at) = it.next { Some(at.as_ms()) } else { None };
    let was_open = take_away(tx, &line.endpoint, &line.delivery, &line.attempt).await?;
    let text = if was_open {
        "insert into delivery_attempts
           (delivery_id, id, ended_at, address, reused, status, error_class, error, duration_ms, dns_ms, connect_ms, tls_ms,
            first_byte_ms, next_at, reply, attempt, at, node, host)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
    } else {
        "update delivery_attempts
         set ended_at = $3, address = $4, reused = $5, status = $6, error_class = $7, error = $8, duration_ms = $9,
             dns_ms = $10, connect_ms = $11, tls_ms = $12, first_byte_ms = $13, next_at = $14, reply = $15,
             attempt = $16, at = $17, node = $18, host = $19
         where delivery_id = $1 and id = $2"
    };
    let closed = on_tx!(tx, conn => {
        sqlx::query(text)
            .bind(&line.delivery)
            .bind(&line.attempt)
            .bind(it.now.as_ms())
            .bind(posted.steps.address.map(|a| a.to_string()))
            .bind(posted.reused.map(i64::from))
            .bind(status)
            .bind(class)
            .bind(error)
            .bind(ms(posted.duration))
            .bind(posted.steps.dns.map(ms))
            .bind(posted.steps.connect.map(ms))
            .bind(posted.steps.tls.map(ms))
            .bind(posted.first_byte.map(ms))
            .bind(next_at)
            .bind(&posted.reply)
            .bind(i64::from(line.turn.number))
            .bind(line.now.as_ms())
            .bind(line.turn.node.to_string())
            .bind(&*line.host)
            .execute(conn)
            .await?
            .rows_affected()
    });
    many::all_there(closed, 1)?;
    Ok(was_open)
}

/// Lines of the same delivery that are still open belong to attempts that were cut off: this one has its job now.
pub(super) async fn interrupt_others(tx: &mut Tx, it: &Opening) -> Result<(), sqlx::Error> {
    let open: Vec<String> = on_tx!(&mut *tx, conn => {
        sqlx::query_scalar("select id from delivery_posts where endpoint_id = $1 and delivery_id = $2 and id <> $3")
            .bind(&it.endpoint)
            .bind(&it.delivery)
            .bind(&it.attempt)
            .fetch_all(conn)
            .await?
    });
    for attempt in open {
        interrupt(tx, &it.endpoint, &it.delivery, &attempt, it.now).await?;
    }
    Ok(())
}

/// Gives one line up as interrupted. False: it is not open any more.
pub(in super::super) async fn interrupt(
    tx: &mut Tx,
    endpoint: &str,
    delivery: &str,
    attempt: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let logged = on_tx!(&mut *tx, conn => {
        // Zero rows: it was closed meanwhile, or its delivery is gone and with it its log.
        sqlx::query(
            "insert into delivery_attempts
               (delivery_id, id, attempt, at, ended_at, node, host, error_class, error, duration_ms, reply)
             select p.delivery_id, p.id, p.attempt, p.at, $4, p.node, p.host, 'interrupted',
                    'its process ended, or lost the job, before the outcome was logged',
                    case when $4 < p.at then 0 when $4 < p.expires_at then $4 - p.at else p.expires_at - p.at end, ''
             from delivery_posts p join deliveries d on d.id = p.delivery_id
             where p.endpoint_id = $1 and p.delivery_id = $2 and p.id = $3",
        )
        .bind(endpoint)
        .bind(delivery)
        .bind(attempt)
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    if logged == 1 {
        count(tx, delivery).await?;
    }
    take_away(tx, endpoint, delivery, attempt).await
}

/// Counts a POST that changes nothing else of its delivery.
pub(super) async fn count(tx: &mut Tx, delivery: &str) -> Result<(), sqlx::Error> {
    let counted = on_tx!(tx, conn => {
        sqlx::query("update deliveries set attempts = attempts + 1 where id = $1")
            .bind(delivery)
            .execute(conn)
            .await?
            .rows_affected()
    });
    many::all_there(counted, 1)
}

async fn take_away(tx: &mut Tx, endpoint: &str, delivery: &str, attempt: &str) -> Result<bool, sqlx::Error> {
    let rows = on_tx!(tx, conn => {
        sqlx::query("delete from delivery_posts where endpoint_id = $1 and delivery_id = $2 and id = $3")
            .bind(endpoint)
            .bind(delivery)
            .bind(attempt)
            .execute(conn)
            .await?
            .rows_affected()
    });
    Ok(rows == 1)
}
