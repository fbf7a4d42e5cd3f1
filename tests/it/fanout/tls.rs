//! TLS: whom the sender trusts, and HTTP/2 where it is offered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tidemill::config::fanout::FanoutConfig;
use tidemill::fanout::Deliver;
use tidemill::fanout::endpoints::{self, NewEndpoint};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::guarding::Names;
use super::stage::{Stage, config, turn};

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

pub(super) fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority for one test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

impl Authority {
    pub(super) fn server(&self, name: &str, expired: bool, alpn: &[&[u8]]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut server = builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        server.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        server
    }
}

pub(super) struct Secure {
    pub(super) address: SocketAddr,
    pub(super) versions: Arc<Mutex<Vec<Version>>>,
    freezes: Arc<Mutex<CancellationToken>>,
    _stop: DropGuard,
}

impl Secure {
    /// The connections that are open now stay so, and nobody reads them any more.
    fn freeze(&self) {
        std::mem::take(&mut *self.freezes.lock().unwrap()).cancel();
    }
}

/// Answers 200 to everything, in the protocol that was agreed on.
pub(super) async fn serve(config: ServerConfig) -> Secure {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, versions, stop) =
        (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Version>>>::default(), CancellationToken::new());
    let (acceptor, seen, tasks) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&versions), TaskTracker::new());
    let (inner, stopped, freezes) = (tasks.clone(), stop.clone(), Arc::<Mutex<CancellationToken>>::default());
    let freeze = Arc::clone(&freezes);
    tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen, frozen) = (acceptor.clone(), Arc::clone(&seen), freeze.lock().unwrap().clone());
            inner.spawn(stopped.clone().run_until_cancelled_owned(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let service = service_fn(move |request: Request<Incoming>| {
                    seen.lock().unwrap().push(request.version());
                    async { Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"ok")))) }
                });
                let io = TokioIo::new(stream);
                if two {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let mut serving = pin!(builder.serve_connection(io, service));
                    if frozen.run_until_cancelled(serving.as_mut()).await.is_none() {
                        std::future::pending::<()>().await;
                    }
                } else {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                }
            }));
        }
    }));
    Secure { address, versions, freezes, _stop: stop.drop_guard() }
}

/// A stage that trusts the authority in `ca`, and a delivery to `hooks.example` at this server.
async fn one_delivery(server: &Secure, ca: Option<PathBuf>, settings: FanoutConfig) -> (Stage, Deliver) {
    let port = server.address.port();
    let names = Arc::new(Names::default());
    names.tell("hooks.example", &[&["127.0.0.1"]]);
    let settings = FanoutConfig { ports: vec![port], ca_file: ca, ..settings };
    let stage = Stage::over(settings, names as _).await;
    let new = NewEndpoint {
        tenant: "acme".into(),
        url: format!("https://hooks.example:{port}/"),
        event_types: vec!["*".into()],
        ..NewEndpoint::default()
    };
    let created = endpoints::create(&stage.state, new).await.unwrap();
    let job = stage.another(&created.endpoint.id).await;
    (stage, job)
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered_over_one_connection() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    for (alpn, version) in [
        (&[b"h2".as_slice(), b"http/1.1"][..], Version::HTTP_2),
        (&[b"http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let server = serve(authority.server("hooks.example", false, alpn)).await;
        let (stage, job) = one_delivery(&server, Some(ca.clone()), config()).await;
        stage.deliver(&job, turn(1)).await.unwrap();
        let next = stage.another(&job.endpoint).await;
        stage.deliver(&next, turn(1)).await.unwrap();
        assert_eq!(*server.versions.lock().unwrap(), [version, version]);
        let (first, second) = (stage.attempts(&job).await.remove(0), stage.attempts(&next).await.remove(0));
        assert_eq!((first.reused, second.reused), (Some(false), Some(true)));
        assert!(first.tls_ms.is_some() && second.tls_ms.is_none(), "{first:?} {second:?}");
        assert_eq!(first.reply, "ok");
    }
}

#[tokio::test]
async fn a_connection_that_died_without_a_word_costs_one_delivery_its_deadline_and_no_second_one() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let server = serve(authority.server("hooks.example", false, &[b"h2"])).await;
    let settings = FanoutConfig { timeout_ms: 1_000, ..config() };
    let (stage, job) = one_delivery(&server, Some(ca), settings).await;
    stage.deliver(&job, turn(1)).await.unwrap();
    server.freeze();

    let hangs = stage.another(&job.endpoint).await;
    stage.deliver(&hangs, turn(1)).await.unwrap_err();
    let attempt = stage.attempts(&hangs).await.remove(0);
    assert_eq!((attempt.error_class.as_deref(), attempt.reused), (Some("timeout"), Some(true)), "{attempt:?}");
    assert_eq!(attempt.address, Some(server.address.to_string()), "it says where it hung");

    stage.deliver(&hangs, turn(2)).await.unwrap();
    let attempt = stage.attempts(&hangs).await.remove(1);
    assert_eq!((attempt.status, attempt.reused), (Some(200), Some(false)));
}

#[tokio::test]
async fn a_stranger_an_expired_certificate_and_another_name_are_refused() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let table = [
        ("an unknown authority", authority.server("hooks.example", false, &[]), None),
        ("an expired certificate", authority.server("hooks.example", true, &[]), Some(ca.clone())),
        ("another name", authority.server("other.example", false, &[]), Some(ca.clone())),
    ];
    for (what, settings, ca) in table {
        let server = serve(settings).await;
        let (stage, job) = one_delivery(&server, ca, config()).await;
        stage.deliver(&job, turn(1)).await.unwrap_err();
        let attempt = stage.attempts(&job).await.remove(0);
        assert_eq!(attempt.error_class.as_deref(), Some("tls"), "{what}: {attempt:?}");
        assert!(server.versions.lock().unwrap().is_empty(), "{what}: it was asked");
    }
}
