//! What a delivery's handler has to know before it sends: the delivery, its message, and the endpoint as it stands now.
//!
//! Deliveries that begin together are read together, on the connection that writes: its cache knows its own writes, where
//! that of another connection is void after each of them. All of it is read at each attempt, so a change of the endpoint,
//! by whatever process, counts from the next delivery on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::{FromRow, QueryBuilder};

use super::super::deliver::{Ordering, Sending, SendingRow};
use super::super::endpoints::{HeadersRow, SecretRow, SignerRow, signer_columns};
use super::super::{Deliver, FanoutState};
use super::content::Content;
use super::lines::look;
use crate::clock::Timestamp;
use crate::data::{Tx, Write, padded};
use crate::{on_pool, on_tx};

/// A delivery as its handler needs it.
#[derive(Debug)]
pub(in super::super) struct Due {
    pub(in super::super) id: String,
    pub(in super::super) state: String,
    pub(in super::super) content: Content,
    pub(in super::super) to: Arc<Addressee>,
    /// The number of the last change of any endpoint when `to` was read: under the same number it still holds.
    pub(in super::super) revision: i64,
}

/// The endpoint of a delivery; one that was deleted has no URL.
#[derive(Debug, Default, PartialEq)]
pub(in super::super) struct Addressee {
    /// `None`: the endpoint was deleted.
    pub(in super::super) url: Option<String>,
    /// Why it is disabled.
    pub(in super::super) reason: Option<String>,
    /// Why it is paused.
    pub(in super::super) pause_reason: Option<String>,
    pub(in super::super) headers: HeadersRow,
    pub(in super::super) header_prefix: Option<String>,
    pub(in super::super) sending: Sending,
    /// Those that sign now, the current one first.
    pub(in super::super) secrets: Vec<SecretRow>,
}

impl Due {
    pub(in super::super) fn sending(&self) -> &Sending {
        &self.to.sending
    }
}

impl Addressee {
    /// Nothing but its breaker and its limits stand between it and a delivery, which may pass any other.
    pub(in super::super) fn is_open(&self) -> bool {
        self.url.is_some()
            && self.reason.is_none()
            && self.pause_reason.is_none()
            && self.sending.ordering == Ordering::None
    }

    /// A secret that signed when it was read signs no more.
    pub(super) fn has_run_out(&self, now: Timestamp) -> bool {
        self.secrets.iter().any(|secret| secret.has_run_out(now))
    }
}

/// The delivery of a job that is run without its number.
pub(in super::super) async fn number_of(state: &FanoutState, job: &Deliver) -> Result<Option<String>, sqlx::Error> {
    on_pool!(state.db.read(), pool => {
        sqlx::query_scalar("select id from deliveries where message_id = $1 and endpoint_id = $2")
            .bind(&job.message)
            .bind(&job.endpoint)
            .fetch_optional(pool)
            .await
    })
}

/// Asks for one delivery.
#[derive(Debug)]
struct Wanted {
    job: Deliver,
    now: Timestamp,
}

#[derive(FromRow)]
struct DeliveryRow {
    message_id: String,
    endpoint_id: String,
    id: String,
    state: String,
    body: String,
    event_type: String,
}

#[derive(FromRow)]
struct EndpointRow {
    id: String,
    url: String,
    reason: Option<String>,
    pause_reason: Option<String>,
    #[sqlx(flatten)]
    headers: HeadersRow,
    header_prefix: Option<String>,
    #[sqlx(flatten)]
    sending: SendingRow,
    #[sqlx(flatten)]
    signer: SignerRow,
}

/// The delivery of a job; `None`: retention has taken it.
pub(in super::super) async fn load(state: &FanoutState, job: &Deliver) -> anyhow::Result<Option<Due>> {
    let wanted = Wanted { job: job.clone(), now: state.clock.now() };
    let found = state.db.together(wanted).await?;
    found.map_err(|endpoint| anyhow::anyhow!("the delivery settings of {endpoint} are unreadable"))
}

/// An endpoint's settings that can't be read: whose.
type Unreadable = String;

/// Writes nothing, but shares the transaction of those that do.
impl Write for Wanted {
    type Output = Result<Option<Due>, Unreadable>;
    type Error = sqlx::Error;

    async fn write(&self, tx: &mut Tx) -> Result<Self::Output, sqlx::Error> {
        let mut found = find(tx, &[(&self.job, self.now)]).await?;
        Ok(found.pop().unwrap_or(Ok(None)))
    }

    async fn write_all(works: &[&Self], tx: &mut Tx) -> Result<Vec<Self::Output>, sqlx::Error> {
        let asked: Vec<_> = works.iter().map(|it| (&it.job, it.now)).collect();
        find(tx, &asked).await
    }
}

/// What each job has to know at its time, in their order.
async fn find(
    tx: &mut Tx,
    asked: &[(&Deliver, Timestamp)],
) -> Result<Vec<Result<Option<Due>, Unreadable>>, sqlx::Error> {
    let deliveries = deliveries(tx, asked).await?;
    let ids: HashSet<&str> = asked.iter().map(|(job, _)| job.endpoint.as_str()).collect();
    let now = asked.iter().map(|(_, now)| *now).max().unwrap_or_default();
    let revision = look(tx, &HashSet::new(), now).await?.revision;
    let addressees = addressees(tx, &ids, now).await?;
    let nobody = Arc::new(Addressee::default());
    let found = |(job, _): &(&Deliver, Timestamp)| {
        // Whoever comes twice finds the same.
        let Some(row) = deliveries.get(&(job.message.clone(), job.endpoint.clone())) else { return Ok(None) };
        let to = match addressees.get(&job.endpoint) {
            None => Arc::clone(&nobody),
            Some(Some(to)) => Arc::clone(to),
            Some(None) => return Err(job.endpoint.clone()),
        };
        let Delivery { id, state, content } = row.clone();
        Ok(Some(Due { id, state, content, to, revision }))
    };
    Ok(asked.iter().map(found).collect())
}

#[derive(Clone)]
struct Delivery {
    id: String,
    state: String,
    content: Content,
}

async fn deliveries(
    tx: &mut Tx,
    asked: &[(&Deliver, Timestamp)],
) -> Result<HashMap<(String, String), Delivery>, sqlx::Error> {
    let rows: Vec<DeliveryRow> = on_tx!(tx, conn => {
        let mut query = QueryBuilder::new("with v (message_id, endpoint_id) as (");
        query.push_values(padded(asked), |mut row, it| {
            row.push_bind(it.map(|it| &it.0.message)).push_bind(it.map(|it| &it.0.endpoint));
        });
        query.push(
            ") select d.message_id, d.endpoint_id, d.id, d.state, m.body, m.event_type
               from v cross join deliveries d cross join messages m
               where d.message_id = v.message_id and d.endpoint_id = v.endpoint_id and m.id = d.message_id",
        );
        query.build_query_as().fetch_all(conn).await?
    });
    let by_pair = |row: DeliveryRow| {
        let DeliveryRow { message_id, endpoint_id, id, state, body, event_type } = row;
        let content = Content { body: body.into(), event_type: event_type.into() };
        ((message_id, endpoint_id), Delivery { id, state, content })
    };
    Ok(rows.into_iter().map(by_pair).collect())
}

/// The endpoints that are there; `None` for one that can't be read.
pub(super) async fn addressees(
    tx: &mut Tx,
    ids: &HashSet<&str>,
    now: Timestamp,
) -> Result<HashMap<String, Option<Arc<Addressee>>>, sqlx::Error> {
    let ids: Vec<&str> = ids.iter().copied().collect();
    let rows: Vec<EndpointRow> = on_tx!(tx, conn => {
        let mut query = QueryBuilder::new("with v (id) as (");
        query.push_values(padded(&ids), |mut row, id| {
            row.push_bind(id.copied());
        });
        query.push(concat!(
            ") select e.id, e.url, e.reason, e.pause_reason, e.headers, e.headers_key,
                      e.headers_sealed, e.header_prefix,
                      s.ordering, s.max_concurrency, s.rate_limit, s.rate_window_ms, s.retry_delays_ms, ",
            signer_columns!(),
            " from v cross join endpoints e
                   left join endpoint_delivery s on s.endpoint_id = e.id
                   left join endpoint_secrets k on k.endpoint_id = e.id and (k.expires_at is null or k.expires_at > ",
        ));
        query.push_bind(now.as_ms());
        query.push(") where e.id = v.id order by case when k.expires_at is null then 0 else 1 end, k.id desc");
        query.build_query_as().fetch_all(conn).await?
    });
    let mut found: HashMap<String, Option<Addressee>> = HashMap::with_capacity(rows.len());
    for row in rows {
        // A row for each secret.
        let secret = row.signer.secret_of(&row.id);
        let addressee = found.entry(row.id).or_insert_with(|| {
            row.sending.read().map(|sending| Addressee {
                url: Some(row.url),
                reason: row.reason,
                pause_reason: row.pause_reason,
                headers: row.headers,
                header_prefix: row.header_prefix,
                sending,
                secrets: Vec::new(),
            })
        });
        if let (Some(addressee), Some(secret)) = (addressee, secret) {
            addressee.secrets.push(secret);
        }
    }
    Ok(found.into_iter().map(|(id, addressee)| (id, addressee.map(Arc::new))).collect())
}
