//! What became of each delivery: the rows of `messages`, `deliveries` and `delivery_attempts` that handlers write.
//!
//! A delivery that has succeeded stays so, whoever reports late. Any other report is kept out when it comes with an
//! older epoch than the row has seen, so a worker that lost its lease changes no state; the POST it made is logged all
//! the same.

use sqlx::FromRow;

use super::deliver::{Sending, SendingRow};
use super::endpoints::HeadersRow;
use super::{Deliver, FanoutState};
use crate::config::fanout::FanoutConfig;
use crate::on_pool;

mod line;
mod lines;
mod mend;
mod open;

pub(super) use line::ahead;
pub(super) use lines::{Closing, Next, Opening, Said, cancel};
pub(super) use mend::{Found, begin_anew, end, interrupt, unsettled};
pub(super) use open::{BATCH, CloseMessage, OpenBatch, keep_message, open_delivery};

/// A delivery as its handler needs it.
#[derive(Debug)]
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
    pub(super) headers: HeadersRow,
    pub(super) header_prefix: Option<String>,
    /// It has not answered 2xx since; milliseconds.
    pub(super) failing_since: Option<i64>,
    pub(super) sending: Sending,
}

impl Due {
    pub(super) fn max_concurrency(&self, config: &FanoutConfig) -> u32 {
        self.sending.max_concurrency.unwrap_or(config.max_concurrency)
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    state: String,
    body: String,
    url: Option<String>,
    reason: Option<String>,
    pause_reason: Option<String>,
    event_type: String,
    #[sqlx(flatten)]
    headers: HeadersRow,
    header_prefix: Option<String>,
    failing_since: Option<i64>,
    #[sqlx(flatten)]
    sending: SendingRow,
}

/// The delivery of a job; `None`: retention has taken it.
pub(super) async fn load(state: &FanoutState, job: &Deliver) -> anyhow::Result<Option<Due>> {
    let row: Option<Row> = on_pool!(state.db.read(), pool => {
        sqlx::query_as(
            "select d.id, d.state, m.body, m.event_type, e.url, e.reason, e.pause_reason, e.headers,
                    e.headers_key, e.headers_sealed, e.header_prefix, t.failing_since,
                    s.ordering, s.max_concurrency, s.rate_limit, s.rate_window_ms, s.retry_delays_ms
             from deliveries d join messages m on m.id = d.message_id
                  left join endpoints e on e.id = d.endpoint_id
                  left join endpoint_delivery s on s.endpoint_id = d.endpoint_id
                  left join endpoint_trouble t on t.endpoint_id = d.endpoint_id
             where d.message_id = $1 and d.endpoint_id = $2",
        )
        .bind(&job.message)
        .bind(&job.endpoint)
        .fetch_optional(pool)
        .await?
    });
    let Some(row) = row else { return Ok(None) };
    let sending = row.sending.read();
    let sending = sending.ok_or_else(|| anyhow::anyhow!("the delivery settings of {} are unreadable", job.endpoint))?;
    Ok(Some(Due {
        id: row.id,
        state: row.state,
        body: row.body,
        url: row.url,
        reason: row.reason,
        pause_reason: row.pause_reason,
        event_type: row.event_type,
        headers: row.headers,
        header_prefix: row.header_prefix,
        failing_since: row.failing_since,
        sending,
    }))
}
