//! What senders are told on the wire: handshakes, their own replies, encodings; and what the job then holds.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tidemill::ingress::WebhookReceived;

use super::rig::{Rig, mac, post};
use super::vectors;
use super::wire::Reply;

async fn rig() -> Rig {
    let sources = json!({
        "slack": { "scheme": "slack", "secret_env": "SECRET" },
        "discord": { "scheme": "discord", "secret_env": "DISCORD", "tolerance_seconds": 86_400 },
        "twilio": { "scheme": "twilio", "secret_env": "SECRET", "public_url": "https://t.example/webhooks/twilio" },
        "buffr": { "scheme": "buffr", "secret_env": "SECRET", "path": "/api/v1/webhooks/buffr" },
        "polite": {
            "scheme": "github", "secret_env": "SECRET", "queue": "reports",
            "kinds": { "push": "deploy.check", "*": "chatter.count" },
            "reply": { "status": 202, "content_type": "text/plain", "body": "noted" },
        },
        "packed": { "scheme": "github", "secret_env": "SECRET", "allow_encoding": "gzip", "body_bytes": 1000 },
        // Nobody listens there.
        "plaid": { "scheme": "plaid", "secret_env": "SECRET", "plaid": { "api_url": "http://127.0.0.1:1" } },
    });
    Rig::with_sources(sources, &[("DISCORD", DISCORD_KEY), ("PLAID_CLIENT_ID", "client")]).await
}

/// The public half of the key below.
const DISCORD_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
/// The first key of RFC 8032's vectors.
const DISCORD_PRIVATE: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

impl Rig {
    async fn slack(&self, body: &str, good: bool) -> Reply {
        let seconds = self.clock.now().as_ms() / 1000;
        let mac = mac(format!("v0:{seconds}:{body}{}", if good { "" } else { "x" }).as_bytes());
        let headers = format!("x-slack-signature: v0={mac}\r\nx-slack-request-timestamp: {seconds}\r\n");
        self.send(&post("/webhooks/slack", &headers, body.as_bytes())).await
    }

    async fn discord(&self, body: &str, good: bool) -> Reply {
        use ed25519_dalek::Signer as _;
        let private: [u8; 32] = hex::decode(DISCORD_PRIVATE).unwrap().try_into().unwrap();
        let seconds = self.clock.now().as_ms() / 1000;
        let signed = format!("{seconds}{body}{}", if good { "" } else { "x" });
        let signature = hex::encode(ed25519_dalek::SigningKey::from_bytes(&private).sign(signed.as_bytes()).to_bytes());
        let headers = format!("x-signature-ed25519: {signature}\r\nx-signature-timestamp: {seconds}\r\n");
        self.send(&post("/webhooks/discord", &headers, body.as_bytes())).await
    }

    async fn github(&self, source: &str, event: &str, headers: &str, body: &[u8], signed: &[u8]) -> Reply {
        let own = format!("x-hub-signature-256: sha256={}\r\nx-github-event: {event}\r\n{headers}", mac(signed));
        self.send(&post(&format!("/webhooks/{source}"), &own, body)).await
    }

    async fn received(&self) -> Vec<WebhookReceived> {
        self.jobs().await.iter().map(|job| serde_json::from_str(job.payload.get()).unwrap()).collect()
    }
}

#[tokio::test]
async fn slacks_challenge_is_echoed_only_to_slack_and_makes_no_job() {
    let rig = rig().await;
    let challenge = r#"{"type": "url_verification", "token": "t", "challenge": "3eZbrw1a"}"#;
    let reply = rig.slack(challenge, true).await;
    assert_eq!((reply.status, reply.json()), (200, json!({ "challenge": "3eZbrw1a" })));
    let reply = rig.slack(challenge, false).await;
    assert_eq!(reply.status, 401);
    assert!(!String::from_utf8_lossy(&reply.body).contains("3eZbrw1a"), "nothing is echoed to a stranger");
    assert!(rig.jobs().await.is_empty());

    let event = r#"{"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention"}}"#;
    for _ in 0..2 {
        let reply = rig.slack(event, true).await;
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b""[..]), "a command would show a body to people");
    }
    let received = rig.received().await;
    assert_eq!(received.len(), 1);
    assert_eq!((received[0].event_id.as_str(), received[0].event_type.as_str()), ("Ev1", "app_mention"));
}

#[tokio::test]
async fn discords_ping_gets_a_pong_bad_signatures_401_and_interactions_a_promise() {
    let rig = rig().await;
    assert_eq!(rig.discord(r#"{"type": 1}"#, true).await.json(), json!({ "type": 1 }));
    assert_eq!(rig.discord(r#"{"type": 1}"#, false).await.status, 401);
    assert!(rig.jobs().await.is_empty());
    for (id, kind, reply) in [
        ("1", 2, json!({ "type": 5 })),
        ("2", 3, json!({ "type": 6 })),
        ("3", 4, json!({ "type": 8, "data": { "choices": [] } })),
        ("4", 5, json!({ "type": 5 })),
        ("4", 5, json!({ "type": 5 })),
    ] {
        let body = json!({ "id": id, "type": kind, "data": { "name": "pay" } }).to_string();
        assert_eq!(rig.discord(&body, true).await.json(), reply, "{kind}");
    }
    let received = rig.received().await;
    assert_eq!((received.len(), received[0].event_type.as_str()), (4, "pay"));
}

#[tokio::test]
async fn twilio_hears_twiml_and_buffr_its_own_words_on_its_own_path() {
    use base64::Engine as _;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let rig = rig().await;
    let mut key = Hmac::<sha1::Sha1>::new_from_slice(super::rig::SECRET.as_bytes()).unwrap();
    key.update(b"https://t.example/webhooks/twilio?n=1CallSidCA1CallStatusringing");
    let signature = base64::engine::general_purpose::STANDARD.encode(key.finalize().into_bytes());
    let headers = format!("x-twilio-signature: {signature}\r\ncontent-type: application/x-www-form-urlencoded\r\n");
    let reply = rig.send(&post("/webhooks/twilio?n=1", &headers, b"CallStatus=ringing&CallSid=CA1")).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/xml")));
    assert!(reply.body.ends_with(b"<Response></Response>"));
    let reply = rig.send(&post("/webhooks/twilio?n=2", &headers, b"CallStatus=ringing&CallSid=CA1")).await;
    assert_eq!(reply.status, 401, "the query is signed");

    let body = vectors::BUFFR_BODY.as_bytes();
    let headers = format!("x-webhook-signature: {}\r\nIdempotency-Key: key-1\r\n", mac(body));
    let reply = rig.send(&post("/api/v1/webhooks/buffr", &headers, body)).await;
    let said = reply.json();
    assert_eq!((reply.status, &said["success"], &said["data"]["idempotencyKey"]), (200, &json!(true), &json!("key-1")));
    let received = rig.received().await;
    let types: Vec<&str> = received.iter().map(|r| r.event_type.as_str()).collect();
    assert_eq!(types, ["voucher.redeemed", "ringing"]);
}

#[tokio::test]
async fn a_source_names_its_queue_its_kinds_and_its_reply_and_the_secret_is_told_by_name() {
    let rig = rig().await;
    for (id, event) in [("a", "push"), ("b", "star"), ("b", "star")] {
        let headers = format!("x-github-delivery: {id}\r\n");
        let reply = rig.github("polite", event, &headers, b"{}", b"{}").await;
        assert_eq!((reply.status, reply.header("content-type")), (202, Some("text/plain")));
        assert_eq!(reply.body, b"noted");
    }
    let jobs = rig.jobs().await;
    assert!(jobs.iter().all(|job| job.queue.as_str() == "reports" && &*job.kind == "webhook.received"));
    let received = rig.received().await;
    let as_kinds: Vec<Option<&str>> = received.iter().map(|r| r.handle_as.as_deref()).collect();
    assert_eq!(as_kinds, [Some("chatter.count"), Some("deploy.check")]);
    assert!(received.iter().all(|r| r.verified_with.as_deref() == Some("env:SECRET")));
    let payload = jobs[0].payload.get();
    assert!(!payload.contains(super::rig::SECRET), "{payload}");
}

#[tokio::test]
async fn plaid_is_put_off_while_its_api_can_not_be_asked_but_a_bad_token_is_refused() {
    use super::fake_plaid::{BODY, claims, header, key, sign};
    let rig = rig().await;
    let now = rig.clock.now().as_ms() / 1000;
    let post = |body: &str| {
        let token = sign(&header("key-1"), &claims(BODY, now), &key(1));
        post("/webhooks/plaid", &format!("plaid-verification: {token}\r\n"), body.as_bytes())
    };
    let reply = rig.send(&post(BODY)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")));
    assert_eq!(rig.send(&post("{}")).await.status, 401);
    assert!(rig.jobs().await.is_empty());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_is_taken_where_it_is_allowed_and_what_comes_out_is_signed_kept_and_capped() {
    let rig = rig().await;
    let (body, coding) = (b"{\"n\": 1}".as_slice(), "content-encoding: gzip\r\n");
    let packed = gzip(body);
    let headers = format!("{coding}x-github-delivery: a\r\n");
    assert_eq!(rig.github("packed", "push", &headers, &packed, body).await.status, 200);
    assert_eq!(rig.received().await[0].body.as_bytes(), body);
    assert_eq!(
        rig.github("packed", "push", &headers, &packed, &packed).await.status,
        401,
        "the packed bytes are not it"
    );
    assert_eq!(rig.github("packed", "push", "x-github-delivery: b\r\n", body, body).await.status, 200, "plain too");

    let cases: [(&str, Vec<u8>, u16); 6] = [
        ("exactly the cap", gzip(&[b'x'; 1000]), 200),
        ("one byte more", gzip(&[b'x'; 1001]), 413),
        ("a bomb", gzip(&vec![0; 900_000]), 413),
        ("a bomb behind a small member", [gzip(b"{}"), gzip(&vec![0; 900_000])].concat(), 413),
        ("cut", packed[..packed.len() - 4].to_vec(), 400),
        ("no gzip at all", b"{}".to_vec(), 400),
    ];
    for (what, bytes, status) in cases {
        assert!(bytes.len() <= 1000, "{what}: the packed size would be refused by itself");
        let reply = rig.github("packed", "push", coding, &bytes, &[b'x'; 1000]).await;
        assert_eq!(reply.status, status, "{what}");
    }
    for coding in ["br", "deflate", "gzip, gzip", "gzip\r\ncontent-encoding: gzip", "x-gzip"] {
        let reply = rig.github("packed", "push", &format!("content-encoding: {coding}\r\n"), &packed, body).await;
        assert_eq!(reply.status, 415, "{coding}");
    }
    let reply = rig.github("polite", "push", coding, &packed, body).await;
    assert_eq!((reply.status, reply.json()["allowed"].as_str()), (415, Some("identity, or none")));
}

#[tokio::test]
async fn every_refusal_of_every_scheme_looks_the_same() {
    let rig = rig().await;
    let mut seen: Vec<(u16, Value)> = Vec::new();
    for source in ["slack", "discord", "twilio", "buffr", "polite", "packed", "stripe", "plaid"] {
        for headers in
            ["", "x-slack-signature: v0=\r\n", "x-twilio-signature: AAAA\r\n", "stripe-signature: t=1,v0=a\r\n"]
        {
            let reply = rig.send(&post(&format!("/webhooks/{source}"), headers, b"{\"type\": 1}")).await;
            seen.push((reply.status, reply.json()));
        }
    }
    assert_eq!(seen[0].0, 401);
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:#?}");
}
