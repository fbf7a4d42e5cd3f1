//! The two lists: newest first, paged by `starting_after`, filtered by `created[…]` and `status`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Account, Inner, SECRET_KEY};

type Params = Query<BTreeMap<String, String>>;
/// An answer that is not 200.
type Refusal = Box<Response>;

pub(super) async fn subscriptions(State(account): State<Account>, headers: HeaderMap, query: Params) -> Response {
    account
        .with(|a| {
            admit(a, &headers)?;
            // Without `status` the real list leaves out what is cancelled.
            let status = query.get("status").map(String::as_str);
            let wanted = |object: &Value| match status {
                Some("all") => true,
                Some(status) => object["status"] == status,
                None => object["status"] != "canceled",
            };
            list("/v1/subscriptions", &a.subscriptions, &query, wanted)
        })
        .map_or_else(|refusal| *refusal, IntoResponse::into_response)
}

pub(super) async fn invoices(State(account): State<Account>, headers: HeaderMap, query: Params) -> Response {
    account
        .with(|a| {
            admit(a, &headers)?;
            let status = query.get("status");
            list("/v1/invoices", &a.invoices, &query, |object| status.is_none_or(|s| object["status"] == s.as_str()))
        })
        .map_or_else(|refusal| *refusal, IntoResponse::into_response)
}

fn admit(account: &mut Inner, headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let version = text("stripe-version");
    if !account.versions.contains(&version) {
        account.versions.push(version);
        // More than a few different ones is somebody playing.
        account.versions.truncate(16);
    }
    let key = text(header::AUTHORIZATION.as_str());
    if key.strip_prefix("Bearer ") == Some(SECRET_KEY) {
        return Ok(());
    }
    let message = format!("Invalid API Key provided: {}", key.trim_start_matches("Bearer "));
    Err(refuse(StatusCode::UNAUTHORIZED, "authentication_error", None, &message))
}

fn list(
    url: &str,
    objects: &BTreeMap<String, Value>,
    query: &BTreeMap<String, String>,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Json<Value>, Refusal> {
    let bad = |param: &str, code| {
        let message = format!("Invalid value for {param}");
        refuse(StatusCode::BAD_REQUEST, "invalid_request_error", code, &message)
    };
    let number = |name: &str| query.get(name).map(|v| v.parse::<i64>().map_err(|_| bad(name, None))).transpose();
    let limit = number("limit")?.unwrap_or(10);
    if !(1..=100).contains(&limit) {
        return Err(bad("limit", None));
    }
    let (from, until) = (number("created[gte]")?, number("created[lt]")?);
    let after = query.get("starting_after");
    if after.is_some_and(|id| !objects.contains_key(id)) {
        return Err(bad("starting_after", Some("resource_missing")));
    }
    let mut rest = objects
        .iter()
        .rev()
        .skip_while(|(id, _)| after.is_some_and(|after| *id >= after))
        .map(|(_, object)| object)
        .filter(|object| {
            let created = object["created"].as_i64().unwrap_or_default();
            from.is_none_or(|from| created >= from) && until.is_none_or(|until| created < until) && wanted(object)
        });
    let data: Vec<&Value> = rest.by_ref().take(usize::try_from(limit).unwrap_or(100)).collect();
    Ok(Json(json!({ "object": "list", "url": url, "has_more": rest.next().is_some(), "data": data })))
}

fn refuse(status: StatusCode, kind: &str, code: Option<&str>, message: &str) -> Refusal {
    let error = json!({ "type": kind, "code": code, "message": message });
    Box::new((status, Json(json!({ "error": error }))).into_response())
}
