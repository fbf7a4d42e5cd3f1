//! Lines of the attempt log: opened before the POST, closed with what came of it, and the delivery moved on with them.
//!
//! Many deliveries write at once, so their lines share commits ([`Database::together`](crate::data::Database::together)).

mod direct;
mod log;
mod many;

pub(super) use direct::{look as look_directly, open_pending};
pub(super) use log::interrupt;
pub(super) use many::{Of, insert, look, opened};

use std::sync::Arc;
use std::time::Duration;

use super::super::deliver::Turn;
use super::super::endpoints::SILENT_SINCE;
use super::super::history::DeliveryState;
use super::super::notices::{FAILING_AT, Notice, note};
use super::super::operational::{ENDPOINT_DISABLED, ENDPOINT_FAILING, ENDPOINT_RECOVERED, MESSAGE_EXHAUSTED};
use super::super::post::{Answer, Posted};
use super::super::{Deliver, FanoutState};
use super::Due;
use crate::clock::Timestamp;
use crate::data::{Direct, DirectError, Tx, Write};
use crate::on_tx;

/// Failures further apart than this are not one story: it is longer than the longest wait between two attempts.
const ONE_STORY: Duration = Duration::from_secs(48 * 3600);

/// What an attempt makes of its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Next {
    /// The receiver has it.
    Succeeded,
    /// Another attempt at this time.
    Again(Timestamp),
    /// That was the last attempt.
    Exhausted,
    /// The receiver wants no more of it, in these words.
    Cancelled(&'static str),
    /// Nothing: it was stopped.
    Unchanged,
}

/// A line to be opened, and what it says from then on.
#[derive(Debug)]
pub(in super::super) struct Opening {
    pub(in super::super) attempt: String,
    pub(in super::super) delivery: String,
    pub(in super::super) endpoint: String,
    pub(in super::super) host: Arc<str>,
    pub(in super::super) turn: Turn,
    pub(in super::super) now: Timestamp,
    /// Afterwards nobody believes that the POST is still under way.
    pub(in super::super) expires_at: Timestamp,
    pub(in super::super) max_concurrency: u32,
    pub(in super::super) strict: bool,
}

/// Whether it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Said {
    Opened,
    /// As many lines of the endpoint are open as may be.
    Busy,
    /// An earlier delivery has not settled; it is tried again at this time, if that is known.
    InLine {
        until: Option<Timestamp>,
    },
}

/// A line to be closed.
#[derive(Clone, Debug)]
pub(in super::super) struct Closing {
    pub(in super::super) line: Arc<Opening>,
    pub(in super::super) posted: Arc<Posted>,
    pub(in super::super) next: Next,
    /// The endpoint is to be disabled, for this reason.
    pub(in super::super) disable: Option<&'static str>,
    /// The endpoint is disabled when it has failed for so long.
    pub(in super::super) disable_after: Option<Duration>,
    pub(in super::super) now: Timestamp,
}

/// What closing it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Closed {
    /// False: the log has it, but the delivery was not changed: it was stopped, or the delivery had succeeded before or
    /// belongs to a newer attempt.
    pub(in super::super) moved: bool,
    /// Why the endpoint is disabled now.
    pub(in super::super) disabled: Option<String>,
    /// Something was written down to be told.
    pub(in super::super) noticed: bool,
    /// The delivery that may go now.
    pub(in super::super) next_in_line: Option<String>,
}

impl Write for Arc<Opening> {
    type Output = Said;
    type Error = sqlx::Error;

    async fn write(&self, tx: &mut Tx) -> Result<Said, sqlx::Error> {
        open(tx, self).await
    }

    async fn write_all(works: &[&Self], tx: &mut Tx) -> Result<Vec<Said>, sqlx::Error> {
        let node = works.first().map(|it| it.turn.node);
        let is_plain = |it: &Self| many::opens_plainly(it) && Some(it.turn.node) == node;
        let plain: Vec<&Self> = works.iter().copied().filter(|it| is_plain(it)).collect();
        let mut opened = many::open_all(tx, &plain).await?.into_iter();
        let mut said = Vec::with_capacity(works.len());
        for it in works {
            let known = if is_plain(it) { opened.next() } else { None };
            said.push(match known {
                Some(word) => word,
                None => open(tx, it).await?,
            });
        }
        Ok(said)
    }
}

impl Write for Closing {
    type Output = Closed;
    type Error = sqlx::Error;

    /// Whoever opens a line behind it finds its place free.
    const GOES_FIRST: bool = true;

    fn is_direct(&self) -> bool {
        many::closes_plainly(self)
    }

    fn write_directly(works: &[&Self], on: &Direct<'_>) -> Result<Vec<Option<Closed>>, DirectError> {
        direct::close_all(on, works)
    }

    async fn write(&self, tx: &mut Tx) -> Result<Closed, sqlx::Error> {
        close(tx, self).await
    }

    async fn write_all(works: &[&Self], tx: &mut Tx) -> Result<Vec<Closed>, sqlx::Error> {
        let node = works.first().map(|it| it.line.turn.node);
        let looks_plain = |it: &&Self| many::closes_plainly(it) && Some(it.line.turn.node) == node;
        let mut plain: Vec<&Self> = works.iter().copied().filter(looks_plain).collect();
        let troubled = many::troubled(tx, &plain).await?;
        let is_plain = |it: &&Self| looks_plain(it) && !troubled.contains(&it.line.endpoint);
        plain.retain(is_plain);
        let mut together = many::close_all(tx, &plain).await?.into_iter();
        let mut closed = Vec::with_capacity(works.len());
        for it in works {
            let known = if is_plain(it) { together.next() } else { None };
            closed.push(match known {
                Some(closed) => closed,
                None => close(tx, it).await?,
            });
        }
        Ok(closed)
    }
}

async fn open(tx: &mut Tx, it: &Opening) -> Result<Said, sqlx::Error> {
    if it.turn.epoch > 1 || it.turn.number > 1 {
        log::interrupt_others(tx, it).await?;
    }
    if log::open_line(tx, it).await? {
        return Ok(Said::Opened);
    }
    match first_in_line(tx, &it.endpoint).await? {
        Some((id, next_at)) if it.strict && id != it.delivery => {
            Ok(Said::InLine { until: next_at.map(Timestamp::from_ms) })
        }
        _ => Ok(Said::Busy),
    }
}

/// The endpoint's oldest unsettled delivery, and when it is tried again.
async fn first_in_line(tx: &mut Tx, endpoint: &str) -> Result<Option<(String, Option<i64>)>, sqlx::Error> {
    on_tx!(tx, conn => {
        sqlx::query_as(
            "select o.delivery_id, d.next_at from delivery_order o join deliveries d on d.id = o.delivery_id
             where o.endpoint_id = $1 and d.settled_at is null order by o.seq limit 1",
        )
        .bind(endpoint)
        .fetch_optional(conn)
        .await
    })
}

async fn close(tx: &mut Tx, it: &Closing) -> Result<Closed, sqlx::Error> {
    let line = &it.line;
    let counts = log::close_line(tx, it).await?;
    let moved = move_on(tx, it, counts).await?;
    if counts && !moved {
        log::count(tx, &line.delivery).await?;
    }
    let mut closed = Closed { moved, ..Closed::default() };
    if it.next != Next::Unchanged {
        let (failed_for_long, turned) = trouble(tx, it).await?;
        closed.noticed |= tell_of(tx, it, turned, None).await?;
        let exhausted = (moved && it.next == Next::Exhausted).then_some(MESSAGE_EXHAUSTED);
        closed.noticed |= tell_of(tx, it, exhausted, None).await?;
        let reason = it.disable.map(str::to_owned).or(failed_for_long);
        if let Some(reason) = reason
            && disable(tx, &line.endpoint, &reason, it.now).await?
        {
            closed.noticed |= tell_of(tx, it, Some(ENDPOINT_DISABLED), Some(&reason)).await?;
            closed.disabled = Some(reason);
        }
    }
    if line.strict && moved && !matches!(it.next, Next::Again(_)) {
        closed.next_in_line = leave_line(tx, &line.endpoint, &line.delivery).await?;
    }
    Ok(closed)
}

/// Moves the delivery on, and counts the POST with it where it `counts`. False: it stays as it is, and nothing was counted.
async fn move_on(tx: &mut Tx, it: &Closing, counts: bool) -> Result<bool, sqlx::Error> {
    let (status, _, error) = words(&it.posted.answer);
    let (becomes, next_at, error) = match it.next {
        Next::Unchanged => return Ok(false),
        Next::Succeeded => (DeliveryState::Succeeded, None, error),
        Next::Again(at) => (DeliveryState::Failed, Some(at.as_ms()), error),
        Next::Exhausted => (DeliveryState::Exhausted, None, error),
        Next::Cancelled(why) => (DeliveryState::Cancelled, None, Some(why)),
    };
    let settled_at = next_at.is_none().then_some(it.now.as_ms());
    let rows = on_tx!(tx, conn => {
        sqlx::query(
            "update deliveries
             set state = $2, next_at = $3, last_status = $4, last_error = $5, updated_at = $6, settled_at = $7,
                 epoch = case when epoch > $8 then epoch else $8 end, attempts = attempts + $9
             where id = $1 and state <> 'succeeded' and (epoch <= $8 or $2 = 'succeeded')",
        )
        .bind(&it.line.delivery)
        .bind(becomes.as_str())
        .bind(next_at)
        .bind(status)
        .bind(error)
        .bind(it.now.as_ms())
        .bind(settled_at)
        .bind(it.line.turn.epoch)
        .bind(i64::from(counts))
        .execute(conn)
        .await?
        .rows_affected()
    });
    Ok(rows == 1)
}

/// Writes down what is to be told of the endpoint, if anything is.
async fn tell_of(
    tx: &mut Tx,
    it: &Closing,
    event_type: Option<&'static str>,
    reason: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let Some(event_type) = event_type else { return Ok(false) };
    let (endpoint, delivery) = (it.line.endpoint.as_str(), Some(it.line.delivery.as_str()));
    note(tx, Notice { event_type, endpoint, delivery, reason, at: it.now }).await
}

/// Keeps how long the endpoint has failed; says so when that is too long, and what it has turned into.
async fn trouble(tx: &mut Tx, it: &Closing) -> Result<(Option<String>, Option<&'static str>), sqlx::Error> {
    let now = it.now.as_ms();
    if it.posted.succeeded() {
        // None: it was in none, or another success has told of it.
        let failures: Option<i64> = on_tx!(tx, conn => {
            sqlx::query_scalar("delete from endpoint_trouble where endpoint_id = $1 returning failures")
                .bind(&it.line.endpoint)
                .fetch_optional(conn)
                .await?
        });
        return Ok((None, failures.filter(|n| *n >= FAILING_AT).map(|_| ENDPOINT_RECOVERED)));
    }
    let found: Option<(i64, i64)> = on_tx!(tx, conn => {
        sqlx::query_as(
            "insert into endpoint_trouble (endpoint_id, failing_since, last_failed_at, failures)
             select id, $2, $2, 1 from endpoints where id = $1
             on conflict (endpoint_id) do update
             set failing_since = case when endpoint_trouble.last_failed_at < $3 or endpoint_trouble.failing_since > $2
                                      then $2 else endpoint_trouble.failing_since end,
                 failures = case when endpoint_trouble.last_failed_at < $3 then 1
                                 else endpoint_trouble.failures + 1 end,
                 last_failed_at = $2
             returning failing_since, failures",
        )
        .bind(&it.line.endpoint)
        .bind(now)
        .bind(it.now.before(ONE_STORY).as_ms())
        .fetch_optional(conn)
        .await?
    });
    // None: the endpoint was deleted meanwhile.
    let Some((since, failures)) = found else { return Ok((None, None)) };
    let since = Timestamp::from_ms(since);
    let too_long = it.disable_after.is_some_and(|limit| it.now.since(since) >= limit);
    let turned = (failures == FAILING_AT).then_some(ENDPOINT_FAILING);
    Ok((too_long.then(|| format!("{SILENT_SINCE}{since}")), turned))
}

/// False: somebody has disabled or deleted it meanwhile, which serves as well.
async fn disable(tx: &mut Tx, endpoint: &str, reason: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    let rows = on_tx!(tx, conn => {
        // Whoever enables it again begins anew.
        let forgotten = sqlx::query("delete from endpoint_trouble where endpoint_id = $1");
        one_at_most(forgotten.bind(endpoint).execute(&mut *conn).await?.rows_affected())?;
        sqlx::query(
            "update endpoints set state = 'disabled', reason = $2, updated_at = $3 where id = $1 and state = 'enabled'",
        )
        .bind(endpoint)
        .bind(reason)
        .bind(now.as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    Ok(rows == 1)
}

/// Takes a settled delivery out of its endpoint's line; the one that is first now.
async fn leave_line(tx: &mut Tx, endpoint: &str, delivery: &str) -> Result<Option<String>, sqlx::Error> {
    let left = on_tx!(&mut *tx, conn => {
        let leave = sqlx::query("delete from delivery_order where delivery_id = $1");
        leave.bind(delivery).execute(conn).await?.rows_affected()
    });
    // None: it stood in no line, because the endpoint kept no order when it was opened.
    one_at_most(left)?;
    Ok(first_in_line(tx, endpoint).await?.map(|(id, _)| id))
}

/// Ends a delivery that nobody wants any more, unless it was settled before, or by a newer attempt. The one that may go
/// next, where order is kept.
pub(in super::super) async fn cancel(
    state: &FanoutState,
    job: &Deliver,
    due: &Due,
    why: &str,
    turn: &Turn,
) -> Result<Option<String>, sqlx::Error> {
    let mut tx = state.db.begin().await?;
    let rows = on_tx!(&mut tx, conn => {
        sqlx::query(
            "update deliveries
             set state = 'cancelled', next_at = null, last_error = $2, epoch = $3, updated_at = $4, settled_at = $4
             where id = $1 and state in ('pending', 'failed') and epoch <= $3",
        )
        .bind(&due.id)
        .bind(why)
        .bind(turn.epoch)
        .bind(state.clock.now().as_ms())
        .execute(conn)
        .await?
        .rows_affected()
    });
    let next = if rows == 1 { leave_line(&mut tx, &job.endpoint, &due.id).await? } else { None };
    tx.commit().await?;
    Ok(next)
}

/// A statement about one row that has touched more is not to be committed.
fn one_at_most(rows: u64) -> Result<(), sqlx::Error> {
    if rows <= 1 { Ok(()) } else { Err(sqlx::Error::Protocol(format!("{rows} rows where there is one at most"))) }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn words(answer: &Answer) -> (Option<i64>, Option<&'static str>, Option<&str>) {
    match answer {
        Answer::Status { status, .. } => (Some(i64::from(*status)), None, None),
        Answer::Nothing { class, error } => (None, Some(class.as_str()), Some(error)),
    }
}
