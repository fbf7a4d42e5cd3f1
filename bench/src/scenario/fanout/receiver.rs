//! The other side of `fanout`: a process of its own that answers 200 at once, never, or with a body without end.
//!
//! It counts what it gets by path and `webhook-id`, and measures from the `sent_us` in a body to its arrival, by the one clock that two
//! processes of a machine share. Peers post to the same program, so that all have the same other side.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

use crate::latency::Latencies;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// Receives until it is killed; says its address on standard output
#[derive(Debug, Args)]
pub struct Receive {}

/// What came since the last reset.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stats {
    /// Requests.
    pub(super) posts: u64,
    /// Distinct (path, message).
    pub(super) distinct: u64,
    /// From `sent_us` to the arrival.
    pub(super) p50_ms: Option<f64>,
    /// See `p50_ms`.
    pub(super) p99_ms: Option<f64>,
    /// See `p50_ms`.
    pub(super) p999_ms: Option<f64>,
    /// See `p50_ms`.
    pub(super) max_ms: Option<f64>,
}

struct Book {
    posts: u64,
    seen: HashSet<u64>,
    hasher: RandomState,
    waits: Latencies,
}

/// Microseconds since 1970, the same in every process of a machine.
#[expect(clippy::disallowed_methods, reason = "a figure that is taken in one process and used in another")]
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Receive {
    /// Runs it.
    ///
    /// # Errors
    /// When it can't listen.
    pub async fn run(self) -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        {
            use std::io::Write as _;
            writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        }
        let waits = Latencies::new()?;
        let book = Book { posts: 0, seen: HashSet::new(), hasher: RandomState::new(), waits };
        let (book, tasks) = (Arc::new(Mutex::new(book)), TaskTracker::new());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let book = Arc::clone(&book);
            // A connection that breaks off is its peer's affair.
            tasks.spawn(async move { serve(stream, &book).await.ok() });
        }
    }
}

async fn serve(mut stream: TcpStream, book: &Mutex<Book>) -> anyhow::Result<()> {
    let mut bytes = Vec::with_capacity(4_096);
    loop {
        let (head, all) = loop {
            if let Some((head, all)) = whole(&bytes) {
                break (head, all);
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let asked = {
            let (text, body) = (std::str::from_utf8(&bytes[..head])?, std::str::from_utf8(&bytes[head..all])?);
            let path = text.split(' ').nth(1).unwrap_or("/");
            let asked = Asked::of(path);
            match asked {
                Asked::Ok => lock(book).see(path, text, body),
                Asked::Endless => lock(book).see(path, text, ""),
                Asked::Hang => lock(book).posts += 1,
                Asked::Stats | Asked::Reset => {}
            }
            asked
        };
        bytes.drain(..all);
        match asked {
            Asked::Ok => stream.write_all(OK).await?,
            Asked::Stats => {
                let json = serde_json::to_string(&lock(book).stats())?;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", json.len());
                stream.write_all(format!("{head}{json}").as_bytes()).await?;
            }
            Asked::Reset => {
                lock(book).reset()?;
                stream.write_all(OK).await?;
            }
            Asked::Hang => {
                // Until the sender gives up.
                while stream.read_buf(&mut bytes).await? > 0 {
                    bytes.clear();
                }
                return Ok(());
            }
            Asked::Endless => {
                stream.write_all(ENDLESS).await?;
                let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
                loop {
                    stream.write_all(&chunk).await?;
                }
            }
        }
    }
}

/// What a request wants, by its path.
#[derive(Clone, Copy)]
enum Asked {
    Ok,
    Stats,
    Reset,
    Hang,
    Endless,
}

impl Asked {
    fn of(path: &str) -> Self {
        match path {
            "/stats" => Self::Stats,
            "/reset" => Self::Reset,
            path if path.starts_with("/hang") => Self::Hang,
            path if path.starts_with("/stream") => Self::Endless,
            _ => Self::Ok,
        }
    }
}

/// Where the first request's head ends and where its body does, once all of it is there.
pub(super) fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length = header(text, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0_usize);
    (bytes.len() >= head + length).then_some((head, head + length))
}

fn header<'t>(head: &'t str, name: &str) -> Option<&'t str> {
    let mut found = head.lines().filter_map(|line| line.split_once(':'));
    found.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn lock(book: &Mutex<Book>) -> std::sync::MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    fn see(&mut self, path: &str, head: &str, body: &str) {
        self.posts += 1;
        let id = header(head, "webhook-id").unwrap_or_default();
        self.seen.insert(self.hasher.hash_one((path, id)));
        let digits = body.split_once("\"sent_us\":").map(|(_, rest)| rest);
        let sent = digits.and_then(|d| d.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok());
        if let Some(sent) = sent {
            self.waits.record(Duration::from_micros(now_us().saturating_sub(sent)));
        }
    }

    fn stats(&self) -> Stats {
        Stats {
            posts: self.posts,
            distinct: self.seen.len() as u64,
            p50_ms: self.waits.at(50.0),
            p99_ms: self.waits.at(99.0),
            p999_ms: self.waits.at(99.9),
            max_ms: self.waits.max(),
        }
    }

    fn reset(&mut self) -> anyhow::Result<()> {
        (self.posts, self.waits) = (0, Latencies::new()?);
        self.seen.clear();
        Ok(())
    }
}

/// A receiver that runs.
pub(super) struct Receiver {
    address: String,
    _child: Child,
}

impl Receiver {
    /// Starts this program again, as a receiver.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let me = std::env::current_exe().context("find this program's own file")?;
        let mut child = Command::new(me)
            .arg("receive")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a receiver")?;
        let output = child.stdout.take().context("a receiver without output")?;
        let line = BufReader::new(output).lines().next_line().await?.context("the receiver has ended")?;
        Ok(Self { address: line, _child: child })
    }

    /// A URL of it.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came since the last reset.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn stats(&self) -> anyhow::Result<Stats> {
        Ok(serde_json::from_str(&self.get("/stats").await?)?)
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await?;
        let mut bytes = Vec::new();
        loop {
            if let Some((head, all)) = whole(&bytes) {
                return Ok(String::from_utf8_lossy(&bytes[head..all]).into_owned());
            }
            ensure!(stream.read_buf(&mut bytes).await? > 0, "the receiver has hung up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_when_its_body_is() {
        let request = b"POST /ok HTTP/1.1\r\nContent-Length: 3\r\nwebhook-id: m\r\n\r\nabcPOST";
        let (head, all) = whole(request).unwrap();
        assert_eq!(&request[head..all], b"abc");
        assert_eq!(whole(&request[..head + 2]), None);
        assert_eq!(header(std::str::from_utf8(&request[..head]).unwrap(), "WEBHOOK-ID"), Some("m"));
    }
}
