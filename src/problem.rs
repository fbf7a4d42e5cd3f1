//! What an HTTP client is told when something is wrong: `application/problem+json` (RFC 9457).
//!
//! Every error reply of both listeners is a [`Problem`]. Where a field is to blame it names the field, the value and what
//! is allowed. The text of an unexpected error never reaches the client: it is logged under an id, and the client gets
//! the id. The extractors [`Json`], [`Query`] and [`Path`] reject in this shape too.

mod convert;
mod extract;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

pub(crate) use extract::MAX_JSON_BYTES;
pub use extract::{Json, Path, Query, read_body};

/// Its media type.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// Longest text of a client's that is shown back to it.
const MAX_ECHO_CHARS: usize = 120;

static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

/// One error, as the client sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Told>);

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Told {
    /// Which sort of problem, `urn:tidemill:problem:…`: for programs, stays the same.
    #[serde(rename = "type")]
    kind: String,
    /// The sort in words.
    title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    /// What is wrong this time, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What identifies this occurrence, `urn:tidemill:error:…`; the log has the same id.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The field to blame: a path into the body, or a parameter's or header's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// What it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<String>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a sort that has no constructor here. `slug` becomes the type, `title` says it in words.
    pub fn new(status: StatusCode, slug: &str, title: &'static str) -> Self {
        Self(Box::new(Told {
            kind: format!("urn:tidemill:problem:{slug}"),
            title,
            status,
            detail: None,
            instance: None,
            field: None,
            value: None,
            allowed: None,
            headers: Vec::new(),
        }))
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// 400: the request can't be understood at all.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request can't be understood").detail(detail)
    }

    /// 422: understood, but a field has a value that is not allowed.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, allowed: impl Into<String>) -> Self {
        let (field, value, allowed) = (field.into(), clip(value.into()), allowed.into());
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", "A field has a value that is not allowed")
            .detail(format!("`{field}` is {value}; allowed: {allowed}"))
            .field(field, value, allowed)
    }

    /// 401, with the scheme that would do (`WWW-Authenticate`).
    pub fn unauthorized(detail: impl Into<String>, scheme: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "The request carries no valid proof of who sent it")
            .detail(detail)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static(scheme))
    }

    /// 403: known, but not allowed to do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This is not allowed with these rights").detail(detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing").detail(detail)
    }

    /// 409: right in itself, but not in the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "The present state does not allow this").detail(detail)
    }

    /// 408: the request did not arrive in time, or was not answered in time.
    pub fn timeout(limit: Duration) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long")
            .detail(format!("a request must arrive and be answered within {} ms", limit.as_millis()))
            .closing()
    }

    /// 413, for a body above `limit` bytes.
    pub fn body_too_large(limit: usize) -> Self {
        let title = "The body is too large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", title)
            .detail(format!("the body has more than the {limit} bytes that are accepted here"))
            .allow(format!("at most {limit} bytes"))
            .closing()
    }

    /// 415, for a header that names what is not understood here.
    pub fn unsupported(header: &HeaderName, value: impl Into<Value>, allowed: impl Into<String>) -> Self {
        let (value, allowed) = (clip(value.into()), allowed.into());
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported", "The body's form is not understood here")
            .detail(format!("`{header}` is {value}; allowed: {allowed}"))
            .field(header.as_str(), value, allowed)
    }

    /// 429: too many of something in a time.
    pub fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
            .detail(detail)
            .retry_after(retry_after)
    }

    /// 503: not now; the same request may succeed after `retry_after`.
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible just now")
            .detail(detail)
            .retry_after(retry_after)
    }

    /// 500: logs `error` under a new id and shows the id alone.
    pub fn unexpected(error: &(impl fmt::Display + ?Sized)) -> Self {
        // The process and a running number: enough to find the line, and nothing to guess from.
        let number = UNEXPECTED.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{:x}-{number:x}", std::process::id());
        tracing::error!(error.id = id, error = format!("{error:#}"), "a request failed unexpectedly");
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unexpected", "Something failed on our side")
            .detail(format!("the log has the reason under {id}"));
        problem.0.instance = Some(format!("urn:tidemill:error:{id}"));
        problem
    }

    /// With this text.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// With the field to blame, its value, and what it may be.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, value: impl Into<Value>, allowed: impl Into<String>) -> Self {
        (self.0.field, self.0.value) = (Some(field.into()), Some(clip(value.into())));
        self.allow(allowed)
    }

    /// With one more header on the reply.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    fn allow(mut self, allowed: impl Into<String>) -> Self {
        self.0.allowed = Some(allowed.into());
        self
    }

    /// With `Retry-After`, in whole seconds, rounded up.
    #[must_use]
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// The rest of the request will not be read, so the connection can't be used again.
    pub(crate) fn closing(self) -> Self {
        self.header(CONNECTION, HeaderValue::from_static("close"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Serialising strings and numbers can't fail; an empty body would still carry the status.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.0.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.0.headers {
            headers.insert(name, value);
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.status, self.0.detail.as_deref().unwrap_or(self.0.title))
    }
}

impl std::error::Error for Problem {}

/// Gives a router replies in this shape for unknown paths (404) and methods (405).
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.fallback(unknown_route).method_not_allowed_fallback(unknown_method)
}

/// A path that leads nowhere.
pub(crate) async fn unknown_route(method: Method, uri: Uri) -> Problem {
    Problem::not_found(format!("nothing is served at {method} {}", clip_text(uri.path())))
}

/// A known path, another method. axum adds `Allow`.
pub(crate) async fn unknown_method(method: Method, uri: Uri) -> Problem {
    let title = "The path is known, the method is not";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", title)
        .detail(format!("{} does not answer {method}; the header `{ALLOW}` has what it does", clip_text(uri.path())))
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

fn clip(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clip_text(&text)),
        Value::Array(_) | Value::Object(_) => Value::String(clip_text(&value.to_string())),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

fn clip_text(text: &str) -> String {
    let mut clipped: String = text.chars().take(MAX_ECHO_CHARS).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}
