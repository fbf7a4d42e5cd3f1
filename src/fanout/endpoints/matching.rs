//! Which endpoints of a tenant want an event.

use super::super::operational::is_operational;
use super::super::{Event, Filter, Pattern};
use crate::data::Tx;
use crate::on_tx;

/// What an endpoint asks for, and how it is sent to.
#[derive(Debug, sqlx::FromRow)]
pub(in super::super) struct Wish {
    pub(in super::super) id: String,
    event_types: String,
    filter: Option<String>,
    paused_at: Option<i64>,
    pub(in super::super) ordering: Option<String>,
    /// Its own schedule, as JSON.
    pub(in super::super) retry_delays_ms: Option<String>,
}

macro_rules! wish {
    ($which:literal) => {
        concat!(
            "select e.id, e.event_types, e.filter, e.paused_at, s.ordering, s.retry_delays_ms
             from endpoints e left join endpoint_delivery s on s.endpoint_id = e.id where e.state = 'enabled' and ",
            $which
        )
    };
}

/// Those that want `event` among the next `limit` enabled endpoints of its tenant after `after`, and the last one that
/// was looked at, if there may be more.
pub(in super::super) async fn wanting(
    tx: &mut Tx,
    event: &Event,
    after: &str,
    limit: usize,
) -> anyhow::Result<(Vec<Wish>, Option<String>)> {
    let page: Vec<Wish> = on_tx!(tx, conn => {
        sqlx::query_as(wish!("e.tenant = $1 and e.id > $2 order by e.id limit $3"))
            .bind(&event.tenant)
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(conn)
            .await?
    });
    let last = page.last().filter(|_| page.len() == limit).map(|wish| wish.id.clone());
    let mut wanting = Vec::new();
    for wish in page {
        if wish.wants(&event.event_type, &event.payload)? {
            wanting.push(wish);
        }
    }
    Ok((wanting, last))
}

/// What one endpoint asks for; `None`: it is disabled or deleted.
pub(in super::super) async fn wish_of(tx: &mut Tx, endpoint: &str) -> Result<Option<Wish>, sqlx::Error> {
    on_tx!(tx, conn => sqlx::query_as(wish!("e.id = $1")).bind(endpoint).fetch_optional(conn).await)
}

impl Wish {
    /// Its deliveries wait until it is resumed.
    pub(in super::super) fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }

    /// Says whether the endpoint wants an event of this type with this payload.
    pub(in super::super) fn wants(&self, event_type: &str, payload: &serde_json::Value) -> anyhow::Result<bool> {
        let patterns: Vec<Pattern> = serde_json::from_str(&self.event_types)?;
        let fits = |pattern: &&Pattern| {
            // What we say of endpoints goes only to those that ask for it by its first word.
            pattern.matches(event_type) && !(is_operational(event_type) && pattern.begins_with_any())
        };
        if !patterns.iter().any(|pattern| fits(&pattern)) {
            return Ok(false);
        }
        // Nobody is told about itself: what can't be delivered to it can't be told to it either.
        if is_operational(event_type) && payload["endpoint"] == self.id.as_str() {
            return Ok(false);
        }
        match &self.filter {
            None => Ok(true),
            Some(text) => Ok(text.parse::<Filter>()?.fits(payload)),
        }
    }
}
