//! A TCP proxy on a port of its own whose manners can be changed while it runs.
//!
//! It has its own thread and runtime, so a test may block. What waits in it is bounded: a side that is not read from
//! soon can't write either, as in a real network.

mod pump;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// How it treats all connections, those that are open too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards everything at once.
    Pass,
    /// Forwards everything so much later, each way.
    Delay(Duration),
    /// Forwards nothing in this direction and closes nothing; what was held goes on when the mode changes.
    Hold(Direction),
    /// A black hole: accepts, reads everything, forwards nothing. A connection that lost bytes here is reset when the mode
    /// changes.
    Swallow,
    /// New connections are refused, open ones are reset.
    Refuse,
    /// Forwards at most so many bytes with one write.
    Slice(usize),
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
    /// Both.
    Both,
}

/// A running proxy. Dropping it resets its connections and frees its port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    mode: watch::Sender<Mode>,
    /// Counts up to reset what is open.
    resets: watch::Sender<u64>,
    settled: watch::Receiver<Mode>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the connections share with the handle.
#[derive(Debug, Default)]
struct Shared {
    cut: Mutex<Option<Cut>>,
    accepted: AtomicU64,
    cuts: AtomicU64,
}

/// One reply that shall be cut short.
#[derive(Clone, Debug)]
struct Cut {
    /// Only the reply to a request that contains this; empty: to any.
    request: Vec<u8>,
    /// So many bytes of it still arrive.
    after: usize,
}

/// What a connection needs to know.
#[derive(Clone, Debug)]
struct Orders {
    shared: Arc<Shared>,
    mode: watch::Receiver<Mode>,
    resets: watch::Receiver<u64>,
}

impl Proxy {
    /// Starts one in front of `target`.
    ///
    /// # Panics
    /// When there is no free port or no thread.
    pub fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let port = listener.local_addr().expect("its port").port();
        let (mode, mode_seen) = watch::channel(Mode::Pass);
        let (resets, resets_seen) = watch::channel(0);
        let (settle, settled) = watch::channel(Mode::Pass);
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let orders = Orders { shared: shared.clone(), mode: mode_seen, resets: resets_seen };
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, target, orders, settle) => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("proxy".into()).spawn(run).expect("a thread");
        Self { port, shared, mode, resets, settled, stop: Some(stop), thread: Some(thread) }
    }

    /// Starts one in front of a port of this machine.
    pub fn to_port(port: u16) -> Self {
        Self::start(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Where it listens, on `127.0.0.1`; stays the same in every mode.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes its manners; returns when new connections meet them.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        crate::eventually("the proxy to take up its mode", Duration::from_secs(10), || {
            (*self.settled.borrow() == mode).then_some(())
        });
    }

    /// Resets (RST) every open connection once.
    pub fn reset_all(&self) {
        self.resets.send_modify(|n| *n += 1);
    }

    /// Resets one connection in the middle of the next reply, after `after` bytes of it have arrived; with 0 the reply is
    /// lost whole. Once; then everything passes again.
    pub fn cut_next_reply(&self, after: usize) {
        self.cut_reply_to(b"", after);
    }

    /// The same for the next request that contains `request` in one piece.
    pub fn cut_reply_to(&self, request: &[u8], after: usize) {
        *self.shared.cut() = Some(Cut { request: request.to_vec(), after });
    }

    /// How many replies were cut short so far.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Nobody listens when its thread has panicked, which was shown already.
            _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn cut(&self) -> std::sync::MutexGuard<'_, Option<Cut>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts for ever. While it refuses it only keeps the port, so that nobody else gets it.
async fn serve(listener: TcpListener, target: SocketAddr, mut orders: Orders, settle: watch::Sender<Mode>) {
    let here = listener.local_addr().expect("its port");
    let mut listener = Some(listener);
    let mut kept = None;
    let mut open = JoinSet::new();
    loop {
        let mode = *orders.mode.borrow_and_update();
        if mode == Mode::Refuse {
            listener = None;
            kept.get_or_insert_with(|| bind(here));
        } else if listener.is_none() {
            // Both are bound for a moment, and only one listens: the port is never free.
            listener = Some(bind(here).listen(1_024).expect("listen again"));
            kept = None;
        }
        settle.send_replace(mode);
        tokio::select! {
            changed = orders.mode.changed() => if changed.is_err() { return },
            accepted = accept(listener.as_ref()) => {
                orders.shared.accepted.fetch_add(1, Ordering::SeqCst);
                open.spawn(pump::connection(accepted, target, orders.clone()));
            }
            Some(_) = open.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
        // Out of descriptors, or the client was gone before we came: the next one may be luckier.
        tokio::task::yield_now().await;
    }
}

fn bind(here: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("reuse the port");
    socket.bind(here).expect("the proxy's own port");
    socket
}
