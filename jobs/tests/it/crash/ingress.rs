//! The promises of webhooks in, on the real binary: through kills each event is processed once, a store that hangs makes
//! refusals and nothing else, and a flood of repeats is one job.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidemill::clock::{Clock, Entropy};
use tidemill::fanout::Mend;
use tidemill::job::JobKind as _;
use tidemill_jobs::fakes::stripe::SentEvent;
use tidemill_testkit::RedisServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::rig::{Rig, WEBHOOK_SECRET};
use super::{HASTY, say, seed};

const CONNECTIONS: usize = 32;
const POSTS: usize = 5_000;
const KILLS: usize = 8;
const REPEATS: usize = 50_000;
const OUTAGE: Duration = Duration::from_secs(20);
/// What a sender is promised when the store does not answer.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// An event of a type that nobody acts on, as large as Stripe's small ones are.
fn event(n: usize) -> SentEvent {
    let id = format!("evt_{n:05}");
    let padding = "x".repeat(560);
    let body = format!(
        r#"{{"id":"{id}","object":"event","created":1775908800,"type":"charge.refunded","data":{{"object":{{"id":"ch_{n}","note":"{padding}"}}}}}}"#
    );
    SentEvent { id, event_type: "charge.refunded".to_owned(), object_id: format!("ch_{n}"), body }
}

fn request(event: &SentEvent) -> Vec<u8> {
    let signature = event.signature(WEBHOOK_SECRET, Clock::system().now());
    let head = format!(
        "POST /webhooks/stripe HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\nstripe-signature: {signature}\r\n\r\n",
        event.body.len()
    );
    [head.as_bytes(), event.body.as_bytes()].concat()
}

/// One connection that is opened again when it breaks.
struct Line {
    address: (&'static str, u16),
    stream: Option<TcpStream>,
}

impl Line {
    fn to(port: u16) -> Self {
        Self { address: ("127.0.0.1", port), stream: None }
    }

    /// The status of the reply; none: the connection broke, and nobody knows what became of the request.
    async fn post(&mut self, request: &[u8]) -> Option<u16> {
        let status = self.exchange(request).await.ok();
        if status.is_none() {
            self.stream = None;
        }
        status
    }

    async fn exchange(&mut self, request: &[u8]) -> std::io::Result<u16> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(TcpStream::connect(self.address).await?),
        };
        stream.write_all(request).await?;
        let mut reply = Vec::with_capacity(512);
        loop {
            if stream.read_buf(&mut reply).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let text = String::from_utf8_lossy(&reply);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
                if lower.contains("connection: close") {
                    self.stream = None;
                }
                return status.ok_or_else(|| std::io::ErrorKind::InvalidData.into());
            }
        }
    }
}

/// Rows of `webhook_events`, and how often each came again.
fn recorded(rig: &Rig) -> BTreeMap<String, (String, u64)> {
    let data = rusqlite::Connection::open(rig.data().join("tidemill.db")).unwrap();
    let mut sql = data
        .prepare(
            "select e.event_id, e.outcome, coalesce(r.same, 0) from webhook_events e
             left join webhook_repeats r on r.source = e.source and r.event_id = e.event_id where e.source = 'stripe'",
        )
        .unwrap();
    let rows = sql.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// Exactly these events were recorded and processed, each by one job of each kind that has run to its end.
fn processed_once(rig: &Rig, sent: usize) -> BTreeMap<String, (String, u64)> {
    let rows = recorded(rig);
    let ids: BTreeSet<String> = (0..sent).map(|n| event(n).id).collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), ids, "one row for each, and no others");
    assert!(rows.values().all(|(outcome, _)| outcome == "ignored"), "each has come to its end");
    let mut jobs: BTreeMap<(String, String), usize> = BTreeMap::new();
    let dump = rig.dump();
    // Schedules fire when their time has come, `webhook.mend` among them.
    let of_webhooks = |kind: &str| kind == "stripe.event" || (kind.starts_with("webhook.") && kind != Mend::KIND);
    for job in dump.jobs.iter().filter(|job| of_webhooks(&job.kind)) {
        assert_eq!(job.state, "completed", "{job:?}");
        *jobs.entry((job.kind.clone(), job.about.clone())).or_insert(0) += 1;
    }
    for kind in ["webhook.received", "stripe.event"] {
        for id in &ids {
            assert_eq!(jobs.remove(&(kind.to_owned(), id.clone())), Some(1), "{kind} of {id}");
        }
    }
    assert!(jobs.is_empty(), "invented: {jobs:?}");
    // One more than there are jobs: a job was completed twice.
    assert_eq!(dump.completed["high_priority"], i64::try_from(sent * 2).unwrap());
    rows
}

/// Waits until so many posts were accepted.
async fn at_least(accepted: &AtomicUsize, so_many: usize) {
    let begun = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(1));
    while accepted.load(Ordering::SeqCst) < so_many {
        look.tick().await;
        assert!(begun.elapsed() < PATIENCE, "unknown: it takes no more posts");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_posts_through_eight_kills_are_each_processed_once() {
    let mut rig = Rig::new(HASTY, Entropy::seeded(seed())).await;
    rig.start();
    rig.ready().await;
    let (next, accepted, posts) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (begun, port) = (Instant::now(), rig.public);
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, accepted, posts) = (Arc::clone(&next), Arc::clone(&accepted), Arc::clone(&posts));
        senders.spawn(async move {
            let mut line = Line::to(port);
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                if n >= POSTS {
                    return;
                }
                let event = event(n);
                loop {
                    posts.fetch_add(1, Ordering::SeqCst);
                    if line.post(&request(&event)).await == Some(200) {
                        accepted.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
    }
    for kill in 1..=KILLS {
        at_least(&accepted, kill * POSTS / (KILLS + 1)).await;
        rig.kill();
        rig.start();
    }
    rig.ready().await;
    tokio::time::timeout(PATIENCE, async { while senders.join_next().await.is_some() {} }).await.expect("all accepted");
    rig.drained().await;
    rig.stop().await;
    processed_once(&rig, POSTS);
    let posts = posts.load(Ordering::SeqCst);
    let took = begun.elapsed();
    say(&format!("kills in {POSTS} posts: {KILLS} kills, {posts} posts, all processed once after {took:.1?}"));
    assert!(posts > POSTS, "no kill met a request");
}

/// What one try came to.
#[derive(Clone, Copy, Debug)]
struct Try {
    begun: Instant,
    ended: Instant,
    status: Option<u16>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_hangs_for_twenty_seconds_there_are_refusals_only_and_afterwards_all_arrive() {
    let mut rig = Rig::on_redis(RedisServer::start(), "everysec", "", Entropy::seeded(seed())).await;
    rig.start();
    rig.ready().await;
    let (next, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (stop, port) = (tokio_util::sync::CancellationToken::new(), rig.public);
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, accepted, stop) = (Arc::clone(&next), Arc::clone(&accepted), stop.clone());
        senders.spawn(async move {
            let (mut line, mut tries) = (Line::to(port), Vec::new());
            while !stop.is_cancelled() {
                let event = event(next.fetch_add(1, Ordering::SeqCst));
                loop {
                    let begun = Instant::now();
                    let status = line.post(&request(&event)).await;
                    tries.push(Try { begun, ended: Instant::now(), status });
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    if status == Some(200) {
                        accepted.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                }
            }
            tries
        });
    }
    at_least(&accepted, CONNECTIONS * 10).await;
    rig.redis.as_ref().unwrap().stop();
    let stopped = Instant::now();
    tokio::time::sleep(OUTAGE).await;
    let resumed = Instant::now();
    rig.redis.as_ref().unwrap().cont();
    at_least(&accepted, accepted.load(Ordering::SeqCst) + CONNECTIONS * 10).await;
    stop.cancel();
    let mut tries = Vec::new();
    while let Some(of_one) = tokio::time::timeout(PATIENCE, senders.join_next()).await.expect("all accepted") {
        tries.extend(of_one.unwrap());
    }
    rig.drained().await;
    rig.stop().await;
    processed_once(&rig, next.load(Ordering::SeqCst));

    let meanwhile: Vec<&Try> = tries.iter().filter(|t| t.begun > stopped && t.ended < resumed).collect();
    assert!(meanwhile.len() > CONNECTIONS * 5, "{} tries in the outage", meanwhile.len());
    for one in &meanwhile {
        assert_eq!(one.status, Some(503), "{one:?}");
    }
    let slowest = tries.iter().map(|t| t.ended - t.begun).max().unwrap();
    assert!(slowest < REFUSED_WITHIN, "the slowest answer took {slowest:?}");
    assert!(tries.iter().all(|t| matches!(t.status, Some(200 | 503))), "no connection broke");
    let (refused, sent) = (meanwhile.len(), next.load(Ordering::SeqCst));
    say(&format!(
        "store hangs: {refused} tries refused, the slowest answer after {slowest:.2?}, all {sent} events arrived"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_repeats_are_one_job() {
    let mut rig = Rig::new("", Entropy::seeded(seed())).await;
    rig.start();
    rig.ready().await;
    let (next, begun, port) = (Arc::new(AtomicUsize::new(0)), Instant::now(), rig.public);
    let bytes: Arc<[u8]> = request(&event(0)).into();
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, bytes) = (Arc::clone(&next), Arc::clone(&bytes));
        senders.spawn(async move {
            let mut line = Line::to(port);
            while next.fetch_add(1, Ordering::SeqCst) < REPEATS {
                assert_eq!(line.post(&bytes).await, Some(200));
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.unwrap();
    }
    let took = begun.elapsed();
    rig.drained().await;
    rig.stop().await;
    let rows = processed_once(&rig, 1);
    assert_eq!(rows[&event(0).id].1, REPEATS as u64 - 1, "and each is counted");
    say(&format!("{REPEATS} posts of one event: one job, after {took:.1?}"));
}
