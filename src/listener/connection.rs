//! One connection's task: hyper on the one side, deadlines, the cut and the stop on the other.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::counter;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::line::{Line, Phase, Wire};
use super::service::Answerer;
use super::slots::Slot;
use super::{Answers, ListenerLimits};
use crate::metrics::CONNECTIONS_CUT;

/// What hyper may buffer of one connection, to either side.
const BUFFER_BYTES: usize = 64 * 1024;

/// Never asleep for longer: a phase with an earlier deadline may begin meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An accepted connection and its place.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) slot: Slot,
    pub(super) limits: Arc<ListenerLimits>,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn run<S: Answers>(self, service: S, stop: CancellationToken) {
        let Self { stream, peer, slot, limits } = self;
        let line = Arc::clone(&slot.line);
        line.enter(Phase::Fresh);
        // Small replies must not wait for the peer's acknowledgement; where it can't be set they only come later.
        stream.set_nodelay(true).ok();
        let wire = Wire::new(stream, Arc::clone(&line), limits.head_bytes);
        let answerer = Answerer {
            service,
            line: Arc::clone(&line),
            peer,
            limits: Arc::clone(&limits),
            requests: AtomicU64::new(0),
        };
        let answerer = Arc::new(answerer);
        let service = service_fn(move |request| Arc::clone(&answerer).answer(request));
        let mut http = pin!(builder(&limits).serve_connection(TokioIo::new(wire), service));
        let mut stopping = false;
        loop {
            let look = line.deadline(&limits).min(Instant::now() + LOOK_AGAIN);
            tokio::select! {
                ended = http.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(listener = limits.name, %peer, %error, "a connection ended with an error");
                    }
                    break;
                }
                () = line.cut.cancelled() => break,
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    if !matches!(line.phase(), Phase::Serving | Phase::Closing) {
                        break;
                    }
                    http.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep_until(look) => {
                    if let Some(reason) = overdue(&line, &limits) {
                        counter!(CONNECTIONS_CUT, "listener" => limits.name, "reason" => reason).increment(1);
                        break;
                    }
                }
            }
        }
        drop(slot);
    }
}

/// hyper's own timers are off: [`Line::deadline`] has one for each phase, and needs no entry in the runtime's wheel for each request.
fn builder(limits: &ListenerLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_header_size(limits.head_bytes)
        .max_buf_size(BUFFER_BYTES.max(limits.head_bytes))
        .keep_alive(true);
    builder
}

/// Why the connection's time is up, if it is.
fn overdue(line: &Line, limits: &ListenerLimits) -> Option<&'static str> {
    if Instant::now() < line.deadline(limits) {
        return None;
    }
    Some(match line.phase() {
        Phase::New | Phase::Fresh | Phase::Head => "head_timeout",
        Phase::Idle => "idle_timeout",
        Phase::Serving => "reply_timeout",
        Phase::Closing => "linger_timeout",
    })
}
