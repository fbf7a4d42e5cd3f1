//! One POST: sent once, under one deadline from DNS to the last byte read of the reply.
//!
//! The status line decides. What follows it is only for the log: read to 16 KiB or to the deadline, never decompressed,
//! and then the connection is closed, so a receiver that streams for ever costs neither memory nor time. A receiver
//! that has said 2xx is not asked again because the rest of its reply broke off.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::guard::UrlRefused;

/// Reading on costs less than a new connection up to about here.
const READ_MAX: usize = 16 * 1024;
/// What the attempt log keeps of a reply.
const KEEP_MAX: usize = 1_024;
const ERROR_MAX: usize = 500;
/// A POST under way gets so long to end when its job shall stop: less than the worker gives the job.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) url: Url,
    pub(super) message: String,
    pub(super) timestamp_s: i64,
    pub(super) signature: String,
    pub(super) trace: Option<String>,
    pub(super) body: String,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) answer: Answer,
    /// The reply's beginning as text, at most 1 KiB.
    pub(super) reply: String,
    /// Where the connection went.
    pub(super) address: Option<SocketAddr>,
    pub(super) duration: Duration,
}

#[derive(Debug)]
pub(super) enum Answer {
    /// A status line came back.
    Status { status: u16, retry_after: Option<String> },
    /// None did.
    Nothing { class: ErrorClass, error: String },
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
        let answer = Answer::Nothing { class: ErrorClass::Refused, error: why.to_string() };
        Self { answer, reply: String::new(), address: None, duration: Duration::ZERO }
    }
}

/// What ends an exchange from this side.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Deadline,
    Stop,
}

/// Sends it, once. When `stop` rings it soon comes to an end.
pub(super) async fn post(
    client: &reqwest::Client,
    deadline: Duration,
    stop: &CancellationToken,
    out: Outgoing,
) -> Posted {
    let started = Instant::now();
    let mut cut = pin!(cut(deadline, stop));
    let mut request = client
        .post(out.url)
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", out.message)
        .header("webhook-timestamp", out.timestamp_s.to_string())
        .header("webhook-signature", out.signature)
        .body(out.body);
    // Outside of the signature: it says what caused this, and nothing that a receiver could rely on.
    if let Some(trace) = out.trace {
        request = request.header("traceparent", trace);
    }
    let nothing = |class, error| Posted {
        answer: Answer::Nothing { class, error },
        reply: String::new(),
        address: None,
        duration: started.elapsed(),
    };
    match until(cut.as_mut(), request.send()).await {
        Err(Cut::Deadline) => nothing(ErrorClass::Timeout, format!("no reply within {} ms", deadline.as_millis())),
        Err(Cut::Stop) => nothing(ErrorClass::Stopped, "the job was stopped before a reply came".to_owned()),
        Ok(Err(error)) => {
            let (class, error) = classify(error);
            nothing(class, error)
        }
        Ok(Ok(mut response)) => {
            let status = response.status().as_u16();
            let retry_after = retry_after(response.headers());
            let reply = read(&mut response, cut).await;
            Posted {
                answer: Answer::Status { status, retry_after },
                reply: excerpt(&reply),
                address: response.remote_addr(),
                duration: started.elapsed(),
            }
        }
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

/// The beginning of the body; a body that breaks off or goes on for ever is cut, not an error.
async fn read(response: &mut reqwest::Response, mut cut: Pin<&mut impl Future<Output = Cut>>) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < READ_MAX {
        let Ok(Ok(Some(chunk))) = until(cut.as_mut(), response.chunk()).await else { break };
        let room = READ_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    body
}

fn retry_after(headers: &HeaderMap) -> Option<String> {
    headers.get(RETRY_AFTER)?.to_str().ok().map(str::to_owned)
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

/// The class and the whole chain of causes as one line, without the URL (its query may hold a token).
fn classify(error: reqwest::Error) -> (ErrorClass, String) {
    let error = error.without_url();
    let mut class = match () {
        () if error.is_timeout() => ErrorClass::Timeout,
        () if error.is_connect() => ErrorClass::Connect,
        () => ErrorClass::Broken,
    };
    let mut text = error.to_string();
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        class = class_of(inner).unwrap_or(class);
        let line = inner.to_string();
        if !text.ends_with(&line) {
            text = format!("{text}: {line}");
        }
        cause = inner.source();
    }
    (class, shorten(text, ERROR_MAX))
}

fn class_of(error: &(dyn Error + 'static)) -> Option<ErrorClass> {
    if let Some(refused) = error.downcast_ref::<UrlRefused>() {
        let unresolved = matches!(refused, UrlRefused::Unresolved { .. });
        return Some(if unresolved { ErrorClass::Dns } else { ErrorClass::Refused });
    }
    // rustls reports through io::Errors, whose `source` skips the error that they wrap.
    let mut error = error;
    while let Some(wrapped) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        error = wrapped;
    }
    error.is::<rustls::Error>().then_some(ErrorClass::Tls)
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
