//! The two calls: credentials, then limits, then the answer.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Bank, CLIENT_ID, Entry, Inner, Item, SECRET, transaction};

/// So many of the last cursors are remembered for [`Bank::cursors`].
const MAX_CURSORS: usize = 1_000;

/// An answer that is not 200.
type Refusal = Box<Response>;

pub(super) async fn balance_get(State(bank): State<Bank>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let now = bank.clock.now();
    bank.with(|b| {
        let limit = b.balance_limit;
        let item = find(b, &headers, &body)?;
        item.balance_calls.retain(|at| now.since(*at) < Duration::from_secs(60));
        if limit.is_some_and(|limit| item.balance_calls.len() >= limit) {
            return Err(refuse(429, "RATE_LIMIT_EXCEEDED", "BALANCE_LIMIT"));
        }
        item.balance_calls.push(now);
        let about = json!({ "item_id": item.item_id, "institution_id": "ins_3", "error": null });
        Ok(json!({ "accounts": item.accounts, "item": about, "request_id": "fake" }))
    })
    .map_or_else(|refusal| *refusal, |reply| Json(reply).into_response())
}

pub(super) async fn transactions_sync(
    State(bank): State<Bank>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    bank.with(|b| {
        let limit = b.page_limit.unwrap_or(usize::MAX);
        let reply = sync(find(b, &headers, &body)?, &body, limit)?;
        let restless = b.restless.clone();
        if let Some(item) = restless.as_ref().and_then(|token| b.items.get_mut(token)) {
            let booking = transaction(&item.item_id, &format!("restless-{}", item.log.len()), "1");
            item.log.push(Entry::Added(booking));
        }
        for (token, entry) in std::mem::take(&mut b.next_page) {
            if let Some(item) = b.items.get_mut(&token) {
                item.log.push(entry);
            }
        }
        Ok(reply)
    })
    .map_or_else(|refusal: Refusal| *refusal, |reply| Json(reply).into_response())
}

fn sync(item: &mut Item, body: &Value, limit: usize) -> Result<Value, Refusal> {
    let count = body["count"].as_u64().unwrap_or(100);
    if !(1..=500).contains(&count) {
        return Err(refuse(400, "INVALID_REQUEST", "INVALID_FIELD"));
    }
    let cursor = body["cursor"].as_str().unwrap_or_default();
    item.sync_cursors.push(cursor.to_owned());
    if item.sync_cursors.len() > MAX_CURSORS {
        item.sync_cursors.remove(0);
    }
    if item.preparing {
        return Ok(page(&[], "", false, "NOT_READY"));
    }
    let (from, loop_end) = place(item, cursor)?;
    let count = usize::try_from(count).unwrap_or(500).min(limit);
    let end = (from + count).min(loop_end);
    let more = end < loop_end;
    // The last page's cursor is outside any loop: what comes after it is nobody's mutation.
    let next = if more { format!("{}:{end}:{loop_end}", item.item_id) } else { format!("{}:{end}", item.item_id) };
    Ok(page(&item.log[from..end], &next, more, "HISTORICAL_UPDATE_COMPLETE"))
}

/// Where a cursor stands, and where its loop ends.
fn place(item: &Item, cursor: &str) -> Result<(usize, usize), Refusal> {
    let now = item.log.len();
    if cursor.is_empty() {
        return Ok((0, now));
    }
    let foreign = || refuse(400, "INVALID_REQUEST", "INVALID_FIELD");
    let rest = cursor.strip_prefix(&format!("{}:", item.item_id)).ok_or_else(foreign)?;
    let (from, loop_end) = rest.split_once(':').map_or((rest, None), |(from, end)| (from, Some(end)));
    let from: usize = from.parse().map_err(|_| foreign())?;
    let from =
        if item.restored { from.min(now) } else { Some(from).filter(|from| *from <= now).ok_or_else(foreign)? };
    match loop_end.map(|end| end.parse::<usize>().map_err(|_| foreign())).transpose()? {
        Some(end) if end != now => {
            Err(refuse(400, "TRANSACTIONS_ERROR", "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"))
        }
        _ => Ok((from, now)),
    }
}

fn page(entries: &[Entry], next: &str, more: bool, status: &str) -> Value {
    let (mut added, mut modified, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Added(t) => added.push(t.clone()),
            Entry::Modified(t) => modified.push(t.clone()),
            Entry::Removed(id) => removed.push(json!({ "transaction_id": id })),
        }
    }
    json!({
        "accounts": [], "added": added, "modified": modified, "removed": removed, "next_cursor": next,
        "has_more": more, "transactions_update_status": status, "request_id": "fake",
    })
}

fn find<'a>(bank: &'a mut Inner, headers: &HeaderMap, body: &Value) -> Result<&'a mut Item, Refusal> {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let given = |name: &str, field: &str| header(name).or_else(|| body[field].as_str().map(str::to_owned));
    let client = given("plaid-client-id", "client_id");
    if client.as_deref() != Some(CLIENT_ID) || given("plaid-secret", "secret").as_deref() != Some(SECRET) {
        return Err(refuse(400, "INVALID_INPUT", "INVALID_API_KEYS"));
    }
    let token = body["access_token"].as_str().unwrap_or_default();
    let item = bank.items.get_mut(token).ok_or_else(|| refuse(400, "INVALID_INPUT", "INVALID_ACCESS_TOKEN"))?;
    match item.error {
        Some((kind, code)) => Err(refuse(if kind == "API_ERROR" { 500 } else { 400 }, kind, code)),
        None => Ok(item),
    }
}

fn refuse(status: u16, kind: &str, code: &str) -> Refusal {
    let body = json!({
        "error_type": kind, "error_code": code, "error_code_reason": null, "error_message": "the fake says no",
        "display_message": null, "request_id": "fake", "suggested_action": null,
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    Box::new((status, Json(body)).into_response())
}
