//! A served router and raw sockets to talk to it.

use std::net::SocketAddr;
use std::time::Duration;

use tidemill::listener::{Answers, ListenerLimits, bind, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing in these tests may take longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A router being served on loopback.
pub(super) struct Served {
    pub(super) at: SocketAddr,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Served {
    pub(super) async fn start(service: impl Answers, limits: ListenerLimits) -> Self {
        let tcp = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let (at, stop, tasks) = (tcp.local_addr().unwrap(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve(tcp, service, limits, stop.clone()));
        tasks.close();
        Self { at, stop, tasks }
    }

    pub(super) async fn connect(&self) -> Peer {
        Peer(TcpStream::connect(self.at).await.unwrap())
    }

    /// Sends `bytes` on a new connection and reads until the other side closes.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut peer = self.connect().await;
        peer.send(bytes).await;
        peer.rest().await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One raw connection.
pub(super) struct Peer(pub(super) TcpStream);

impl Peer {
    /// A refusal may cut the sending short; what counts is the reply.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.ok();
    }

    /// All that still comes, until the end or a reset.
    pub(super) async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut all))
            .await
            .expect("the connection was never closed")
            .ok();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// One reply with a `Content-Length`; the connection stays open.
    pub(super) async fn reply(&mut self) -> Reply {
        tokio::time::timeout(PATIENCE, self.read_reply()).await.expect("no reply came")
    }

    async fn read_reply(&mut self) -> Reply {
        let mut text = Vec::new();
        let end = loop {
            if let Some(at) = text.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let n = self.0.read_buf(&mut text).await.unwrap();
            assert!(n > 0, "the connection was closed instead of a reply: {}", String::from_utf8_lossy(&text));
        };
        let head = String::from_utf8(text[..end].to_vec()).unwrap();
        let length: usize = head
            .lines()
            .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse().unwrap()))
            .unwrap_or(0);
        while text.len() < end + length {
            assert!(self.0.read_buf(&mut text).await.unwrap() > 0, "the reply was cut");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, body: text[end..end + length].to_vec() }
    }
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then_some(v.trim())
        })
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}
