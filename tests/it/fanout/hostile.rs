//! Bad receivers: none holds an attempt beyond its deadline, each leaves exactly one line in the log.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tidemill::config::fanout::FanoutConfig;
use tidemill::fanout::history::{DeliveryAttempt, DeliveryState};

use super::receiver::{Receiver, Reply, status};
use super::stage::{Stage, config, turn};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
/// For what must not end by the deadline.
const LONG_MS: u64 = 10_000;
/// For what must.
const SHORT_MS: u64 = 1_000;
/// The database and a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

async fn attempt(timeout_ms: u64, script: Reply) -> (DeliveryState, DeliveryAttempt) {
    let config = FanoutConfig { timeout_ms, ..config() };
    let (stage, receiver) = (Stage::with(config).await, Receiver::start(vec![script.clone()]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    let started = Instant::now();
    let outcome = stage.deliver(&job, turn(1)).await;
    let limit = Duration::from_millis(timeout_ms) + PATIENCE;
    assert!(started.elapsed() < limit, "{script:?} held the attempt for {:?}", started.elapsed());
    let mut log = stage.attempts(&job).await;
    assert_eq!((log.len(), receiver.seen().len()), (1, 1), "{script:?}");
    let state = stage.delivery(&job).await.state;
    assert_eq!(outcome.is_ok(), state == DeliveryState::Succeeded, "{script:?}: {outcome:?}");
    (state, log.remove(0))
}

#[tokio::test]
async fn a_receiver_that_never_gets_to_its_status_is_a_timeout() {
    let continues = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    let never = [
        Reply::Silence,
        Reply::Drip(b"HTTP/1.1 200 OK\r\nx-slow: ".to_vec(), b'a'),
        Reply::Drip(Vec::new(), b'H'),
        Reply::Drip(continues.clone(), b' '),
        Reply::Flood(Vec::new(), continues),
    ];
    let attempts = never.iter().map(|script| attempt(SHORT_MS, script.clone()));
    for (script, (state, attempt)) in never.iter().zip(join_all(attempts).await) {
        assert_eq!(state, DeliveryState::Failed);
        let class = attempt.error_class.as_deref();
        assert!(matches!(class, Some("timeout" | "broken")) && attempt.status.is_none(), "{script:?}: {attempt:?}");
        if matches!(script, Reply::Silence) {
            assert_eq!(class, Some("timeout"));
            assert!((SHORT_MS..5_000).contains(&attempt.duration_ms.unwrap()), "{attempt:?}");
        }
    }
}

#[tokio::test]
async fn a_receiver_that_breaks_off_or_talks_nonsense_is_a_failure() {
    let mut many_headers = b"HTTP/1.1 200 OK\r\n".to_vec();
    for n in 0..5_000 {
        many_headers.extend_from_slice(format!("x-{n}: {n}\r\n").as_bytes());
    }
    many_headers.extend_from_slice(b"\r\n");
    let broken = [
        Reply::Bytes(Vec::new()),
        Reply::Bytes(b"HTTP/1.1 200".to_vec()),
        Reply::Bytes(b"220 smtp.example ESMTP\r\n".to_vec()),
        Reply::Bytes(vec![0xff; 1_000]),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n".to_vec()),
        Reply::Bytes(many_headers),
        Reply::Flood(b"HTTP/1.1 200 OK\r\nx-big: ".to_vec(), vec![b'a'; 64 * 1024]),
    ];
    for script in broken {
        let (state, attempt) = attempt(LONG_MS, script).await;
        assert_eq!((state, attempt.status), (DeliveryState::Failed, None), "{attempt:?}");
        assert!(attempt.error.is_some_and(|e| !e.is_empty() && !e.contains("token")));
    }
}

#[tokio::test]
async fn the_status_decides_and_a_reply_without_end_is_cut() {
    let chunk = [b"400\r\n".as_slice(), &[b'x'; 1_024], b"\r\n"].concat();
    let endless = Reply::Flood(HEAD.to_vec(), chunk);
    let (state, attempted) = attempt(LONG_MS, endless).await;
    assert_eq!((state, attempted.status, attempted.reply.len()), (DeliveryState::Succeeded, Some(200), 1_024));
    assert!(attempted.duration_ms < Some(LONG_MS), "16 KiB are there at once: {attempted:?}");

    let slow = Reply::Drip([HEAD, b"ffffff\r\n"].concat(), b'y');
    let (state, attempted) = attempt(SHORT_MS, slow).await;
    assert_eq!((state, attempted.status), (DeliveryState::Succeeded, Some(200)));
    assert!(attempted.reply.len() < 100 && attempted.reply.starts_with('y'), "{attempted:?}");

    let reset = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec());
    let (state, attempted) = attempt(LONG_MS, reset).await;
    assert_eq!((state, attempted.reply.as_str()), (DeliveryState::Succeeded, "half"));

    let failing = Reply::Drip(b"HTTP/1.1 500 No\r\ncontent-length: 9999\r\n\r\n".to_vec(), b'z');
    let (state, attempted) = attempt(SHORT_MS, failing).await;
    assert_eq!((state, attempted.status), (DeliveryState::Failed, Some(500)));

    let old = Reply::Bytes(b"HTTP/1.0 200 OK\r\n\r\nold".to_vec());
    assert_eq!(attempt(LONG_MS, old).await.1.reply, "old");
}

#[tokio::test]
async fn a_body_with_bad_chunks_or_a_reset_after_the_head_changes_no_verdict() {
    let bad_chunks =
        [b"zz\r\nhello\r\n".as_slice(), b"ffffffffffffffffffff\r\nx", b"5\r\nhelloXX3\r\nabc\r\n", b"-1\r\n"];
    for bad in bad_chunks {
        let (state, attempted) = attempt(LONG_MS, Reply::Bytes([HEAD, bad].concat())).await;
        assert_eq!((state, attempted.status), (DeliveryState::Succeeded, Some(200)), "{attempted:?}");
        assert!(attempted.duration_ms < Some(LONG_MS), "{attempted:?}");
    }
    let failing = b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec();
    assert_eq!(attempt(LONG_MS, Reply::Bytes(failing)).await.0, DeliveryState::Failed);
}

/// Accepts, reads nothing of the request, and then does as it is told.
async fn deaf(reset: bool) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio_util::task::TaskTracker::new().spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            if reset {
                // Closed with the request unread, which the other side sees as a reset.
                stream.readable().await.unwrap();
                drop(stream);
            } else {
                kept.push(stream);
            }
        }
    });
    address
}

#[tokio::test]
async fn a_receiver_that_never_reads_or_resets_is_a_failure_within_the_deadline() {
    for (reset, timeout_ms, class) in [(false, SHORT_MS, "timeout"), (true, LONG_MS, "broken")] {
        let stage = Stage::with(FanoutConfig { timeout_ms, ..config() }).await;
        let address = deaf(reset).await;
        let created = stage.endpoint(&format!("http://{address}/"), &["*"]).await;
        // Larger than what the sockets between them take.
        let mut event = super::stage::event("evt_large", "invoice.paid");
        event.payload = serde_json::json!({ "note": "x".repeat(250_000) });
        stage.fan_out(&event).await.unwrap();
        let found = stage.deliveries(|d| d.endpoint_id == created.endpoint.id).await.remove(0);
        let job = tidemill::fanout::Deliver { message: found.message_id, endpoint: found.endpoint_id };
        let started = Instant::now();
        stage.deliver(&job, turn(1)).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_millis(SHORT_MS) + PATIENCE);
        let attempt = stage.attempts(&job).await.remove(0);
        assert_eq!((attempt.error_class.as_deref(), attempt.status), (Some(class), None), "{attempt:?}");
        assert_eq!(attempt.address.as_deref(), Some(address.to_string().as_str()), "it says where it hung");
    }
}

#[tokio::test]
async fn a_compressed_reply_is_not_decompressed() {
    let mut bomb = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n".to_vec();
    bomb.extend_from_slice(&[0x1f, 0x8b, 0x08, 0x00]);
    let (state, attempt) = attempt(LONG_MS, Reply::Bytes(bomb)).await;
    assert_eq!(state, DeliveryState::Succeeded);
    assert_eq!(attempt.reply, "\u{1f}\u{fffd}\u{8}\u{fffd}");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let stage = Stage::new().await;
    let target = Receiver::start(vec![status(200)]).await;
    for code in [301, 302, 303, 307, 308] {
        let location = format!("location: {}\r\n", target.url()).leak();
        let receiver = Receiver::start(vec![Reply::Status(code, location, String::new())]).await;
        let (_, job) = stage.one_delivery(&receiver.url()).await;
        stage.deliver(&job, turn(1)).await.unwrap_err();
        assert_eq!(stage.attempts(&job).await[0].status, Some(code));
    }
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn a_closed_port_and_a_receiver_without_tls_are_logged_as_what_they_are() {
    let stage = Stage::new().await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let (_, job) = stage.one_delivery(&closed).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    assert_eq!(stage.attempts(&job).await[0].error_class.as_deref(), Some("connect"));

    let plain = plain_text_server().await;
    let (_, job) = stage.one_delivery(&format!("https://{plain}/")).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    let attempt = stage.attempts(&job).await.remove(0);
    assert_eq!(attempt.error_class.as_deref(), Some("tls"), "{attempt:?}");
}

/// Says plain HTTP to whoever connects.
async fn plain_text_server() -> std::net::SocketAddr {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio_util::task::TaskTracker::new().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    address
}

#[tokio::test]
async fn every_post_that_receivers_see_is_in_the_log_whatever_they_answer() {
    let stage = Stage::new().await;
    let (mut posts, mut logged) = (0, 0);
    for _ in 0..40 {
        let script = (0..4).map(|_| random_reply(&stage)).collect();
        let receiver = Receiver::start(script).await;
        let (_, job) = stage.one_delivery(&receiver.url()).await;
        for number in 1..=4 {
            let outcome = stage.deliver(&job, turn(number)).await;
            if stage.entropy.below(4) == 0 {
                // The worker died after the log and before it could settle: the same attempt again.
                let _ = stage.deliver(&job, turn(number)).await;
            }
            if outcome.is_ok() {
                break;
            }
        }
        let (seen, attempts) = (receiver.seen().len(), stage.attempts(&job).await);
        assert_eq!(attempts.len(), seen);
        assert_eq!(stage.delivery(&job).await.attempts as usize, seen);
        posts += seen;
        logged += attempts.len();
    }
    assert!(posts > 70, "{posts}");
    assert_eq!(posts, logged);
}

fn random_reply(stage: &Stage) -> Reply {
    match stage.entropy.below(12) {
        0..=3 => status(500),
        4 | 5 => status(429),
        6 | 7 => Reply::Bytes(Vec::new()),
        8 => Reply::Bytes(b"nonsense".to_vec()),
        9 => Reply::Status(302, "location: /\r\n", String::new()),
        10 => status(410),
        _ => status(202),
    }
}
