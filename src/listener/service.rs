//! One request: checks its frame, bounds its body and its time, and hands it to the router.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderValue, Request, Response};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::Limited;
use hyper::body::{Frame, Incoming, SizeHint};
use metrics::counter;
use tower::ServiceExt as _;

use super::line::{Line, Phase};
use super::{Answers, ListenerLimits};
use crate::metrics::CONNECTIONS_CUT;
use crate::problem::Problem;

/// What all requests of one connection share.
#[derive(Debug)]
pub(super) struct Answerer<S> {
    pub(super) service: S,
    pub(super) line: Arc<Line>,
    pub(super) peer: SocketAddr,
    pub(super) limits: Arc<ListenerLimits>,
    pub(super) requests: AtomicU64,
}

impl<S: Answers> Answerer<S> {
    /// Answers one request, whatever it is.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.line.set_receiving(!request.body().is_end_stream());
        self.line.enter(Phase::Serving);
        let chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let mut response = match self.check(&request, number) {
            Ok(()) => self.route(request).await,
            Err(problem) => problem.into_response(),
        };
        if chunked {
            // Behind chunks the frame of the next request could not be checked.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|inner| Reply { inner, line: Arc::clone(&self.line) }))
    }

    fn check(&self, request: &Request<Incoming>, number: u64) -> Result<(), Problem> {
        if self.line.states_length_twice(number) {
            let detail =
                "the request states its length twice, by `Content-Length` and by `Transfer-Encoding`: send one";
            return Err(Problem::bad_request(detail).closing());
        }
        let declared = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let limit = self.limits.body_bytes;
        if declared.is_some_and(|n| n > u64::try_from(limit).unwrap_or(u64::MAX)) {
            return Err(Problem::body_too_large(limit));
        }
        Ok(())
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let mut request = request.map(|incoming| {
            let body = Arriving { inner: incoming, line: Arc::clone(&self.line) };
            Body::new(Limited::new(body, self.limits.body_bytes))
        });
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let answer = AssertUnwindSafe(self.service.clone().oneshot(request)).catch_unwind();
        match tokio::time::timeout(self.limits.request, answer).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => {
                Problem::unexpected(&format!("a handler panicked: {}", words_of(&*panic))).into_response()
            }
            Err(_) => {
                let listener = self.limits.name;
                counter!(CONNECTIONS_CUT, "listener" => listener, "reason" => "request_timeout").increment(1);
                Problem::timeout(self.limits.request).into_response()
            }
        }
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// A request's body that tells the line when it has all come.
#[derive(Debug)]
struct Arriving {
    inner: Incoming,
    line: Arc<Line>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.line.set_receiving(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A reply's body that tells the line when hyper has taken all of it.
#[derive(Debug)]
pub(super) struct Reply {
    inner: Body,
    line: Arc<Line>,
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.line.phase() == Phase::Serving {
            self.line.enter(Phase::Idle);
        }
    }
}
