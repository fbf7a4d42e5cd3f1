//! A receiver on loopback that keeps what it gets and answers by script, well or badly.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How slow a slow receiver is between two bytes.
const DRIP: Duration = Duration::from_millis(20);

/// One answer.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// A well-formed one.
    Status(u16, &'static str, String),
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then this one again and again, slowly.
    Drip(Vec<u8>, u8),
    /// These bytes, then these again and again, as fast as they are taken.
    Flood(Vec<u8>, Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
}

/// `code` with an empty body.
pub(super) fn status(code: u16) -> Reply {
    Reply::Status(code, "", String::new())
}

/// One POST as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Received {
    head: String,
    pub(super) body: String,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> String {
        let mut found =
            self.head.lines().filter_map(|line| line.split_once(": ")).filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value =
            found.next().map(|(_, v)| v.to_owned()).unwrap_or_else(|| panic!("no header {name}: {}", self.head));
        assert!(found.next().is_none(), "{name} came twice");
        value
    }

    pub(super) fn request_line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// Which of the listed signatures `secret` verifies, computed here anew.
    pub(super) fn verified_by(&self, secret: &str) -> Vec<usize> {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let list = self.header("webhook-signature");
        let verifies = |text: &str| {
            let signature = STANDARD.decode(text.strip_prefix("v1,").unwrap()).unwrap();
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(signed.as_bytes());
            mac.verify_slice(&signature).is_ok()
        };
        list.split(' ').enumerate().filter(|(_, s)| verifies(s)).map(|(i, _)| i).collect()
    }
}

#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Received>>>,
    _stop: DropGuard,
}

impl Receiver {
    /// Answers the first POST with the first reply and so on; the last one repeats.
    pub(super) async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop, tracker) =
            (Arc::<Mutex<Vec<Received>>>::default(), CancellationToken::new(), TaskTracker::new());
        let (kept, stopped, tasks) = (Arc::clone(&seen), stop.clone(), tracker.clone());
        tracker.spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serve(stream, Arc::clone(&kept), script.clone());
                tasks.spawn(stopped.clone().run_until_cancelled_owned(serving));
            }
        }));
        Self { address, seen, _stop: stop.drop_guard() }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook?token=t", self.address)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn seen(&self) -> Vec<Received> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Received>>>, script: Vec<Reply>) {
    while let Some(received) = read_request(&mut stream).await {
        let nth = {
            let mut seen = seen.lock().unwrap();
            seen.push(received);
            seen.len() - 1
        };
        let reply = script.get(nth).or(script.last()).unwrap();
        if answer(&mut stream, reply).await.is_none() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return Some(Received { head: head.to_owned(), body: body.to_owned() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// `None`: the connection is over.
async fn answer(stream: &mut TcpStream, reply: &Reply) -> Option<()> {
    match reply {
        Reply::Status(code, headers, body) => {
            let head = format!("HTTP/1.1 {code} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.ok()?;
            stream.write_all(body.as_bytes()).await.ok()
        }
        Reply::Bytes(bytes) => {
            stream.write_all(bytes).await.ok()?;
            None
        }
        Reply::Drip(first, byte) => {
            stream.write_all(first).await.ok()?;
            let mut pace = tokio::time::interval(DRIP);
            loop {
                pace.tick().await;
                stream.write_all(&[*byte]).await.ok()?;
            }
        }
        Reply::Flood(first, again) => {
            stream.write_all(first).await.ok()?;
            loop {
                stream.write_all(again).await.ok()?;
            }
        }
        Reply::Silence => {
            // Ends when the sender gives up.
            let _ = stream.read_u8().await;
            None
        }
    }
}
