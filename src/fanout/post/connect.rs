//! Connections to strangers: resolved once, vetted, opened, timed.
//!
//! The only way from here to a socket leads through the guard: what it refuses is never connected to, and what is
//! connected to is an address that it has seen, also when the URL names one. A proxy is asked only where one is configured,
//! whatever the environment says, and for just that address. Where TLS is spoken, HTTP/2 is offered.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::guard::{Guard, UrlRefused};
use super::proxy::Proxy;

/// One address may take so long before the next one is tried.
const EACH: Duration = Duration::from_secs(5);
/// A name with more addresses than this is tried at the first ones.
const TRIES: usize = 4;

/// How far a connection has come, and how long each step took.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Steps {
    pub(in super::super) address: Option<SocketAddr>,
    pub(in super::super) dns: Option<Duration>,
    pub(in super::super) connect: Option<Duration>,
    pub(in super::super) tls: Option<Duration>,
}

/// What is known of the connection of an exchange before its answer is there, to be looked at when it ends without one.
#[derive(Debug, Default)]
pub(super) struct Trace(Mutex<Known>);

/// [`Steps`] of a connection, and whether it had been used before, once there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) steps: Steps,
    pub(super) reused: Option<bool>,
}

impl Trace {
    pub(super) fn known(&self) -> Known {
        self.lock().clone()
    }

    /// The request goes out over this one; what a new one has taken is kept already.
    pub(super) fn goes_over(&self, opened: &Opened, reused: bool) {
        let mut known = self.lock();
        known.reused = Some(reused);
        if reused {
            known.steps = opened.address_alone();
        }
    }

    fn keep(&self, steps: &Steps) {
        *self.lock() = Known { steps: steps.clone(), reused: None };
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a connection was made; goes with it.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    steps: Arc<Steps>,
    used: Arc<AtomicBool>,
}

impl Opened {
    /// The steps that belong to this POST, and whether the connection had been used before: then only the address does.
    pub(super) fn take(&self) -> (Steps, bool) {
        if self.used.swap(true, Ordering::Relaxed) {
            return (self.address_alone(), true);
        }
        (Steps::clone(&self.steps), false)
    }

    fn address_alone(&self) -> Steps {
        Steps { address: self.steps.address, ..Steps::default() }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Refused(#[from] UrlRefused),
    #[error("no connection to {address}: {detail}")]
    Connect { address: SocketAddr, detail: String },
    #[error("no TLS with {address}: {detail}")]
    Tls { address: SocketAddr, detail: String },
    #[error("the URL holds no host that can be connected to")]
    NoHost,
}

/// Opens connections.
pub(super) struct Connector {
    pub(super) guard: Arc<Guard>,
    pub(super) proxy: Option<Proxy>,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

impl Connector {
    /// A connection to where this leads; `trace` says how far it has come meanwhile.
    pub(super) async fn connect(&self, to: &Uri, trace: &Trace) -> Result<Line, ConnectError> {
        let secure = to.scheme_str() == Some("https");
        let host = to.host().ok_or(ConnectError::NoHost)?;
        let port = to.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let (mut steps, begun) = (Steps::default(), Instant::now());
        let addresses = self.guard.addresses(host, port).await?;
        steps.dns = Some(begun.elapsed());
        trace.keep(&steps);

        let begun = Instant::now();
        let mut failed = ConnectError::NoHost;
        let mut stream = None;
        for address in addresses.into_iter().take(TRIES) {
            steps.address = Some(address);
            trace.keep(&steps);
            match self.open(address).await {
                Ok(opened) => {
                    stream = Some((opened, address));
                    break;
                }
                Err(detail) => failed = ConnectError::Connect { address, detail },
            }
        }
        let Some((stream, address)) = stream else { return Err(failed) };
        steps.connect = Some(begun.elapsed());
        trace.keep(&steps);
        if !secure {
            return Ok(Line::new(Box::new(stream), false, steps));
        }
        let begun = Instant::now();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| ConnectError::NoHost)?;
        let shaken = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        let stream = shaken.map_err(|e| ConnectError::Tls { address, detail: e.to_string() })?;
        steps.tls = Some(begun.elapsed());
        trace.keep(&steps);
        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Line::new(Box::new(stream), two, steps))
    }

    async fn open(&self, address: SocketAddr) -> Result<TcpStream, String> {
        let opened = async {
            match &self.proxy {
                Some(proxy) => proxy.tunnel(address).await,
                None => direct(address).await.map_err(|e| e.to_string()),
            }
        };
        match tokio::time::timeout(EACH, opened).await {
            Ok(stream) => stream,
            Err(_) => Err(format!("no answer within {} s", EACH.as_secs())),
        }
    }
}

async fn direct(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// An open connection, with or without TLS.
pub(super) struct Line {
    io: TokioIo<Box<dyn Bytes>>,
    two: bool,
    opened: Opened,
}

impl Line {
    pub(super) fn new(io: Box<dyn Bytes>, two: bool, steps: Steps) -> Self {
        Self { io: TokioIo::new(io), two, opened: Opened { steps: Arc::new(steps), used: Arc::default() } }
    }

    /// HTTP/2 was agreed on.
    pub(super) fn is_two(&self) -> bool {
        self.two
    }

    pub(super) fn opened(&self) -> Opened {
        self.opened.clone()
    }
}

impl hyper::rt::Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl hyper::rt::Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }
}
