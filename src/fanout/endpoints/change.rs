//! Changes of an endpoint: its fields, and whether it gets events.

use super::super::FanoutState;
use super::super::deliver::{SendingChange, keep_sending};
use super::super::notices::{Notice, note};
use super::super::operational::ENDPOINT_DISABLED;
use super::{
    Endpoint, EndpointError, EndpointState, Texts, check_description, check_headers, check_metadata, check_prefix,
    check_together, exists, invalid, parse_filter, parse_patterns, read, seal_headers, to_json,
};
use crate::on_tx;

const MAX_REASON: usize = 200;

/// What shall change; `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointChange {
    /// Another URL.
    pub url: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Other patterns.
    pub event_types: Option<Vec<String>>,
    /// Another filter; empty for none.
    pub filter: Option<String>,
    /// Other headers instead of all there were.
    pub headers: Option<Texts>,
    /// Another prefix; empty for none.
    pub header_prefix: Option<String>,
    /// Other notes instead of all there were.
    pub metadata: Option<Texts>,
    /// How it is sent to: what is named in it.
    pub sending: Option<SendingChange>,
}

/// Changes an endpoint; a new URL is resolved and vetted. Deliveries under way follow at their next attempt.
///
/// # Errors
/// As [`create`](super::create), and when there is no such endpoint.
pub async fn update(state: &FanoutState, id: &str, change: EndpointChange) -> Result<Endpoint, EndpointError> {
    if let Some(description) = &change.description {
        check_description(description)?;
    }
    let patterns = change.event_types.as_deref().map(parse_patterns).transpose()?;
    let url = match &change.url {
        Some(url) => Some(state.guard.vet(url).await?),
        None => None,
    };
    change.filter.as_deref().map(parse_filter).transpose()?;
    change.header_prefix.as_deref().filter(|prefix| !prefix.is_empty()).map(check_prefix).transpose()?;
    change.headers.as_ref().map(check_headers).transpose()?;
    change.metadata.as_ref().map(check_metadata).transpose()?;
    let (names, key_id, sealed) = match &change.headers {
        Some(headers) => {
            let kept = seal_headers(state, id, headers)?;
            (Some(kept.names), kept.key_id, kept.sealed)
        }
        None => (None, None, None),
    };
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let rows = on_tx!(&mut tx, conn => {
        sqlx::query(
            "update endpoints
             set url = coalesce($2, url), description = coalesce($3, description),
                 event_types = coalesce($4, event_types), updated_at = $5, filter = nullif(coalesce($6, filter), ''),
                 headers = coalesce($7, headers), header_prefix = nullif(coalesce($8, header_prefix), ''),
                 metadata = coalesce($9, metadata),
                 headers_key = case when $7 is null then headers_key else $10 end,
                 headers_sealed = case when $7 is null then headers_sealed else $11 end
             where id = $1",
        )
        .bind(id)
        .bind(url.as_ref().map(url::Url::as_str))
        .bind(change.description)
        .bind(patterns.as_deref().map(to_json))
        .bind(now.as_ms())
        .bind(change.filter)
        .bind(names)
        .bind(change.header_prefix)
        .bind(change.metadata.map(|texts| serde_json::json!(texts).to_string()))
        .bind(key_id)
        .bind(sealed)
        .execute(conn)
        .await?
        .rows_affected()
    });
    exists(rows, id)?;
    let mut changed = read(&mut tx, id).await?;
    if let Some(sending) = change.sending {
        changed.sending = sending.over(changed.sending);
        keep_sending(&mut tx, id, &changed.sending, now).await?;
    }
    // Headers and prefix may have come with different calls.
    check_together(&changed.headers, changed.header_prefix.as_deref())?;
    tx.commit().await?;
    Ok(changed)
}

/// Sends it nothing more. Deliveries under way are cancelled at their next attempt.
///
/// # Errors
/// When there is no such endpoint or `reason` is empty or too long.
pub async fn disable(state: &FanoutState, id: &str, reason: &str) -> Result<Endpoint, EndpointError> {
    check_reason(reason)?;
    switch(state, id, "disabled", Some(reason), None).await
}

/// Holds its deliveries back until it is enabled again: they are opened, and wait.
///
/// # Errors
/// When there is no such endpoint or `reason` is empty or too long.
pub async fn pause(state: &FanoutState, id: &str, reason: &str) -> Result<Endpoint, EndpointError> {
    check_reason(reason)?;
    switch(state, id, "enabled", None, Some(reason)).await
}

/// Sends it events again, from the next one on. What waited while it was paused needs a
/// [recovery](super::super::recovery) of the backlog.
///
/// # Errors
/// When there is no such endpoint.
pub async fn enable(state: &FanoutState, id: &str) -> Result<Endpoint, EndpointError> {
    switch(state, id, "enabled", None, None).await
}

fn check_reason(reason: &str) -> Result<(), EndpointError> {
    let fits = (1..=MAX_REASON).contains(&reason.len()) && !reason.contains('\0');
    if fits { Ok(()) } else { Err(invalid("reason", reason, "1 to 200 bytes without NUL")) }
}

async fn switch(
    state: &FanoutState,
    id: &str,
    to: &'static str,
    reason: Option<&str>,
    pause_reason: Option<&str>,
) -> Result<Endpoint, EndpointError> {
    let now = state.clock.now();
    let mut tx = state.db.begin().await?;
    let rows = on_tx!(&mut tx, conn => {
        sqlx::query(
            "update endpoints
             set state = $2, reason = $3, updated_at = $4, pause_reason = $5,
                 paused_at = case when $5 is null then null else coalesce(paused_at, $4) end
             where id = $1",
        )
        .bind(id)
        .bind(to)
        .bind(reason)
        .bind(now.as_ms())
        .bind(pause_reason)
        .execute(conn)
        .await?
        .rows_affected()
    });
    exists(rows, id)?;
    let changed = read(&mut tx, id).await?;
    if changed.state == EndpointState::Disabled {
        let event_type = ENDPOINT_DISABLED;
        note(&mut tx, Notice { event_type, endpoint: id, delivery: None, reason, at: now }).await?;
    }
    tx.commit().await?;
    Ok(changed)
}
