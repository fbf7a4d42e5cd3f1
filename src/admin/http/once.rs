//! Routes that make a job take an `Idempotency-Key`: a repeated request gets the first one's reply.
//!
//! 400: no key can be read; 409: the first request is being worked on; 422: the key was used for another request. Replies
//! are kept whatever their status, except 503, which asks for the very repetition; those before the key was reserved
//! (401, 403, a body that can't be read) are not kept either. A kept reply says so in `Idempotency-Replayed`.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::admin::desk::Begun;
use crate::admin::idempotency::{Fingerprint, IdempotencyKey};
use crate::admin::{Desk, May, Ordered, Rank, Refusal};
use crate::job::JobId;
use crate::problem::{MAX_JSON_BYTES, PROBLEM_JSON, Problem, read_body};
use crate::store::RememberedReply;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const JSON: &str = "application/json";

/// Runs `act` for a request, once per key. `act` is given the request, with its whole body, and the id that its job shall
/// have.
pub(super) async fn once<R, F>(desk: &Desk, may: &May<R>, request: Request, act: F) -> Result<Response, Problem>
where
    R: Rank,
    F: AsyncFnOnce(Request, Option<JobId>) -> Result<(StatusCode, Ordered), Problem>,
{
    let Some(key) = IdempotencyKey::of(request.headers()).map_err(|e| Problem::bad_request(e.to_string()))? else {
        let (status, ordered) = act(request, None).await?;
        return Ok(shown(&kept(status, &ordered)?));
    };
    let (parts, body) = request.into_parts();
    let declared = parts.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let body = read_body(body, declared, MAX_JSON_BYTES).await?;
    let fingerprint = Fingerprint::of(&parts.method, parts.uri.path(), &body);
    let id = match desk.begin(may.actor(), &key, &fingerprint).await? {
        Begun::Run(id) => id,
        Begun::Done(reply) => return Ok(([(REPLAYED, "true")], shown(&reply)).into_response()),
        Begun::Busy => return Err(Refusal::KeyBusy.into()),
        Begun::Mismatch => return Err(Refusal::KeyReused.into()),
    };
    match act(Request::from_parts(parts, Body::from(body)), Some(id)).await {
        Ok((status, ordered)) => {
            let reply = kept(status, &ordered)?;
            desk.finish(may.actor(), &key, reply.clone()).await;
            Ok(shown(&reply))
        }
        Err(problem) if problem.status() == StatusCode::SERVICE_UNAVAILABLE => {
            desk.give_back(may.actor(), &key).await;
            Err(problem)
        }
        Err(problem) => {
            let content_type = PROBLEM_JSON.to_owned();
            let body = serde_json::to_vec(&problem).map_err(anyhow::Error::from)?;
            let reply = RememberedReply { status: problem.status().as_u16(), content_type, body };
            desk.finish(may.actor(), &key, reply).await;
            Err(problem)
        }
    }
}

fn kept(status: StatusCode, ordered: &Ordered) -> Result<RememberedReply, Problem> {
    let body = serde_json::to_vec(ordered).map_err(anyhow::Error::from)?;
    Ok(RememberedReply { status: status.as_u16(), content_type: JSON.to_owned(), body })
}

/// A reply from what is kept of it, so that the first and its repetitions are the same.
fn shown(reply: &RememberedReply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, reply.body.clone()).into_response();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&reply.content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    match serde_json::from_slice::<Ordered>(&reply.body) {
        Ok(ordered) if status.is_success() => {
            if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/jobs/{}", ordered.job)) {
                headers.insert(LOCATION, place);
            }
        }
        _ => drop(headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"))),
    }
    response
}
