//! The load generator: signed requests made beforehand, and a thread for each connection that does nothing but write one
//! and read its answer, so that it takes as little as can be from the receiver on the same machine.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::latency::Latencies;

/// The secret of all.
pub(super) const SECRET: &str = "whsec_bench_0123456789abcdef";
/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a run.
#[derive(Debug)]
pub(super) struct Run {
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// Of each request.
    pub(super) waits: Latencies,
}

/// Posts events `from..from + n`: at `rate` a second whatever the answers do, or as fast as they come.
pub(super) fn run(port: u16, from: u64, n: u64, connections: usize, rate: Option<f64>) -> anyhow::Result<Run> {
    let requests = requests(from, n)?;
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let all = std::thread::scope(|scope| {
        let posting: Vec<_> =
            (0..connections).map(|_| scope.spawn(|| post(port, &requests, &next, begun, rate))).collect();
        posting.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
    });
    let all: Vec<anyhow::Result<Latencies>> = all;
    let took = begun.elapsed();
    let mut waits = Latencies::new()?;
    for one in all {
        waits.merge(&one?)?;
    }
    ensure!(waits.len() == n, "{} of {n} requests were answered", waits.len());
    Ok(Run { took, waits })
}

/// One connection: takes the next request, waits for its moment, sends it, reads the answer.
fn post(
    port: u16,
    requests: &[Box<[u8]>],
    next: &AtomicUsize,
    begun: Instant,
    rate: Option<f64>,
) -> anyhow::Result<Latencies> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("connect to the receiver")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut waits = Latencies::new()?;
    loop {
        let i = next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = requests.get(i) else { return Ok(waits) };
        let intended = match rate {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            Some(rate) => {
                let intended = begun + Duration::from_secs_f64(i as f64 / rate);
                std::thread::sleep(intended.saturating_duration_since(Instant::now()));
                intended
            }
            None => Instant::now(),
        };
        stream.write_all(request)?;
        answer(&mut stream)?;
        waits.record(intended.elapsed());
    }
}

/// Reads one answer to its end; it must be 200.
fn answer(stream: &mut TcpStream) -> anyhow::Result<()> {
    let (mut buffer, mut filled) = ([0_u8; 2_048], 0);
    loop {
        let n = stream.read(&mut buffer[filled..]).context("read an answer")?;
        ensure!(n > 0, "the receiver closed a connection");
        filled += n;
        let text = std::str::from_utf8(&buffer[..filled]).context("an answer that is no text")?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        ensure!(head.starts_with("HTTP/1.1 200"), "an event was not accepted: {text}");
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.context("an answer without length")?.1.trim().parse()?;
        if body.len() >= length {
            return Ok(());
        }
    }
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
