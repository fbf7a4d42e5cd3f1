//! One connection through the proxy: two directions, each with a bounded queue of pieces and the times they are due.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

use super::{Cut, Direction, Mode, Orders};

/// One read.
const PIECE: usize = 16 * 1024;
/// So many pieces may be on their way in one direction.
const ON_THE_WAY: usize = 64;

/// Why a connection is reset rather than closed.
#[derive(Debug)]
struct Reset;

/// What the two directions of one connection tell each other.
#[derive(Default)]
struct Between {
    /// Bytes were lost: it can't be healed.
    spoiled: AtomicBool,
    /// The request of an ordered cut went up; the reply shall be cut.
    asked: AtomicBool,
}

/// Serves one client to its end. A client that can't be connected to the target is reset.
pub(super) async fn connection(mut client: TcpStream, target: SocketAddr, orders: Orders) {
    let resets = *orders.resets.borrow();
    let ended = tokio::select! {
        ended = through(&mut client, target, &orders) => ended,
        () = ordered(orders.clone(), resets) => Err(Reset),
    };
    if ended.is_err() {
        reset(&client);
    }
}

/// Dropped after this, the socket sends RST.
fn reset(stream: &TcpStream) {
    // Fails only on a socket that is gone already.
    drop(stream.set_zero_linger());
}

/// Comes back when the connection shall be reset by order.
async fn ordered(mut orders: Orders, resets: u64) {
    loop {
        if *orders.mode.borrow_and_update() == Mode::Refuse || *orders.resets.borrow_and_update() != resets {
            return;
        }
        tokio::select! {
            changed = orders.mode.changed() => if changed.is_err() { return },
            changed = orders.resets.changed() => if changed.is_err() { return },
        }
    }
}

async fn through(client: &mut TcpStream, target: SocketAddr, orders: &Orders) -> Result<(), Reset> {
    let mut mode = orders.mode.clone();
    if *mode.borrow_and_update() == Mode::Swallow {
        return swallow(client, &mut mode).await;
    }
    let mut server = TcpStream::connect(target).await.map_err(|_| Reset)?;
    for stream in [&*client, &server] {
        drop(stream.set_nodelay(true));
    }
    let between = Arc::new(Between::default());
    let ended = {
        let ((client_read, client_write), (server_read, server_write)) = (client.split(), server.split());
        let mut up = Pump::new(Direction::Up, orders, &between);
        let mut down = Pump::new(Direction::Down, orders, &between);
        tokio::try_join!(up.run(client_read, server_write), down.run(server_read, client_write))
    };
    if ended.is_err() {
        reset(&server);
    }
    ended.map(|_| ())
}

/// A black hole for a client that came while there was one; reset when it closes up.
async fn swallow(client: &mut TcpStream, mode: &mut tokio::sync::watch::Receiver<Mode>) -> Result<(), Reset> {
    let mut lost = [0; PIECE];
    loop {
        tokio::select! {
            changed = mode.changed() => {
                if changed.is_err() || *mode.borrow_and_update() != Mode::Swallow { return Err(Reset) }
            }
            read = client.read(&mut lost) => if matches!(read, Ok(0) | Err(_)) { return Ok(()) },
        }
    }
}

/// One direction of one connection.
struct Pump {
    way: Direction,
    orders: Orders,
    between: Arc<Between>,
    /// Read and not yet forwarded, with the time when it shall be.
    queue: VecDeque<(Instant, Vec<u8>)>,
    ended: bool,
    /// Of a reply that is being cut: so many bytes may still pass.
    left: Option<usize>,
}

impl Pump {
    fn new(way: Direction, orders: &Orders, between: &Arc<Between>) -> Self {
        let (orders, between) = (orders.clone(), between.clone());
        Self { way, orders, between, queue: VecDeque::new(), ended: false, left: None }
    }

    async fn run(&mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Reset> {
        let mut piece = vec![0; PIECE];
        loop {
            let mode = *self.orders.mode.borrow_and_update();
            if mode != Mode::Swallow && self.between.spoiled.load(Ordering::SeqCst) {
                return Err(Reset);
            }
            if mode == Mode::Swallow {
                self.queue.clear();
            }
            if self.ended && self.queue.is_empty() {
                // A reader of its own end only; the other direction goes on.
                drop(to.shutdown().await);
                return Ok(());
            }
            let held = mode == Mode::Hold(self.way) || mode == Mode::Hold(Direction::Both);
            let due = self.queue.front().map(|(due, _)| *due).filter(|_| !held);
            let room = self.queue.len() < ON_THE_WAY && !self.ended;
            tokio::select! {
                biased;
                changed = self.orders.mode.changed() => if changed.is_err() { return Err(Reset) },
                () = until(due) => {
                    let Some((_, bytes)) = self.queue.pop_front() else { continue };
                    self.forward(&bytes, mode, &mut to).await?;
                }
                read = from.read(&mut piece), if room => match read {
                    Ok(0) => self.ended = true,
                    Ok(n) => self.take(&piece[..n], mode),
                    Err(_) => return Err(Reset),
                },
            }
        }
    }

    /// What becomes of bytes that came in.
    fn take(&mut self, bytes: &[u8], mode: Mode) {
        match mode {
            Mode::Swallow => self.between.spoiled.store(true, Ordering::SeqCst),
            Mode::Delay(delay) => self.queue.push_back((Instant::now() + delay, bytes.to_vec())),
            _ => self.queue.push_back((Instant::now() + Duration::ZERO, bytes.to_vec())),
        }
    }

    async fn forward(&mut self, bytes: &[u8], mode: Mode, to: &mut WriteHalf<'_>) -> Result<(), Reset> {
        match self.way {
            Direction::Up => self.watch_for_cut(bytes),
            _ => self.begin_cut(),
        }
        let Some(left) = self.left else { return write(to, bytes, mode).await.map_err(|_| Reset) };
        write(to, &bytes[..left.min(bytes.len())], mode).await.map_err(|_| Reset)?;
        self.left = Some(left.saturating_sub(bytes.len()));
        if left > bytes.len() {
            return Ok(());
        }
        self.orders.shared.cuts.fetch_add(1, Ordering::SeqCst);
        Err(Reset)
    }

    /// Going up: is this the request whose reply shall be cut?
    fn watch_for_cut(&mut self, bytes: &[u8]) {
        let cut = self.orders.shared.cut();
        let wanted = |cut: &Cut| cut.request.is_empty() || bytes.windows(cut.request.len()).any(|w| w == cut.request);
        if cut.as_ref().is_some_and(wanted) {
            self.between.asked.store(true, Ordering::SeqCst);
        }
    }

    /// Coming down: a reply after the request was seen. The first connection that gets here takes the order.
    fn begin_cut(&mut self) {
        if self.left.is_none() && self.between.asked.swap(false, Ordering::SeqCst) {
            self.left = self.orders.shared.cut().take().map(|cut| cut.after);
        }
    }
}

/// Written in as many pieces as the mode wants.
async fn write(to: &mut WriteHalf<'_>, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let Mode::Slice(size) = mode else { return to.write_all(bytes).await };
    for slice in bytes.chunks(size.max(1)) {
        to.write_all(slice).await?;
        to.flush().await?;
        // The reader gets a chance to see it alone.
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
