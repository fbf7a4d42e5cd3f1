//! The configured proxy: it gets vetted addresses and no names, and what it does wrong is a failed attempt.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill::config::fanout::FanoutConfig;
use tidemill::fanout::endpoints::{self, NewEndpoint};
use tidemill::fanout::{Deliver, FanoutError, FanoutState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::guarding::Names;
use super::receiver::{Receiver, status};
use super::stage::{Stage, config, turn};
use super::tls::{authority, serve};

/// Who is asked for tunnels.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl Proxy {
    /// Makes tunnels, or with an `answer` of its own says that and nothing more.
    async fn start(answer: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heads, stop) =
            (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default(), CancellationToken::new());
        let (seen, tasks, answer) = (Arc::clone(&heads), TaskTracker::new(), answer.map(Arc::new));
        let (inner, stopped) = (tasks.clone(), stop.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), answer.clone());
                inner.spawn(stopped.clone().run_until_cancelled_owned(tunnel(stream, seen, answer)));
            }
        }));
        Self { address, heads, _stop: stop.drop_guard() }
    }

    fn settings(&self) -> FanoutConfig {
        FanoutConfig { proxy: Some(format!("http://{}", self.address)), ..config() }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn tunnel(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>, answer: Option<Arc<Vec<u8>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let to: SocketAddr = head.split(' ').nth(1).unwrap().parse().expect("an address and no name");
    seen.lock().unwrap().push(head);
    if let Some(answer) = answer {
        let _ = stream.write_all(&answer).await;
        // Says nothing more, and does not hang up either.
        std::future::pending::<()>().await;
    }
    let mut there = TcpStream::connect(to).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 Connection established\r\nvia: 1.1 test\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut there).await;
}

async fn secure_delivery(proxy: &Proxy, port: u16, folder: &Path, pem: &str) -> (Stage, Arc<Names>, Deliver) {
    let (ca, credentials) = (folder.join("ca.pem"), folder.join("proxy"));
    std::fs::write(&ca, pem).unwrap();
    std::fs::write(&credentials, "tidemill:s3cret\n").unwrap();
    let names = Arc::new(Names::default());
    names.tell("hooks.example", &[&["127.0.0.1"]]);
    let settings = FanoutConfig {
        ports: vec![port],
        ca_file: Some(ca),
        proxy_credentials_file: Some(credentials),
        ..proxy.settings()
    };
    let stage = Stage::over(settings, Arc::clone(&names) as _).await;
    let url = format!("https://hooks.example:{port}/");
    let event_types = vec!["*".into()];
    let new = NewEndpoint { tenant: "acme".into(), url, event_types, ..NewEndpoint::default() };
    let created = endpoints::create(&stage.state, new).await.unwrap();
    let job = stage.another(&created.endpoint.id).await;
    (stage, names, job)
}

#[tokio::test]
async fn a_tunnel_is_asked_for_the_vetted_address_and_tls_is_spoken_with_the_name() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let server = serve(authority.server("hooks.example", false, &[b"h2"])).await;
    let proxy = Proxy::start(None).await;
    let port = server.address.port();
    let (stage, _, job) = secure_delivery(&proxy, port, folder.path(), &authority.pem).await;
    stage.deliver(&job, turn(1)).await.unwrap();
    let next = stage.another(&job.endpoint).await;
    stage.deliver(&next, turn(1)).await.unwrap();

    assert_eq!(server.versions.lock().unwrap().len(), 2);
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "the second POST goes over the same tunnel: {heads:?}");
    let expected = format!(
        "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nProxy-Authorization: Basic dGlkZW1pbGw6czNjcmV0\r\n\r\n"
    );
    assert_eq!(heads[0], expected, "and says no name");
    let attempt = stage.attempts(&job).await.remove(0);
    assert_eq!(attempt.address, Some(server.address.to_string()), "the log has the receiver's address");
}

#[tokio::test]
async fn behind_a_proxy_another_certificate_is_still_refused() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let server = serve(authority.server("other.example", false, &[])).await;
    let proxy = Proxy::start(None).await;
    let (stage, _, job) = secure_delivery(&proxy, server.address.port(), folder.path(), &authority.pem).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    assert_eq!(stage.attempts(&job).await[0].error_class.as_deref(), Some("tls"));
    assert!(server.versions.lock().unwrap().is_empty(), "it was asked");
}

#[tokio::test]
async fn what_the_guard_refuses_no_proxy_hears_of() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let proxy = Proxy::start(None).await;
    let (stage, names, job) = secure_delivery(&proxy, 8443, folder.path(), &authority.pem).await;
    names.tell("hooks.example", &[&["127.0.0.1", "169.254.169.254"]]);
    stage.deliver(&job, turn(1)).await.unwrap_err();
    let attempt = stage.attempts(&job).await.remove(0);
    assert_eq!(attempt.error_class.as_deref(), Some("refused"), "{attempt:?}");
    assert!(proxy.heads().is_empty(), "{:?}", proxy.heads());
}

#[tokio::test]
async fn plain_http_goes_through_a_tunnel_too() {
    let (proxy, receiver) = (Proxy::start(None).await, Receiver::start(vec![status(200)]).await);
    let stage = Stage::with(proxy.settings()).await;
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    stage.deliver(&job, turn(1)).await.unwrap();
    assert_eq!((receiver.seen().len(), proxy.heads().len()), (1, 1));
    assert!(!proxy.heads()[0].contains("Authorization"), "nobody gave credentials");
}

#[tokio::test]
async fn a_proxy_that_refuses_lies_or_never_ends_makes_a_failed_attempt_in_bounded_time() {
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'a'; 64 * 1024]].concat();
    for (answer, class, words) in [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n".to_vec(), "connect", "it answered 403"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".to_vec(), "connect", "other credentials (407)"),
        (b"220 mail.example ESMTP\r\n\r\n".to_vec(), "connect", "not HTTP"),
        (endless, "connect", "does not end"),
        (Vec::new(), "timeout", "no reply within 300 ms"),
    ] {
        let (proxy, receiver) = (Proxy::start(Some(answer)).await, Receiver::start(vec![status(200)]).await);
        let stage = Stage::with(FanoutConfig { timeout_ms: 300, ..proxy.settings() }).await;
        let (_, job) = stage.one_delivery(&receiver.url()).await;
        tokio::time::timeout(Duration::from_secs(10), stage.deliver(&job, turn(1))).await.unwrap().unwrap_err();
        let attempt = stage.attempts(&job).await.remove(0);
        assert_eq!(attempt.error_class.as_deref(), Some(class), "{attempt:?}");
        assert!(attempt.error.as_ref().unwrap().contains(words), "{attempt:?}");
        assert!(receiver.seen().is_empty(), "nothing goes around the proxy");
    }
}

#[tokio::test]
async fn credentials_that_are_not_there_or_none_are_named_and_not_repeated() {
    let stage = Stage::new().await;
    let file = stage.folder().join("credentials");
    let made = |file: &Path| {
        let proxy = Some("http://127.0.0.1:1".to_owned());
        let settings = FanoutConfig { proxy, proxy_credentials_file: Some(file.to_owned()), ..config() };
        FanoutState::new(stage.state.db().clone(), settings, None, stage.clock.clone(), stage.entropy.clone())
    };
    for text in [None, Some("s3cret"), Some("a:s3cret\r\nx: y")] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let error = made(&file).unwrap_err();
        assert!(matches!(error, FanoutError::Proxy(_)), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("proxy_credentials_file") && text.contains("credentials") && !text.contains("s3cret"),
            "{text}"
        );
    }
}
