//! Extractors whose rejection is a [`Problem`] that names the field: body, query and path.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Problem;

/// No JSON body is larger, whatever the listener lets through.
pub(crate) const MAX_JSON_BYTES: usize = 1024 * 1024;

/// A JSON body, `application/json`, at most 1 MiB. Use `deny_unknown_fields` on `T` so that a misspelt field is named.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// The query string.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

/// The variables of the path.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// 413 when it is longer, 400 when it ends too early.
pub async fn read_body(body: Body, declared: Option<u64>, limit: usize) -> Result<Bytes, Problem> {
    if declared.is_some_and(|n| n > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(Problem::body_too_large(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        // The listener's own limit is an inner cause, the one here is the error itself.
        Err(error) if causes(&*error).any(|e| e.is::<LengthLimitError>()) => Err(Problem::body_too_large(limit)),
        Err(error) => {
            tracing::debug!(error = %error, "a body could not be read to its end");
            Err(Problem::bad_request("the body ended too early or is malformed").closing())
        }
    }
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |e| e.source())
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_media_type(&parts)?;
        let declared = parts.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let bytes = read_body(body, declared, MAX_JSON_BYTES).await?;
        decode(&bytes).map(Self)
    }
}

fn check_media_type(parts: &Parts) -> Result<(), Problem> {
    let given = parts.headers.get(CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let essence = given.as_deref().and_then(|v| v.split(';').next()).map(str::trim);
    if essence.is_some_and(|e| e.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Problem::unsupported(&CONTENT_TYPE, given.map_or(Value::Null, Value::String), "application/json"))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize(&mut json) {
        Ok(value) => return json.end().map(|()| value).map_err(|e| malformed(&e)),
        Err(error) => error,
    };
    if !error.inner().is_data() {
        return Err(malformed(error.inner()));
    }
    let (path, message) = (error.path().to_string(), error.inner().to_string());
    let path = if path == "." { "body".to_owned() } else { path };
    Err(refused(path.clone(), &message, value_at(bytes, &path)))
}

fn malformed(error: &serde_json::Error) -> Problem {
    let what = if error.is_eof() { "it ends too early".to_owned() } else { error.to_string() };
    Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "The body is no JSON")
        .detail(format!("the body is not well-formed JSON: {what}"))
}

/// serde's message has the shape `…, expected …` or ``unknown field `x`, expected one of …``.
fn refused(field: String, message: &str, value: Option<Value>) -> Problem {
    let message = message.split(" at line ").next().unwrap_or(message);
    // An unknown or missing field is named in the message; the path may end there or at the object around it.
    let inner = ["unknown field `", "missing field `"].iter().find_map(|p| message.strip_prefix(p)?.split('`').next());
    let (field, value) = match inner {
        Some(name) if field == "body" || field == "query" => (name.to_owned(), None),
        Some(name) if field.split('.').next_back() == Some(name) => (field, None),
        Some(name) => (format!("{field}.{name}"), None),
        None => (field, value),
    };
    let title = "A field has a value that is not allowed";
    let mut problem =
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", title).detail(format!("`{field}`: {message}"));
    problem.0.field = Some(field);
    problem.0.value = value.map(super::clip);
    problem.0.allowed = message.split_once("expected ").map(|(_, allowed)| allowed.to_owned());
    problem
}

/// What stands at a path like `queue.limits[2].name`.
fn value_at(bytes: &[u8], path: &str) -> Option<Value> {
    let whole: Value = serde_json::from_slice(bytes).ok()?;
    let pointer = path.replace('[', ".").replace(']', "").replace('.', "/");
    if path == "body" { None } else { whole.pointer(&format!("/{pointer}")).cloned() }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let pairs = || url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs())).map(Self).map_err(|error| {
            let name = error.path().to_string();
            let value = pairs().find(|(n, _)| *n == name).map(|(_, v)| Value::String(v.into_owned()));
            let name = if name == "." { "query".to_owned() } else { name };
            refused(name, &error.inner().to_string(), value)
        })
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(refused("path".to_owned(), &rejection.to_string(), None)),
        }
    }
}
