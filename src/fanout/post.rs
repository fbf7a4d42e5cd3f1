//! One POST: sent once, under one deadline from DNS to the last byte read of the reply.
//!
//! The status line decides. What follows it is only for the log: read to 16 KiB or to the deadline, never decompressed,
//! and then the connection is closed, so a receiver that streams for ever costs neither memory nor time. A receiver
//! that has said 2xx is not asked again because the rest of its reply broke off. Redirects are answers like any other.
//! Connections are used again ([`wires`], [`kept`]); [`connect`] makes them.

use std::error::Error;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Uri};
use tokio_util::sync::CancellationToken;

use self::connect::{ConnectError, Connector, Known, Steps, Trace};
use self::wires::{Exchange, WireError, Wires};
use super::guard::{Guard, UrlRefused};
use crate::outbound;

mod connect;
mod kept;
mod proxy;
mod wires;

pub(super) use proxy::Proxy;

/// Reading on costs less than a new connection up to about here.
const READ_MAX: usize = 16 * 1024;
/// A reply's head may weigh so much.
const HEAD_MAX: usize = 64 * 1024;
/// What the attempt log keeps of a reply.
const KEEP_MAX: usize = 1_024;
const ERROR_MAX: usize = 500;
/// A POST under way gets so long to end when its job shall stop: less than the worker gives the job.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// By which a receiver steers its sender.
const STEER: HeaderName = HeaderName::from_static("webhook-delivery");

/// What is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    pub(super) answer: Answer,
    /// The reply's beginning as text, at most 1 KiB.
    pub(super) reply: String,
    /// Where the connection went, and how long it took to make it.
    pub(super) steps: Steps,
    /// The connection had been used before; unknown when there was none.
    pub(super) reused: Option<bool>,
    /// From the beginning to the status line.
    pub(super) first_byte: Option<Duration>,
    pub(super) duration: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A status line came back.
    Status { status: u16, retry_after: Option<String>, steer: Option<Steer> },
    /// None did.
    Nothing { class: ErrorClass, error: String },
}

/// What a receiver asks for in its reply's `webhook-delivery`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steer {
    /// No more of anything.
    Disable,
    /// No more of this message.
    Abort,
}

/// Why no status came back; the word stands in the attempt log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorClass {
    Timeout,
    Dns,
    Connect,
    Tls,
    Broken,
    /// The guard did not let it out; nothing was sent.
    Refused,
    /// Its job was to stop before the receiver had answered.
    Stopped,
}

impl ErrorClass {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Broken => "broken",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

impl Posted {
    /// Of a POST that the guard did not let out.
    pub(super) fn refused(why: &UrlRefused) -> Self {
        Self::nothing(ErrorClass::Refused, why.to_string(), Known::default(), Duration::ZERO)
    }

    pub(super) fn succeeded(&self) -> bool {
        matches!(self.answer, Answer::Status { status: 200..=299, .. })
    }

    fn nothing(class: ErrorClass, error: String, known: Known, duration: Duration) -> Self {
        let (answer, Known { steps, reused }) = (Answer::Nothing { class, error: shorten(error, ERROR_MAX) }, known);
        Self { answer, reply: String::new(), steps, reused, first_byte: None, duration }
    }
}

/// What ends an exchange from this side.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Deadline,
    Stop,
}

/// Makes POSTs and keeps the connections.
pub(super) struct Courier {
    wires: Wires,
    deadline: Duration,
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Courier {
    /// Whose every connection goes through `guard` and then `proxy`, if there is one, and which trusts the authorities in the
    /// PEM file `roots` besides the system's.
    pub(super) fn new(
        guard: Arc<Guard>,
        proxy: Option<Proxy>,
        deadline: Duration,
        roots: Option<&Path>,
    ) -> Result<Self, outbound::TlsError> {
        let tls = Arc::new(outbound::tls(roots)?);
        Ok(Self { wires: Wires::new(Connector { guard, proxy, tls }), deadline })
    }

    /// Sends it, once. When `stop` rings it soon comes to an end.
    pub(super) async fn post(&self, stop: &CancellationToken, out: Outgoing) -> Posted {
        let (trace, started) = (Trace::default(), Instant::now());
        let mut cut = pin!(cut(self.deadline, stop));
        let sending = self.wires.exchange(request(out), &trace);
        let nothing = |class, error| Posted::nothing(class, error, trace.known(), started.elapsed());
        match until(cut.as_mut(), sending).await {
            Err(Cut::Deadline) => {
                nothing(ErrorClass::Timeout, format!("no reply within {} ms", self.deadline.as_millis()))
            }
            Err(Cut::Stop) => nothing(ErrorClass::Stopped, "the job was stopped before a reply came".to_owned()),
            Ok(Err(WireError::Connect(error))) => nothing(class_of(&error), error.to_string()),
            Ok(Err(WireError::Http(error))) => {
                let (class, error) = classify(&error);
                nothing(class, error)
            }
            Ok(Ok(exchange)) => self.reply(exchange, started, cut).await,
        }
    }

    /// Reads the beginning of the body, then closes the connection if there is more.
    async fn reply(
        &self,
        mut exchange: Exchange,
        started: Instant,
        cut: Pin<&mut impl Future<Output = Cut>>,
    ) -> Posted {
        let first_byte = Some(started.elapsed());
        let headers = exchange.response.headers();
        let answer = Answer::Status {
            status: exchange.response.status().as_u16(),
            retry_after: headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned),
            steer: headers.get(STEER).and_then(steer),
        };
        let (kept, whole) = read(&mut exchange, cut).await;
        let (reply, steps, reused) = (excerpt(&kept), std::mem::take(&mut exchange.steps), Some(exchange.reused));
        let duration = started.elapsed();
        if whole {
            self.wires.give_back(exchange).await;
        }
        Posted { answer, reply, steps, reused, first_byte, duration }
    }
}

fn request(out: Outgoing) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(out.body));
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (Method::POST, out.uri, out.headers);
    request
}

fn steer(value: &HeaderValue) -> Option<Steer> {
    match value.as_bytes().trim_ascii() {
        b"disable" => Some(Steer::Disable),
        b"abort-message" => Some(Steer::Abort),
        _ => None,
    }
}

async fn cut(deadline: Duration, stop: &CancellationToken) -> Cut {
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        () = tokio::time::sleep(deadline) => Cut::Deadline,
        () = stopped => Cut::Stop,
    }
}

async fn until<T>(cut: Pin<&mut impl Future<Output = Cut>>, work: impl Future<Output = T>) -> Result<T, Cut> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        cut = cut => Err(cut),
    }
}

/// The beginning of the body, and whether that was all of it; a body that breaks off or goes on for ever is cut, not an error.
async fn read(exchange: &mut Exchange, mut cut: Pin<&mut impl Future<Output = Cut>>) -> (Vec<u8>, bool) {
    let mut kept = Vec::new();
    while kept.len() < READ_MAX {
        match until(cut.as_mut(), exchange.frame()).await {
            Ok(None) => return (kept, true),
            Ok(Some(Ok(frame))) => {
                // Trailers are of no interest.
                let Ok(chunk) = frame.into_data() else { continue };
                let room = READ_MAX - kept.len();
                kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(Some(Err(_))) | Err(_) => break,
        }
    }
    (kept, false)
}

/// Text of at most 1 KiB without NUL, which Postgres refuses.
fn excerpt(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(&reply[..reply.len().min(KEEP_MAX)]).replace('\0', "\u{fffd}");
    shorten(text, KEEP_MAX)
}

fn shorten(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

/// The class, and the whole chain of causes as one line.
fn classify(error: &(dyn Error + 'static)) -> (ErrorClass, String) {
    let (mut class, mut text) = (ErrorClass::Broken, String::new());
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout) {
            class = ErrorClass::Timeout;
        }
        let line = inner.to_string();
        if !text.ends_with(&line) {
            text = if text.is_empty() { line } else { format!("{text}: {line}") };
        }
        cause = inner.source();
    }
    (class, text)
}

fn class_of(error: &ConnectError) -> ErrorClass {
    match error {
        ConnectError::Refused(UrlRefused::Unresolved { .. }) => ErrorClass::Dns,
        ConnectError::Refused(_) | ConnectError::NoHost => ErrorClass::Refused,
        ConnectError::Connect { .. } => ErrorClass::Connect,
        ConnectError::Tls { .. } => ErrorClass::Tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_text_whatever_came() {
        assert_eq!(excerpt(b"ok"), "ok");
        assert_eq!(excerpt(b"a\0b"), "a\u{fffd}b");
        let binary = excerpt(&[0xff; 4_096]);
        assert!(binary.len() <= KEEP_MAX && binary.starts_with('\u{fffd}'));
        assert_eq!(excerpt("é".repeat(1_000).as_bytes()).len(), KEEP_MAX);
    }
}
