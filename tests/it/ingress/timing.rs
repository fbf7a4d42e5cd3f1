//! Refusals take the same time, whatever is wrong: nobody learns from a clock how far a forgery came.
//!
//! Medians of many requests that take turns, so that what else the machine does falls on all kinds alike. Each comparison is
//! first made with something that is known to differ: a check that could not see that would prove nothing.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use tidemill::clock::Timestamp;
use tidemill::config::ingress::IngressConfig;
use tidemill::ingress::{Incoming, Sources};

use super::rig::{Rig, SECRET, event, mac, post};

/// Of each kind.
const ROUNDS: usize = 2_000;
/// The slowest kind's median may be so much above the fastest's.
const SPREAD: f64 = 1.25;

/// What can be wrong with a signature, and the headers that show it: of Stripe, at `seconds`, over `body`.
fn kinds(seconds: i64, body: &[u8]) -> Vec<(&'static str, Vec<String>)> {
    let sign = |seconds: i64| mac(&[seconds.to_string().as_bytes(), b".", body].concat());
    let good = sign(seconds);
    let flipped = format!("{}{}", if good.starts_with('0') { '1' } else { '0' }, &good[1..]);
    let last = format!("{}{}", &good[..63], if good.ends_with('0') { '1' } else { '0' });
    let old = seconds - 3_600;
    let one = |signature: &str| vec![format!("t={seconds},v1={signature}")];
    vec![
        ("wrong in its first digit", one(&flipped)),
        ("wrong in its last digit", one(&last)),
        ("cut short", one(&good[..63])),
        ("empty", one("")),
        ("missing", Vec::new()),
        ("there twice", vec![format!("t={seconds},v1={good}"); 2]),
        ("of version 0 alone", vec![format!("t={seconds},v0={good}")]),
        ("without a time", vec![format!("v1={good}")]),
        ("right, an hour old", vec![format!("t={old},v1={}", sign(old))]),
    ]
}

/// The medians of things that take turns.
fn medians(times: Vec<Vec<Duration>>) -> Vec<f64> {
    let median = |mut all: Vec<Duration>| {
        all.sort_unstable();
        all[all.len() / 2].as_secs_f64() * 1e6
    };
    times.into_iter().map(median).collect()
}

fn spread(medians: &[f64]) -> f64 {
    medians.iter().copied().fold(0.0, f64::max) / medians.iter().copied().fold(f64::MAX, f64::min)
}

fn told(what: &str, names: &[&str], medians: &[f64]) -> String {
    let each = names.iter().zip(medians).map(|(name, median)| format!("  {median:8.1} µs  {name}"));
    let each = each.collect::<Vec<_>>().join("\n");
    format!("{what}, medians of {ROUNDS}, the slowest {:.2} times the fastest:\n{each}", spread(medians))
}

#[tokio::test]
async fn the_check_takes_as_long_for_every_bad_signature() {
    let config = IngressConfig::default();
    let env = |name: &str| (name == "STRIPE_WEBHOOK_SECRET").then(|| SECRET.to_owned());
    let sources = Sources::resolve(&config, &env).unwrap();
    let source = sources.get("stripe").unwrap();
    let now = Timestamp::from_ms(1_780_000_000_000);
    let body = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut cases: Vec<(&str, HeaderMap, Bytes)> = Vec::new();
    for (name, values) in kinds(now.as_ms() / 1_000, &body) {
        let header = HeaderName::from_static("stripe-signature");
        let mut all = HeaderMap::new();
        for value in &values {
            all.append(header.clone(), HeaderValue::from_str(value).unwrap());
        }
        cases.push((name, all, body.clone()));
    }
    let other = (cases[0].0, cases[0].1.clone(), body.slice(..body.len() / 2));
    cases.push(other);
    let uri = Uri::from_static("/webhooks/stripe");
    let mut times = vec![Vec::with_capacity(ROUNDS); cases.len()];
    for _ in 0..ROUNDS {
        for ((_, headers, body), times) in cases.iter().zip(&mut times) {
            let begun = Instant::now();
            let refused = source.verify(Incoming { headers, uri: &uri, body }, now).await;
            times.push(begun.elapsed());
            assert!(refused.is_err());
        }
    }
    let mut medians = medians(times);
    let half = medians.pop().unwrap();
    assert!(spread(&[half, medians[0]]) > SPREAD, "half of the work can't be told from all: {half} and {}", medians[0]);
    let names: Vec<&str> = cases.iter().map(|(name, ..)| *name).take(medians.len()).collect();
    let told = told("the check alone, 64 KiB", &names, &medians);
    println!("{told}");
    assert!(spread(&medians) <= SPREAD, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_401_takes_as_long_for_every_bad_signature() {
    let rig = Rig::start().await;
    let body = event("evt_1");
    let kinds = kinds(rig.clock.now().as_ms() / 1_000, &body);
    let request = |headers: &[String]| {
        let lines: String = headers.iter().map(|value| format!("stripe-signature: {value}\r\n")).collect();
        post("/webhooks/stripe", &lines, &body)
    };
    let requests: Vec<Vec<u8>> = kinds.iter().map(|(_, headers)| request(headers)).collect();
    let mut peer = rig.served.connect().await;
    let mut times = vec![Vec::with_capacity(ROUNDS); requests.len()];
    let mut shapes = Vec::new();
    for _ in 0..ROUNDS {
        for (request, times) in requests.iter().zip(&mut times) {
            let begun = Instant::now();
            peer.send(request).await;
            let reply = peer.reply().await;
            times.push(begun.elapsed());
            let head: Vec<&str> = reply.head.lines().filter(|line| !line.starts_with("date:")).collect();
            shapes.push((head.join("\n"), reply.body));
            shapes.dedup();
        }
    }
    assert_eq!(shapes.len(), 1, "{shapes:?}");
    assert!(shapes[0].0.starts_with("HTTP/1.1 401 "), "{shapes:?}");
    let medians = medians(times);
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    let told = told("from the request's first byte to the reply's last, over loopback", &names, &medians);
    println!("{told}");
    assert!(spread(&medians) <= SPREAD, "{told}");
}
