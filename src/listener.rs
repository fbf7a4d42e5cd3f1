//! One HTTP listener: accepts connections, bounds everything about them, and stops without hanging.
//!
//! Every connection is in one phase of a few (fresh, head, serving, idle, closing), each with a deadline that acts. At the cap
//! a new connection takes the place of the one that has waited longest without a complete request, so that silent or dribbling
//! peers can't keep others out; only when all are being answered is a new one refused. Bodies are cut at the cap, a request with
//! both a length and chunks is refused, a panicking handler costs one reply. Handlers find the peer's address in
//! [`ConnectInfo<SocketAddr>`](axum::extract::ConnectInfo).

mod connection;
mod files;
mod framing;
mod line;
mod service;
mod slots;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use metrics::counter;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::config::ingress::LimitsConfig;
use crate::metrics::CONNECTIONS_CUT;
use connection::Connection;
use slots::Slots;

/// After an accept that failed for want of file descriptors; long enough for a cut connection to give its own back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Connections that the system has completed and we have not accepted yet.
const BACKLOG: u32 = 4_096;

/// With every connection busy a new one waits so long for a place.
const PLACE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a listener puts up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Names the listener in metrics and logs: `public`, `operators`.
    pub name: &'static str,
    /// At most so many connections at once; fewer where the process may not open as many files.
    pub connections: usize,
    /// From accept, or from the first byte of a later request, to the end of the request's head.
    pub head: Duration,
    /// A connection kept alive may wait so long for its next request.
    pub idle: Duration,
    /// From the end of the head to the end of the reply.
    pub request: Duration,
    /// The request line and all headers together, in bytes. There may be 100 headers.
    pub head_bytes: usize,
    /// Any body, in bytes.
    pub body_bytes: usize,
    /// When stopping: what is being served may take so much longer, then it is cut.
    pub grace: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            name: "public",
            connections: 2_048,
            head: Duration::from_secs(10),
            // Above the 60 s for which common proxies keep a connection, so that they are the ones that close it.
            idle: Duration::from_secs(75),
            request: Duration::from_secs(30),
            head_bytes: 16 * 1024,
            body_bytes: 2 * 1024 * 1024,
            grace: Duration::from_secs(5),
        }
    }
}

impl ListenerLimits {
    /// The limits as configured; `body_bytes` is the most that any of its routes takes.
    pub fn configured(name: &'static str, limits: &LimitsConfig, body_bytes: u64) -> Self {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            name,
            connections: size(limits.connections),
            head: Duration::from_secs(limits.head_timeout_seconds),
            idle: Duration::from_secs(limits.idle_timeout_seconds),
            request: Duration::from_secs(limits.request_timeout_seconds),
            head_bytes: size(limits.head_bytes),
            body_bytes: size(body_bytes),
            grace: Duration::from_secs(limits.shutdown_grace_seconds),
        }
    }
}

/// Binds `at` with a queue long enough for a burst of connections; the system may shorten it (`somaxconn`).
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// What a listener can serve: an axum router, or anything that answers as one does.
pub trait Answers:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Answers for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

/// Serves `service` on `tcp` until `shutdown` rings; returns when the last connection has ended, at most
/// [`ListenerLimits::grace`] later.
pub async fn serve<S: Answers>(tcp: TcpListener, service: S, limits: ListenerLimits, shutdown: CancellationToken) {
    let limits = Arc::new(limits);
    let slots = Arc::new(Slots::new(files::fit(limits.connections, limits.name)));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = tcp.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Others wait in the system's queue meanwhile; there is no place for them either.
                let place = slots.place(limits.name, Instant::now() + PLACE_TIMEOUT);
                let Some(Some(slot)) = shutdown.run_until_cancelled(place).await else {
                    counter!(CONNECTIONS_CUT, "listener" => limits.name, "reason" => "full").increment(1);
                    continue;
                };
                let connection = Connection { stream, peer, slot, limits: Arc::clone(&limits) };
                tasks.spawn(connection.run(service.clone(), shutdown.clone()));
            }
            Err(error) => recover(&error, &slots, &limits).await,
        }
    }
    // No new connections from here on: the peers see "refused" and go elsewhere.
    drop(tcp);
    tasks.close();
    if tokio::time::timeout(limits.grace, tasks.wait()).await.is_err() {
        slots.cut_all();
        tasks.wait().await;
    }
}

/// A failed accept is either the peer's doing, and over, or a want of file descriptors.
async fn recover(error: &io::Error, slots: &Slots, limits: &ListenerLimits) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return;
    }
    counter!(CONNECTIONS_CUT, "listener" => limits.name, "reason" => "accept_failed").increment(1);
    let cut = slots.evict_one(limits.name);
    tracing::warn!(listener = limits.name, %error, cut, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
