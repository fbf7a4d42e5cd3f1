//! What is known of one connection from outside: its phase, since when, and how to cut it.
//!
//! [`Wire`] is the socket as hyper sees it. It notes the first byte of each head, lets [`Framing`] watch for requests that
//! state their length twice, and lingers after the last reply so that a peer still sending gets to read it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ListenerLimits;
use super::framing::Framing;

/// After our last byte a peer may go on sending for so long, or so much, before the socket is closed under it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// The service answers late requests itself at the deadline; a reply that nobody reads is cut this much later.
const REPLY_SLACK: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Our last reply is out; the peer's end is awaited.
    Closing,
    /// Accepted, and its task has not run yet.
    New,
    /// Not a byte yet.
    Fresh,
    /// Some bytes of a head.
    Head,
    /// Answered before, nothing since.
    Idle,
    /// A request is being received or answered.
    Serving,
}

impl Phase {
    fn of(code: u8) -> Self {
        [Self::Closing, Self::New, Self::Fresh, Self::Head, Self::Idle]
            .into_iter()
            .find(|p| *p as u8 == code)
            .unwrap_or(Self::Serving)
    }
}

/// Shared by the connection's task, its socket, its service, and the slots. One task writes, others only look.
#[derive(Debug)]
pub(super) struct Line {
    zero: Instant,
    since_ms: AtomicU64,
    phase: AtomicU8,
    receiving: AtomicBool,
    twice: AtomicU64,
    pub(super) cut: CancellationToken,
}

impl Line {
    /// `zero` is any instant before; times are kept as milliseconds from it.
    pub(super) fn new(zero: Instant) -> Self {
        let line = Self {
            zero,
            since_ms: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::New as u8),
            receiving: AtomicBool::new(false),
            twice: AtomicU64::new(0),
            cut: CancellationToken::new(),
        };
        line.enter(Phase::New);
        line
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.enter_at(phase, Instant::now());
    }

    pub(super) fn enter_at(&self, phase: Phase, now: Instant) {
        let ms = u64::try_from(now.duration_since(self.zero).as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(ms, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    pub(super) fn since(&self) -> Instant {
        self.zero + Duration::from_millis(self.since_ms.load(Ordering::Relaxed))
    }

    /// The present phase may last until then.
    pub(super) fn deadline(&self, limits: &ListenerLimits) -> Instant {
        let allowed = match self.phase() {
            Phase::New | Phase::Fresh | Phase::Head => limits.head,
            Phase::Idle => limits.idle,
            Phase::Serving => limits.request + REPLY_SLACK,
            Phase::Closing => LINGER,
        };
        self.since() + allowed
    }

    /// The body of the request being served is still on its way.
    pub(super) fn is_receiving(&self) -> bool {
        self.receiving.load(Ordering::Relaxed)
    }

    pub(super) fn set_receiving(&self, receiving: bool) {
        self.receiving.store(receiving, Ordering::Relaxed);
    }

    /// True when request number `n` (from 1) stated its length in two ways.
    pub(super) fn states_length_twice(&self, n: u64) -> bool {
        self.twice.load(Ordering::Relaxed) == n
    }
}

/// The socket of a [`Line`].
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    line: Arc<Line>,
    framing: Framing,
    finished: bool,
    lingered: usize,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, line: Arc<Line>, head_bytes: usize) -> Self {
        Self { stream, line, framing: Framing::new(head_bytes), finished: false, lingered: 0 }
    }

    /// Takes in what the peer still sends, until it ends or has sent enough: closing a socket with unread bytes resets it,
    /// and the peer would lose our reply.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scrap = [0; 8 * 1024];
        while self.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.lingered += buf.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        if !fresh.is_empty() {
            if matches!(self.line.phase(), Phase::Fresh | Phase::Idle) {
                self.line.enter(Phase::Head);
            }
            if let Some(request) = self.framing.feed(fresh) {
                self.line.twice.store(request, Ordering::Relaxed);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.finished = true;
            self.line.enter(Phase::Closing);
        }
        self.poll_linger(cx)
    }
}
