//! One exchange over a connection that was kept or is made for it.
//!
//! HTTP/1 is spoken by the task that posts: its connection moves only while that task polls it, so an answer wakes nobody else
//! on its way. HTTP/2, which many share, has a task a connection. A kept connection that has ended meanwhile is found out when it
//! is taken; a request that was not sent over it goes out over another one, and one that may have been sent never does.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::Parts;
use hyper::rt::Executor as _;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::HEAD_MAX;
use super::connect::{ConnectError, Connector, Line, Opened, Steps, Trace};
use super::kept::{Kept, Place};

type Sent = Request<Full<Bytes>>;
type Refused = TrySendError<Sent>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Makes connections and keeps them.
pub(super) struct Wires {
    connector: Connector,
    kept: Arc<Kept>,
}

/// An answer whose body is still to be read.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    /// How its connection was made, as far as it concerns this exchange.
    pub(super) steps: Steps,
    /// The connection had been used before.
    pub(super) reused: bool,
    /// Of HTTP/1: the body comes through it.
    one: Option<Box<One>>,
    place: Place,
}

/// A connection of HTTP/1, for one exchange at a time.
pub(super) struct One {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None`: it has ended. It is let go then, which is what makes hyper give a request back that it has not begun to send.
    connection: Option<http1::Connection<Line, Full<Bytes>>>,
    opened: Opened,
    pub(super) idle_since: Instant,
}

/// A connection of HTTP/2.
#[derive(Clone)]
pub(super) struct Two {
    pub(super) sender: http2::SendRequest<Full<Bytes>>,
    opened: Opened,
    pub(super) used_at: Instant,
    /// How many exchanges over it got their answers.
    pub(super) answers: Arc<AtomicUsize>,
}

/// An exchange over a connection that many use, until it is answered. One that ends without an answer, at its deadline, lets the
/// connection go unless others were answered meanwhile: the receiver may be gone without a word, and whatever else went out
/// over it would end like this.
struct Doubt<'a> {
    kept: &'a Kept,
    place: &'a Place,
    answers: Arc<AtomicUsize>,
    before: usize,
}

pub(super) enum Wire {
    One(Box<One>),
    Two(Two),
}

impl Wires {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, kept: Arc::default() }
    }

    /// Sends a request over a kept connection or a new one, and waits for the answer's head.
    pub(super) async fn exchange(&self, request: Sent, trace: &Trace) -> Result<Exchange, WireError> {
        let uri = request.uri().clone();
        let authority = uri.authority().ok_or(ConnectError::NoHost)?.clone();
        let place = Place { secure: uri.scheme_str() == Some("https"), authority };
        let mut request = request;
        loop {
            let kept = poll_fn(|cx| Poll::Ready(self.kept.take(&place, cx))).await;
            let reused = kept.is_some();
            let wire = match kept {
                Some(wire) => wire,
                // Seldom gone: it is not to make every exchange larger.
                None => Box::pin(self.open(&uri, &place, trace)).await?,
            };
            trace.goes_over(wire.opened(), reused);
            let doubt = wire.doubt(&self.kept, &place);
            match wire.send(request, &uri).await {
                Ok((response, opened, one)) => {
                    Doubt::end(doubt);
                    let (steps, reused) = opened.take();
                    return Ok(Exchange { response, steps, reused, one, place });
                }
                Err(mut refused) => match refused.take_message().filter(|_| reused) {
                    // Nothing of it has left: the connection had ended.
                    Some(unsent) => {
                        Doubt::confirm(doubt);
                        request = unsent;
                    }
                    None => return Err(refused.into_error().into()),
                },
            }
        }
    }

    async fn open(&self, uri: &Uri, place: &Place, trace: &Trace) -> Result<Wire, WireError> {
        let line = self.connector.connect(uri, trace).await?;
        let opened = line.opened();
        if line.is_two() {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX));
            let (sender, connection) = builder.handshake(line).await?;
            TokioExecutor::new().execute(async move {
                // How it ends is told to whoever waits for an answer over it.
                let _ = connection.await;
            });
            let two = Two { sender, opened, used_at: Instant::now(), answers: Arc::default() };
            self.kept.keep(place.clone(), Wire::Two(two.clone()));
            return Ok(Wire::Two(two));
        }
        let (sender, connection) = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(line).await?;
        Ok(Wire::One(Box::new(One::new(sender, connection, opened))))
    }

    /// Takes the connection of an answer that was read to its end back, if it can be used again.
    pub(super) async fn give_back(&self, exchange: Exchange) {
        let Some(mut one) = exchange.one else { return };
        // It has to see the end of the body, too.
        poll_fn(|cx| {
            one.drive(cx);
            Poll::Ready(())
        })
        .await;
        if one.is_free() {
            one.idle_since = Instant::now();
            self.kept.keep(exchange.place, Wire::One(one));
        }
    }
}

impl Exchange {
    /// The next piece of the body; `None` at its end.
    pub(super) async fn frame(&mut self) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(self.response.body_mut()).poll_frame(cx) {
                return Poll::Ready(frame);
            }
            let Some(one) = &mut self.one else { return Poll::Pending };
            one.drive(cx);
            Pin::new(self.response.body_mut()).poll_frame(cx)
        })
        .await
    }
}

impl Wire {
    fn opened(&self) -> &Opened {
        match self {
            Self::One(one) => &one.opened,
            Self::Two(two) => &two.opened,
        }
    }

    /// Of one for a single exchange there is none: whoever is cut off takes it along.
    fn doubt<'a>(&self, kept: &'a Kept, place: &'a Place) -> Option<Doubt<'a>> {
        let Self::Two(two) = self else { return None };
        let (answers, before) = (Arc::clone(&two.answers), two.answers.load(Ordering::Relaxed));
        Some(Doubt { kept, place, answers, before })
    }

    /// The answer, how the connection was made, and itself where the body comes through it.
    async fn send(
        self,
        mut request: Sent,
        uri: &Uri,
    ) -> Result<(Response<Incoming>, Opened, Option<Box<One>>), Refused> {
        match self {
            Self::One(mut one) => {
                to_origin(&mut request, uri);
                let response = one.send(request).await?;
                Ok((response, one.opened.clone(), Some(one)))
            }
            Self::Two(mut two) => {
                request.uri_mut().clone_from(uri);
                let response = two.sender.try_send_request(request).await?;
                Ok((response, two.opened, None))
            }
        }
    }
}

/// HTTP/1 names the host in a header, and the path alone in the first line.
fn to_origin(request: &mut Sent, uri: &Uri) {
    let named = uri.authority().map_or("", |authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    // What can be resolved and connected to can stand in a header.
    if let Ok(host) = HeaderValue::from_str(named) {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    let mut parts = Parts::default();
    parts.path_and_query = uri.path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

impl Doubt<'_> {
    /// There is an answer.
    fn end(it: Option<Self>) {
        if let Some(it) = it {
            it.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It takes no request any more, whatever else is still answered over it.
    fn confirm(it: Option<Self>) {
        if let Some(it) = it {
            it.kept.forget_two(it.place, &it.answers);
        }
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if self.answers.load(Ordering::Relaxed) == self.before {
            self.kept.forget_two(self.place, &self.answers);
        }
    }
}

impl One {
    fn new(
        sender: http1::SendRequest<Full<Bytes>>,
        connection: http1::Connection<Line, Full<Bytes>>,
        opened: Opened,
    ) -> Self {
        Self { sender, connection: Some(connection), opened, idle_since: Instant::now() }
    }

    async fn send(&mut self, request: Sent) -> Result<Response<Incoming>, Refused> {
        let mut sending = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        poll_fn(|cx| {
            drive(connection, cx);
            sending.as_mut().poll(cx)
        })
        .await
    }

    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, cx);
    }

    pub(super) fn is_free(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }
}

/// Lets a connection read and write what it can now. Why it ends is told to the exchange that it carries.
fn drive(connection: &mut Option<http1::Connection<Line, Full<Bytes>>>, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|open| Pin::new(open).poll(cx).is_ready()) {
        *connection = None;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn request() -> Sent {
        Request::post("/hook").body(Full::from("{}")).unwrap()
    }

    /// A connection that has carried one exchange and waits for the next, and its other end.
    pub(in super::super) async fn one() -> (Box<One>, DuplexStream) {
        let (near, mut far) = tokio::io::duplex(4_096);
        let line = Line::new(Box::new(near), false, Steps::default());
        let opened = line.opened();
        let (sender, connection) = http1::handshake(line).await.unwrap();
        let mut one = Box::new(One::new(sender, connection, opened));
        let answers = async {
            let mut asked = Vec::new();
            while !asked.ends_with(b"{}") {
                far.read_buf(&mut asked).await.unwrap();
            }
            far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        };
        let (answer, ()) = tokio::join!(one.send(request()), answers);
        answer.unwrap();
        poll_fn(|cx| {
            one.drive(cx);
            Poll::Ready(())
        })
        .await;
        assert!(one.is_free());
        (one, far)
    }

    #[tokio::test]
    async fn a_request_comes_back_unsent_when_the_connection_ends_after_it_was_taken() {
        let (mut one, mut far) = one().await;
        far.shutdown().await.unwrap();
        let answered = one.send(request()).now_or_never();
        let mut refused = answered.expect("at once, and not when the deadline comes").unwrap_err();
        assert!(refused.take_message().is_some(), "it can go over another one: {refused:?}");
        drop(one);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert_eq!(String::from_utf8(sent).unwrap(), "", "nothing of it has left");
    }
}
