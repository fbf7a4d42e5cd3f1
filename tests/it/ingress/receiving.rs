//! From the socket to the durable job, and what a sender is told when that is not possible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use base64::Engine as _;
use tidemill::ingress::WebhookReceived;

use super::rig::{Rig, event, mac, post, until};

fn received(job: &tidemill::job::JobRecord) -> WebhookReceived {
    serde_json::from_str(job.payload.get()).unwrap()
}

#[tokio::test]
async fn a_signed_event_becomes_one_job_with_its_exact_bytes_and_its_origin() {
    let rig = Rig::start().await;
    let body = b"{\"id\": \"evt_1\",\r\n  \"type\":\"invoice.paid\", \"amount\": 1.10, \"name\": \"\xc3\xa9\"}\n";
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut request = rig.signed("stripe", body);
    let more = format!("user-agent: Stripe/1.0\r\ncookie: a=b\r\ntraceparent: {trace}\r\n");
    let at = request.windows(2).position(|w| w == b"\r\n").unwrap() + 2;
    request.splice(at..at, more.bytes());
    let reply = rig.send(&request).await;
    assert_eq!((reply.status, reply.json()), (200, serde_json::json!({"status": "accepted"})));

    let jobs = rig.jobs().await;
    let [job] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((&*job.kind, job.queue.as_str()), ("webhook.received", "high_priority"));
    assert_eq!(job.unique_key.as_deref(), Some("webhook:stripe:evt_1"));
    assert_eq!(&*job.enqueued_by, "webhook:stripe");
    assert_eq!((job.correlation_id.as_deref(), job.traceparent.as_deref()), (Some("evt_1"), Some(trace)));
    let event = received(job);
    assert_eq!((event.source.as_str(), event.event_id.as_str()), ("stripe", "evt_1"));
    assert_eq!((event.event_type.as_str(), event.received_at), ("invoice.paid", rig.clock.now()));
    assert_eq!(event.body.as_bytes(), body);
    let kept: Vec<&str> = event.headers.keys().map(String::as_str).collect();
    assert_eq!(kept, ["stripe-signature", "traceparent", "user-agent"]);
}

#[tokio::test]
async fn bytes_that_are_no_text_arrive_exactly_and_a_source_without_ids_goes_by_the_body() {
    let rig = Rig::start().await;
    let body: Vec<u8> = (0..=255).collect();
    let request = post("/webhooks/plain", &format!("x-mac: {}\r\n", mac(&body)), &body);
    assert_eq!(rig.send(&request).await.json()["status"], "accepted");
    assert_eq!(rig.send(&request).await.json()["status"], "duplicate");
    let jobs = rig.jobs().await;
    assert_eq!(jobs.len(), 1);
    let event = received(&jobs[0]);
    assert_eq!(event.body.as_bytes(), body);
    assert!(event.event_id.starts_with("sha256:") && event.event_type == "unknown");
}

#[tokio::test]
async fn the_largest_body_is_taken_whatever_it_is_made_of_and_one_byte_more_is_413() {
    let rig = Rig::start().await;
    let largest = 1024 * 1024;
    for byte in [b'a', b'"', 0, 0xff] {
        let reply = rig.send(&rig.signed("stripe", &vec![byte; largest])).await;
        assert_eq!(reply.status, 200, "{byte}");
    }
    assert_eq!(rig.jobs().await.len(), 4);
    let reply = rig.send(&rig.signed("stripe", &vec![b'a'; largest + 1])).await;
    assert_eq!((reply.status, reply.json()["allowed"].as_str()), (413, Some("at most 1048576 bytes")));
}

#[tokio::test]
async fn a_source_has_its_own_cap_and_its_own_path() {
    let rig = Rig::start().await;
    assert_eq!(rig.send(&rig.signed("small", &event("evt_1"))).await.status, 200);
    let reply = rig.send(&rig.signed("small", &[b'x'; 101])).await;
    assert_eq!((reply.status, reply.json()["allowed"].as_str()), (413, Some("at most 100 bytes")));
    let moved = String::from_utf8(rig.signed("small", &event("evt_1"))).unwrap();
    let moved = moved.replace("/webhooks/small", "/api/v1/webhooks/small");
    assert_eq!(rig.send(moved.as_bytes()).await.json()["status"], "duplicate", "the same source by its own path");
}

#[tokio::test]
async fn a_source_answers_the_same_whichever_way_its_address_is_written() {
    let rig = Rig::start().await;
    // By the short way, by its own path, and two that only the router understands.
    let ways = ["/webhooks/small", "/api/v1/webhooks/small", "/webhooks/smal%6c", "/webhooks/small?x=1"];
    for (nth, way) in ways.into_iter().enumerate() {
        let body = event(&format!("evt_{nth}"));
        let signed = |way: &str, body: &[u8]| {
            let request = String::from_utf8(rig.signed("small", body)).unwrap();
            request.replacen("/webhooks/small", way, 1).into_bytes()
        };
        let good = signed(way, &body);
        assert_eq!(rig.send(&good).await.json(), serde_json::json!({"status": "accepted"}), "{way}");
        assert_eq!(rig.send(&good).await.json(), serde_json::json!({"status": "duplicate"}), "{way}");
        let tampered = String::from_utf8(good.clone()).unwrap().replace("1.10", "9.10").into_bytes();
        assert_eq!(rig.send(&tampered).await.status, 401, "{way}");
        let looked_at = String::from_utf8(good).unwrap().replacen("POST", "PUT", 1).into_bytes();
        assert_eq!(rig.send(&looked_at).await.status, 405, "{way}");
    }
    let jobs = rig.jobs().await;
    assert_eq!(jobs.len(), ways.len());
    assert!(jobs.iter().all(|job| &*job.enqueued_by == "webhook:small"), "{jobs:?}");
}

#[tokio::test]
async fn a_replayed_event_is_not_enqueued_twice_within_the_senders_window() {
    let rig = Rig::start().await;
    let first = rig.signed("stripe", &event("evt_1"));
    assert_eq!(rig.send(&first).await.json()["status"], "accepted");
    let replay = rig.send(&first).await;
    assert_eq!((replay.status, replay.json()["status"].as_str()), (200, Some("duplicate")));
    rig.clock.advance(Duration::from_secs(29 * 24 * 3600));
    assert_eq!(rig.send(&first).await.status, 401, "the old signature is stale by now");
    let again = rig.signed("stripe", &event("evt_1"));
    assert_eq!(rig.send(&again).await.json()["status"], "duplicate", "signed anew, as a sender that retries does");
    assert_eq!(rig.jobs().await.len(), 1);
}

#[tokio::test]
async fn the_same_id_with_another_body_keeps_the_first() {
    let rig = Rig::start().await;
    assert_eq!(rig.send(&rig.signed("stripe", &event("evt_1"))).await.json()["status"], "accepted");
    let other = br#"{"id": "evt_1", "type": "invoice.voided"}"#;
    assert_eq!(rig.send(&rig.signed("stripe", other)).await.json()["status"], "duplicate");
    let jobs = rig.jobs().await;
    assert_eq!((jobs.len(), received(&jobs[0]).event_type.as_str()), (1, "invoice.paid"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_at_the_same_instant_are_one_job() {
    let rig = Arc::new(Rig::start().await);
    let request = Arc::new(rig.signed("stripe", &event("evt_1")));
    let mut copies = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (rig, request) = (Arc::clone(&rig), Arc::clone(&request));
        copies.spawn(async move { rig.send(&request).await });
    }
    let replies = copies.join_all().await;
    assert!(replies.iter().all(|r| r.status == 200), "{replies:?}");
    assert_eq!(replies.iter().filter(|r| r.json()["status"] == "accepted").count(), 1);
    assert_eq!(rig.jobs().await.len(), 1);
}

#[tokio::test]
async fn a_reply_lost_after_the_commit_leads_to_no_second_job() {
    let (dying, committed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (die, commit) = (Arc::clone(&dying), Arc::clone(&committed));
    // Stands where the process would die: the job is durable, the reply not yet written.
    let death = move |request: Request, next: Next| {
        let (die, commit) = (Arc::clone(&die), Arc::clone(&commit));
        async move {
            let reply = next.run(request).await;
            if die.load(Ordering::SeqCst) {
                commit.store(true, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            reply
        }
    };
    let rig = Rig::with(|options| options, |router| router.layer(from_fn(death))).await;
    let request = rig.signed("stripe", &event("evt_1"));
    let mut cut = rig.served.connect().await;
    cut.send(&request).await;
    until("the commit", || async { committed.load(Ordering::SeqCst) }).await;
    drop(cut);
    assert_eq!(rig.jobs().await.len(), 1);
    dying.store(false, Ordering::SeqCst);
    let retry = rig.send(&request).await;
    assert_eq!((retry.status, retry.json()["status"].as_str()), (200, Some("duplicate")));
    assert_eq!(rig.jobs().await.len(), 1);
}

#[tokio::test]
async fn every_bad_signature_gets_the_same_401_and_leaves_nothing() {
    let rig = Rig::start().await;
    let body = event("evt_1");
    let good = String::from_utf8(rig.signed("stripe", &body)).unwrap();
    let header = good.lines().find(|l| l.starts_with("stripe-signature")).unwrap().to_owned();
    let value = header.split_once(": ").unwrap().1;
    let stale = value.replacen("t=178", "t=177", 1);
    let headers = [
        String::new(),
        format!("{header}\r\n{header}\r\n"),
        "stripe-signature: \r\n".to_owned(),
        format!("stripe-signature: {}\r\n", value.replacen("v1", "v0", 1)),
        format!("stripe-signature: {}\r\n", &value[..value.len() - 1]),
        format!("stripe-signature: {stale}\r\n"),
        format!("stripe-signature: {},{}\r\n", value, vec!["v1=0"; 100].join(",")),
    ];
    let mut replies = Vec::new();
    for headers in &headers {
        let reply = rig.send(&post("/webhooks/stripe", headers, &body)).await;
        assert_eq!(reply.status, 401, "{headers}");
        let lines = reply.head.lines().filter(|l| !l.starts_with("date:"));
        replies.push((lines.map(str::to_owned).collect::<Vec<_>>(), reply.body.clone()));
    }
    replies.dedup();
    assert_eq!(replies.len(), 1, "{replies:#?}");
    assert!(String::from_utf8_lossy(&replies[0].1).contains("urn:tidemill:problem:unauthorized"));
    assert!(rig.jobs().await.is_empty());
    assert_eq!(rig.send(good.as_bytes()).await.status, 200, "the good one was good");
}

#[tokio::test]
async fn ten_thousand_signatures_never_reach_the_check() {
    let rig = Rig::start().await;
    let headers = format!("stripe-signature: t=1,{}\r\n", vec!["v1=0"; 10_000].join(","));
    let reply = rig.served.exchange(&post("/webhooks/stripe", &headers, b"{}")).await;
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
}

#[tokio::test]
async fn unknown_sources_methods_and_encodings_are_refused_as_problems() {
    let rig = Rig::start().await;
    let signed = String::from_utf8(rig.signed("stripe", &event("evt_1"))).unwrap();
    let encoded = signed.replacen("host: t", "host: t\r\ncontent-encoding: gzip", 1);
    let twice = signed.replacen("host: t", "host: t\r\ncontent-encoding: identity\r\ncontent-encoding: br", 1);
    let cases = [
        (signed.replacen("stripe", "nobody", 1), 404),
        (signed.replacen("stripe", "STRIPE", 1), 404),
        (signed.replacen("stripe", "stripe/x", 1), 404),
        (signed.replacen("POST", "PUT", 1), 405),
        ("GET /webhooks/stripe HTTP/1.1\r\nhost: t\r\n\r\n".to_owned(), 405),
        (encoded, 415),
        (twice, 415),
    ];
    for (request, status) in cases {
        let reply = rig.send(request.as_bytes()).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, Some("application/problem+json")),
            "{request}"
        );
    }
    assert!(rig.jobs().await.is_empty());
    let plain = signed.replacen("host: t", "host: t\r\ncontent-encoding: Identity", 1);
    assert_eq!(rig.send(plain.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn a_malformed_traceparent_is_left_out() {
    let rig = Rig::start().await;
    let traces = [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "nonsense",
    ];
    for (n, trace) in traces.iter().enumerate() {
        let signed = String::from_utf8(rig.signed("stripe", &event(&format!("evt_{n}")))).unwrap();
        let request = signed.replacen("host: t", &format!("host: t\r\ntraceparent: {trace}"), 1);
        assert_eq!(rig.send(request.as_bytes()).await.status, 200);
    }
    let jobs = rig.jobs().await;
    assert!(jobs.len() == traces.len() && jobs.iter().all(|j| j.traceparent.is_none()), "{jobs:?}");
}

#[tokio::test]
async fn a_store_that_hangs_is_503_in_bounded_time_and_the_retry_is_one_job() {
    let rig = Rig::start().await;
    let request = rig.signed("stripe", &event("evt_1"));
    let path = rig.dir.path().join("queue.db");
    // Another process in the middle of a long write.
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let begun = Instant::now();
    let reply = rig.send(&request).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    assert!(!String::from_utf8_lossy(&reply.body).contains("sqlite"), "internal text stays inside");
    other.execute_batch("rollback").unwrap();

    // The first try may have been committed after its 503: the retry tells 2xx either way, and there is one job.
    assert_eq!(rig.send(&request).await.status, 200);
    assert_eq!(rig.jobs().await.len(), 1);
}

#[tokio::test]
async fn a_full_store_is_503_until_there_is_room_and_nothing_acknowledged_is_lost() {
    let rig =
        Rig::with(|options| tidemill::store::sqlite::SqliteOptions { max_pages: Some(400), ..options }, |r| r).await;
    let filler = |n: u32| {
        let noise = base64::engine::general_purpose::STANDARD.encode(vec![7; 60_000]);
        format!(r#"{{"id": "evt_{n}", "type": "noise", "noise": "{noise}"}}"#).into_bytes()
    };
    let (mut accepted, mut refused) = (0, None);
    for n in 0..200 {
        let reply = rig.send(&rig.signed("stripe", &filler(n))).await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
        accepted += 1;
    }
    let refused = refused.expect("it was never full");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("30")));
    assert!(accepted > 0);
    assert_eq!(rig.jobs().await.len(), accepted);
}

#[tokio::test]
async fn health_answers_without_the_store() {
    let rig = Rig::start().await;
    let other = rusqlite::Connection::open(rig.dir.path().join("queue.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let reply = rig.send(b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!((reply.status, reply.json()), (200, serde_json::json!({"status": "ok"})));
}

#[tokio::test]
async fn a_source_above_its_rate_is_told_to_wait_before_its_body_is_read() {
    let rig = Rig::start().await;
    let begun = Instant::now();
    let mut accepted = 0;
    let mut limited = None;
    for n in 0..20 {
        let reply = rig.send(&rig.signed("slow", &event(&format!("evt_{n}")))).await;
        match reply.status {
            200 => accepted += 1,
            429 => limited = Some(reply),
            other => panic!("{other}: {reply:?}"),
        }
    }
    let may = 3 + usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!((3..=may).contains(&accepted), "{accepted} of 20, {may} at most");
    let limited = limited.expect("twenty are more than three and one a second");
    assert_eq!(limited.header("retry-after"), Some("1"));
    assert_eq!(limited.header("ratelimit-policy"), Some("\"source\";q=3;w=3"));
    assert_eq!(limited.header("ratelimit"), Some("\"source\";r=0;t=1"));
    assert_eq!(rig.jobs().await.len(), accepted);
    assert_eq!(rig.send(&rig.signed("stripe", &event("evt_0"))).await.status, 200, "others are not held up");

    // Only heads are sent: whoever waits for a body can't answer.
    let mut peers = Vec::new();
    for _ in 0..8 {
        let mut peer = rig.served.connect().await;
        peer.send(b"POST /webhooks/slow HTTP/1.1\r\nhost: t\r\ncontent-length: 1000\r\n\r\n").await;
        peers.push(peer);
    }
    let replies = peers.iter_mut().map(|peer| Box::pin(peer.reply()));
    let (first, ..) = futures_util::future::select_all(replies).await;
    assert_eq!(first.status, 429, "{first:?}");
}

#[tokio::test]
async fn what_comes_again_is_counted_by_event_and_by_whether_its_body_is_the_same() {
    let rig = Rig::start().await;
    let other = br#"{"id": "evt_1", "amount": 7}"#;
    for body in [&event("evt_1")[..], &event("evt_1"), other, &event("evt_2"), &event("evt_1")] {
        assert_eq!(rig.send(&rig.signed("stripe", body)).await.status, 200);
    }
    let (repeats, untold) = rig.repeats.take();
    let [repeat] = &repeats[..] else { panic!("{repeats:?}") };
    assert_eq!((repeat.source.as_str(), repeat.event_id.as_str()), ("stripe", "evt_1"));
    assert_eq!((repeat.same, repeat.differing, untold), (2, 1, 0));
    assert_eq!(received(rig.jobs().await.last().unwrap()).body.as_bytes(), event("evt_1"), "the first is kept");
}

#[tokio::test]
async fn the_public_health_is_degraded_while_a_source_that_used_to_speak_is_silent_and_names_nobody() {
    let rig = Rig::start().await;
    let health = b"GET /webhooks/health HTTP/1.1\r\nhost: t\r\n\r\n";
    let status = async || {
        let reply = rig.send(health).await;
        assert_eq!(reply.status, 200);
        reply.json()
    };
    let hour = Duration::from_secs(3_600);
    for n in 0..6 {
        rig.send(&rig.signed("stripe", &event(&format!("evt_{n}")))).await;
        rig.clock.advance(hour);
    }
    assert_eq!(status().await, serde_json::json!({"status": "ok"}));
    rig.clock.advance(hour * 2);
    let forged = post("/webhooks/stripe", "stripe-signature: t=1,v1=00\r\n", &event("evt_7"));
    assert_eq!(rig.send(&forged).await.status, 401);
    assert_eq!(status().await, serde_json::json!({"status": "degraded"}), "a forgery is no sign of life");
    let report = rig.senders.reports(rig.clock.now()).into_iter().find(|r| r.source == "stripe").unwrap();
    assert_eq!((report.outcomes["accepted"], report.outcomes.len()), (6, 2), "{report:?}");
    assert!(report.p99_ms.is_some_and(|ms| ms > 0.0), "{report:?}");
    rig.send(&rig.signed("stripe", &event("evt_8"))).await;
    assert_eq!(status().await, serde_json::json!({"status": "ok"}));
}
