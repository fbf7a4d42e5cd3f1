//! Which endpoints of a tenant want an event.

use super::super::operational::is_operational;
use super::super::{Event, Filter, Pattern};
use crate::data::Tx;
use crate::on_tx;

/// An endpoint that wants an event.
#[derive(Debug)]
pub(in super::super) struct Wanting {
    pub(in super::super) id: String,
    /// Its deliveries wait until it is resumed.
    pub(in super::super) paused: bool,
}

/// What an endpoint asks for, as its row says it.
#[derive(sqlx::FromRow)]
pub(in super::super) struct Wish {
    pub(in super::super) id: String,
    event_types: String,
    filter: Option<String>,
    paused_at: Option<i64>,
}

/// Those that want `event` among the next `limit` enabled endpoints of its tenant after `after`, and the last one that
/// was looked at, if there may be more.
pub(in super::super) async fn wanting(
    tx: &mut Tx,
    event: &Event,
    after: &str,
    limit: usize,
) -> anyhow::Result<(Vec<Wanting>, Option<String>)> {
    let page: Vec<Wish> = on_tx!(tx, conn => {
        sqlx::query_as(
            "select id, event_types, filter, paused_at from endpoints
             where tenant = $1 and id > $2 and state = 'enabled' order by id limit $3",
        )
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
            wanting.push(Wanting { id: wish.id, paused: wish.paused_at.is_some() });
        }
    }
    Ok((wanting, last))
}

impl Wish {
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
