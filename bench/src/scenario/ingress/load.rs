//! The load generator: signed requests made beforehand, and one thread that writes them and reads the answers of all
//! connections, so that it takes as little as can be from the receiver on the same machine.
//!
//! At a rate it is an open loop: each request has its moment, whatever the answers do. One whose moment comes while every
//! connection waits for an answer goes with the first that is free, and its latency runs from the moment all the same.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::event::epoll;
use sha2::Sha256;

use crate::latency::Latencies;

/// The secret of all.
pub(super) const SECRET: &str = "whsec_bench_0123456789abcdef";
/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests whose moments lie closer together are written together: late by at most this, which is in their latencies.
const PACE: Duration = Duration::from_micros(100);
/// No answer on any connection for so long, with requests under way, is a silence.
const SILENCE: Duration = Duration::from_millis(5);

/// What came of a run.
#[derive(Debug)]
pub(super) struct Run {
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// Of each request.
    pub(super) waits: Latencies,
    /// How long nobody was answered, each time.
    pub(super) silences: Latencies,
}

/// Posts events `from..from + n`: at `rate` a second whatever the answers do, or as fast as they come.
pub(super) fn run(port: u16, from: u64, n: u64, connections: usize, rate: Option<f64>) -> anyhow::Result<Run> {
    let requests = requests(from, n)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut all = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("connect to the receiver")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&epoll, &stream, epoll::EventData::new_u64(u64::try_from(number)?), epoll::EventFlags::IN)?;
        all.push(Connection { stream, intended: None, answer: Vec::with_capacity(2_048) });
    }
    let free = (0..connections).collect();
    let (waits, silences) = (Latencies::new()?, Latencies::new()?);
    let begun = Instant::now();
    let mut load = Load { requests: &requests, all, free, next: 0, begun, rate, waits, silences, heard: begun };
    load.drive(&epoll)?;
    let Load { waits, silences, .. } = load;
    ensure!(waits.len() == n, "{} of {n} requests were answered", waits.len());
    Ok(Run { took: begun.elapsed(), waits, silences })
}

struct Connection {
    stream: TcpStream,
    /// When the request that is under way was to be sent.
    intended: Option<Instant>,
    /// What has come of its answer.
    answer: Vec<u8>,
}

struct Load<'r> {
    requests: &'r [Box<[u8]>],
    all: Vec<Connection>,
    free: VecDeque<usize>,
    next: usize,
    begun: Instant,
    rate: Option<f64>,
    waits: Latencies,
    silences: Latencies,
    /// The last answer.
    heard: Instant,
}

impl Load<'_> {
    fn drive(&mut self, epoll: &impl std::os::fd::AsFd) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(self.all.len());
        while self.waits.len() < self.requests.len() as u64 {
            let next = self.send_what_is_due()?;
            let wait = next.map_or(PATIENCE, |next| next.saturating_duration_since(Instant::now()).max(PACE));
            events.clear();
            match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait.try_into()?)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => bail!("wait for answers: {error}"),
            }
            ensure!(self.heard.elapsed() < PATIENCE, "no answer for {} s", PATIENCE.as_secs());
            for event in &events {
                self.receive(usize::try_from(event.data.u64())?)?;
            }
        }
        Ok(())
    }

    /// Sends as many as there are connections for; when the next one is due, if there is one that a connection waits for.
    fn send_what_is_due(&mut self) -> anyhow::Result<Option<Instant>> {
        while let (Some(request), Some(free)) = (self.requests.get(self.next), self.free.front()) {
            let now = Instant::now();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let intended = self.rate.map_or(now, |rate| self.begun + Duration::from_secs_f64(self.next as f64 / rate));
            if intended > now {
                return Ok(Some(intended));
            }
            if self.free.len() == self.all.len() {
                self.heard = now;
            }
            let connection = &mut self.all[*free];
            let written = connection.stream.write(request).context("send a request")?;
            ensure!(written == request.len(), "a socket took only {written} bytes of a request");
            connection.intended = Some(intended);
            self.free.pop_front();
            self.next += 1;
        }
        Ok(None)
    }

    fn receive(&mut self, number: usize) -> anyhow::Result<()> {
        let connection = &mut self.all[number];
        let mut buffer = [0_u8; 2_048];
        let n = match connection.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            n => n.context("read an answer")?,
        };
        ensure!(n > 0, "the receiver closed a connection");
        connection.answer.extend_from_slice(&buffer[..n]);
        if !is_whole(&connection.answer)? {
            return Ok(());
        }
        connection.answer.clear();
        let now = Instant::now();
        let intended = connection.intended.take().context("an answer that nobody asked for")?;
        self.waits.record(now.duration_since(intended));
        let silent = now.duration_since(self.heard);
        if silent >= SILENCE {
            self.silences.record(silent);
        }
        self.heard = now;
        self.free.push_back(number);
        Ok(())
    }
}

/// Whether an answer has come to its end; it must be 200.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let text = std::str::from_utf8(answer).context("an answer that is no text")?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(false) };
    ensure!(head.starts_with("HTTP/1.1 200"), "an event was not accepted: {text}");
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.context("an answer without length")?.1.trim().parse()?;
    Ok(body.len() >= length)
}

/// Signed now: a signature is good for five minutes.
fn requests(from: u64, n: u64) -> anyhow::Result<Vec<Box<[u8]>>> {
    #[expect(clippy::disallowed_methods, reason = "the sender's clock is the machine's")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    (from..from + n).map(|i| request(i, now)).collect()
}

fn request(i: u64, now: u64) -> anyhow::Result<Box<[u8]>> {
    let body = body(i);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    mac.update(format!("{now}.{body}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let head = format!(
        "POST /webhooks/stripe HTTP/1.1\r\nhost: localhost\r\nuser-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
         content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\nstripe-signature: t={now},v1={signature}\r\n\r\n",
        body.len()
    );
    Ok([head.as_bytes(), body.as_bytes()].concat().into())
}

/// Event `i`, about 680 bytes, indented as Stripe does.
fn body(i: u64) -> String {
    let id = event_id(i);
    format!(
        r#"{{
  "id": "{id}",
  "object": "event",
  "api_version": "2025-08-27.basil",
  "created": 1775908800,
  "data": {{
    "object": {{
      "id": "in_{i:014}",
      "object": "invoice",
      "amount_due": {amount},
      "amount_paid": {amount},
      "amount_remaining": 0,
      "attempt_count": 1,
      "currency": "usd",
      "customer": "cus_{i:014}",
      "status": "paid",
      "period_end": 1775908800,
      "period_start": 1773230400
    }}
  }},
  "livemode": true,
  "pending_webhooks": 1,
  "request": {{
    "id": "req_{i:014}",
    "idempotency_key": "0198c5b2-7f00-7000-8000-{i:012}"
  }},
  "type": "invoice.payment_succeeded"
}}"#,
        amount = 1_000 + i % 9_000
    )
}

/// The id of event `i`.
fn event_id(i: u64) -> String {
    format!("evt_{i:020}")
}

/// Which event this is.
pub(super) fn number(event_id: &str) -> Option<u64> {
    event_id.strip_prefix("evt_")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_distinct_events_of_about_680_bytes() {
        for i in [0, 7, 999_999_999] {
            let body = body(i);
            assert!((640..=720).contains(&body.len()), "{}", body.len());
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(number(json["id"].as_str().unwrap()), Some(i));
        }
    }
}
