//! Where POSTs may go, at both places: when an endpoint is registered, and each time a connection is made.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidemill::config::fanout::FanoutConfig;
use tidemill::fanout::endpoints::{self, EndpointError, NewEndpoint};
use tidemill::fanout::{Resolver, UrlRefused};

use super::receiver::{Receiver, status};
use super::stage::{Stage, config, turn};

/// Answers each question with the next of its answers; the last one repeats. A name that it was not told has none.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>, Mutex<Vec<String>>);

impl Names {
    pub(super) fn tell(&self, name: &str, answers: &[&[&str]]) {
        let answers = answers.iter().map(|a| a.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        self.0.lock().unwrap().insert(name.to_owned(), answers);
    }

    fn asked(&self) -> usize {
        self.1.lock().unwrap().len()
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.1.lock().unwrap().push(name.to_owned());
        let mut names = self.0.lock().unwrap();
        let answers = names.get_mut(name).ok_or_else(|| io::Error::other("no such name"))?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

const PUBLIC: &str = "93.184.216.34";

/// Every kind of address in which no receiver of a stranger lies.
const BAD: [&str; 44] = [
    "127.0.0.1",
    "127.127.127.127",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.1",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.88.99.1",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::7f00:1",
    "::ffff:0:7f00:1",
    "::5efe:7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a9fe:a9fe",
    "2002:7f00:1::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2001:10::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "100::1",
    "5f00::1",
    "2a00:1450::5efe:7f00:1",
];

async fn register(stage: &Stage, url: &str) -> Result<String, EndpointError> {
    let new =
        NewEndpoint { tenant: "acme".into(), url: url.into(), event_types: vec!["*".into()], ..NewEndpoint::default() };
    endpoints::create(&stage.state, new).await.map(|created| created.endpoint.id)
}

fn is_about_the_address(refused: &EndpointError) -> bool {
    matches!(refused, EndpointError::Url(UrlRefused::Address { .. }))
}

async fn strict(names: &Arc<Names>) -> Stage {
    let resolver: Arc<dyn Resolver> = Arc::clone(names) as _;
    Stage::over(FanoutConfig { allow_addresses: Vec::new(), ..config() }, resolver).await
}

#[tokio::test]
async fn a_bad_address_is_refused_at_registration_alone_or_among_good_ones() {
    let names = Arc::new(Names::default());
    let stage = strict(&names).await;
    for bad in BAD {
        for answer in [&[bad][..], &[PUBLIC, bad], &[bad, PUBLIC], &[PUBLIC, "2606:4700::1111", bad]] {
            names.tell("hooks.example", &[answer]);
            let refused = register(&stage, "https://hooks.example/").await.unwrap_err();
            assert!(is_about_the_address(&refused), "{answer:?}: {refused}");
        }
        let literal = if bad.contains(':') { format!("https://[{bad}]/") } else { format!("https://{bad}/") };
        let refused = register(&stage, &literal).await.unwrap_err();
        assert!(is_about_the_address(&refused), "{literal}: {refused}");
    }
    names.tell("hooks.example", &[&[PUBLIC, "2606:4700::1111"]]);
    register(&stage, "https://hooks.example/").await.unwrap();
}

#[tokio::test]
async fn a_name_that_turns_bad_after_registration_is_refused_at_the_connect() {
    let names = Arc::new(Names::default());
    let stage = strict(&names).await;
    for (n, bad) in BAD.into_iter().enumerate() {
        for (m, now) in [&[bad][..], &[PUBLIC, bad]].into_iter().enumerate() {
            let name = format!("hooks-{n}-{m}.example");
            names.tell(&name, &[&[PUBLIC], now]);
            let id = register(&stage, &format!("https://{name}/")).await.unwrap();
            let job = stage.another(&id).await;
            stage.deliver(&job, turn(1)).await.unwrap_err();
            let attempt = stage.attempts(&job).await.remove(0);
            assert_eq!(attempt.error_class.as_deref(), Some("refused"), "{now:?}: {attempt:?}");
            assert_eq!(attempt.address, None, "nothing was connected to");
            endpoints::delete(stage.state.db(), &id).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_vetted_and_the_name_is_asked_once() {
    let receiver = Receiver::start(vec![status(200)]).await;
    let port = receiver.address().port();
    let names = Arc::new(Names::default());
    // To the first question at the connect an allowed address; to a second one, there would be another.
    names.tell("hooks.example", &[&["127.0.0.1"], &["127.0.0.1"], &["169.254.169.254"]]);
    let open = FanoutConfig { ports: vec![port], ..config() };
    let stage = Stage::over(open, Arc::clone(&names) as _).await;
    let id = register(&stage, &format!("http://hooks.example:{port}/")).await.unwrap();
    let job = stage.another(&id).await;
    assert_eq!(names.asked(), 1);
    stage.deliver(&job, turn(1)).await.unwrap();
    assert_eq!(names.asked(), 2);
    let attempt = stage.attempts(&job).await.remove(0);
    assert_eq!(attempt.address.as_deref(), Some(receiver.address().to_string().as_str()));
    assert_eq!(receiver.seen()[0].header("host"), format!("hooks.example:{port}"));
}

#[tokio::test]
async fn a_rebinding_name_never_leads_to_a_receiver_inside() {
    let inside = Receiver::start(vec![status(200)]).await;
    let names = Arc::new(Names::default());
    names.tell("rebind.example", &[&[PUBLIC], &["127.0.0.1"]]);
    let config = FanoutConfig { allow_addresses: Vec::new(), ports: vec![inside.address().port()], ..config() };
    let stage = Stage::over(config, Arc::clone(&names) as _).await;
    let id = register(&stage, &format!("http://rebind.example:{}/", inside.address().port())).await.unwrap();
    let job = stage.another(&id).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    assert_eq!(stage.attempts(&job).await[0].error_class.as_deref(), Some("refused"));
    assert!(inside.seen().is_empty());
}

#[tokio::test]
async fn a_name_without_an_address_is_a_dns_error_and_is_tried_again() {
    let names = Arc::new(Names::default());
    names.tell("hooks.example", &[&[PUBLIC], &[]]);
    let stage = strict(&names).await;
    let id = register(&stage, "https://hooks.example/").await.unwrap();
    let job = stage.another(&id).await;
    let outcome = stage.deliver(&job, turn(1)).await;
    assert!(matches!(outcome, Err(tidemill::job::JobError::Retry { .. })));
    assert_eq!(stage.attempts(&job).await[0].error_class.as_deref(), Some("dns"));
    let refused = register(&stage, "https://nowhere.example/").await.unwrap_err();
    assert!(matches!(refused, EndpointError::Url(UrlRefused::Unresolved { .. })), "{refused}");
}

/// Answers at registration and never again.
#[derive(Debug, Default)]
struct Stuck(std::sync::atomic::AtomicBool);

#[async_trait]
impl Resolver for Stuck {
    async fn resolve(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        if self.0.swap(true, std::sync::atomic::Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(vec![PUBLIC.parse().unwrap()])
    }
}

#[tokio::test]
async fn a_resolver_that_does_not_answer_is_cut_off_by_the_same_deadline() {
    let config = FanoutConfig { timeout_ms: 300, ..config() };
    let stage = Stage::over(config, Arc::new(Stuck::default())).await;
    let id = register(&stage, "https://hooks.example/").await.unwrap();
    let job = stage.another(&id).await;
    stage.deliver(&job, turn(1)).await.unwrap_err();
    let attempt = stage.attempts(&job).await.remove(0);
    assert_eq!(attempt.error_class.as_deref(), Some("timeout"), "{attempt:?}");
    assert_eq!((attempt.dns_ms, attempt.address), (None, None), "it says how far it came");
    assert!(attempt.duration_ms >= Some(300) && attempt.duration_ms < Some(5_000));
}

#[tokio::test]
async fn without_leave_http_and_odd_forms_are_refused_before_anything_is_asked() {
    let names = Arc::new(Names::default());
    let stage =
        Stage::over(FanoutConfig { allow_http: false, ..FanoutConfig::default() }, Arc::clone(&names) as _).await;
    let refused = [
        "http://hooks.example/",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "gopher://hooks.example/",
        "https://127.1/",
        "https://0/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0x7f000001/",
        "https://[::1%25lo]/",
        "https://::1/",
        "https://[127.0.0.1]/",
        "https://user@hooks.example/",
        "https://1:2@[::1]:9876/",
        "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/",
        "https://127.1.1.1:80\\@127.2.2.2:80/",
        "https://hooks.example/#x",
        "https://hooks\t.example/",
        "https://hooks.example/\n",
        "https://hooks%00.example/",
        "https://ⓔⓧⓐⓜⓟⓛⓔ.com/",
        "https://hooks.example:22/",
        "https://hooks.example:6379/",
    ];
    for url in refused {
        assert!(matches!(register(&stage, url).await, Err(EndpointError::Url(_))), "{url:?} was accepted");
    }
    assert_eq!(names.asked(), 0);
}
