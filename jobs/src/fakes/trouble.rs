//! Failures that a fake can be told to have: one after the other as a script, always, or at a rate.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tidemill::clock::Entropy;

/// A fake's answers are small; what is longer than this is no answer of a fake.
const BODY_CAP: usize = 64 * 1024 * 1024;

/// One way to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// None: this request is answered well. Takes a place in a script.
    None,
    /// 429, with this `Retry-After` if one is given.
    TooManyRequests(Option<&'static str>),
    /// A status without a body that means anything.
    Status(u16),
    /// Likewise, with a header of this name and value.
    StatusWith(u16, &'static str, &'static str),
    /// The right answer, this much later; who hangs up before has not been heard.
    Slow(Duration),
    /// Heard at once and answered rightly, but this much later: who hangs up before has been heard all the same.
    Late(Duration),
    /// The first half of the right answer, as if it were all.
    Garbled,
    /// The connection breaks in the middle of the right answer.
    Truncated,
    /// A JSON text of this many bytes.
    Oversized(usize),
    /// JSON of another shape.
    WrongShape,
}

/// How a fake feels. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Moods(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    script: VecDeque<Trouble>,
    always: Option<Trouble>,
    rate: Option<Rate>,
    requests: u64,
}

#[derive(Debug)]
struct Rate {
    share: f64,
    of: Vec<Trouble>,
    entropy: Entropy,
}

impl Moods {
    /// The next requests have these troubles, in order; after them all is well again.
    pub fn script(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.with(|m| m.script.extend(troubles));
    }

    /// Every request has this trouble; `None`: no more.
    pub fn always(&self, trouble: Option<Trouble>) {
        self.with(|m| m.always = trouble);
    }

    /// A `share` of the requests (0.0 to 1.0) has one of these troubles, by chance.
    pub fn at_rate(&self, share: f64, of: Vec<Trouble>, entropy: Entropy) {
        self.with(|m| m.rate = Some(Rate { share, of, entropy }));
    }

    /// Requests that have come so far, those with trouble too.
    pub fn requests(&self) -> u64 {
        self.with(|m| m.requests)
    }

    fn next(&self) -> Trouble {
        self.with(|m| {
            m.requests += 1;
            if let Some(trouble) = m.script.pop_front() {
                return trouble;
            }
            if let Some(trouble) = &m.always {
                return trouble.clone();
            }
            m.rate.as_ref().and_then(Rate::draw).unwrap_or(Trouble::None)
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rate {
    fn draw(&self) -> Option<Trouble> {
        if self.entropy.fraction() >= self.share {
            return None;
        }
        let nth = usize::try_from(self.entropy.below(self.of.len() as u64)).ok()?;
        self.of.get(nth).cloned()
    }
}

/// Middleware: lets a request meet the fake's mood before, or on the way back from, its handler.
pub(super) async fn meet(State(moods): State<Moods>, request: Request, next: Next) -> Response {
    match moods.next() {
        Trouble::None => next.run(request).await,
        Trouble::TooManyRequests(None) => StatusCode::TOO_MANY_REQUESTS.into_response(),
        Trouble::TooManyRequests(Some(wait)) => {
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, wait)]).into_response()
        }
        Trouble::Status(status) => code(status).into_response(),
        Trouble::StatusWith(status, name, value) => (code(status), [(name, value)]).into_response(),
        Trouble::Slow(delay) => {
            tokio::time::sleep(delay).await;
            next.run(request).await
        }
        Trouble::Late(delay) => {
            let answer = next.run(request).await;
            tokio::time::sleep(delay).await;
            answer
        }
        Trouble::Garbled => half(next.run(request).await, false).await,
        Trouble::Truncated => half(next.run(request).await, true).await,
        Trouble::Oversized(bytes) => json(format!("\"{}\"", "x".repeat(bytes.saturating_sub(2)))),
        Trouble::WrongShape => json(r#"{"hello":"world"}"#.to_owned()),
    }
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)
}

fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Half of a body: as all of it, or with the length of the whole and a broken connection.
async fn half(whole: Response, breaks: bool) -> Response {
    let (mut parts, body) = whole.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, BODY_CAP).await else { return StatusCode::BAD_GATEWAY.into_response() };
    let part = bytes.slice(..bytes.len() / 2);
    parts.headers.remove(header::CONTENT_LENGTH);
    if !breaks {
        return Response::from_parts(parts, Body::from(part));
    }
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let broken = std::io::Error::other("the fake breaks the connection");
    let chunks: [Result<Bytes, std::io::Error>; 2] = [Ok(part), Err(broken)];
    Response::from_parts(parts, Body::from_stream(stream::iter(chunks)))
}
