//! Endpoints by call and by configuration: checked, paged, rotated, switched off, forgotten.

use std::time::Duration;

use tidemill::config::fanout::{EndpointConfig, FanoutConfig};
use tidemill::fanout::endpoints::{self, EndpointChange, EndpointError, EndpointState, NewEndpoint, Rotation};
use tidemill::fanout::{DeclareError, Event, Ordering, PageRequest, Rate, Sending, UrlRefused, declare};

use super::receiver::{Receiver, status};
use super::stage::{Stage, config, turn};

const URL: &str = "http://127.0.0.1:9/hook";
const OWN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn new() -> NewEndpoint {
    NewEndpoint { tenant: "acme".into(), url: URL.into(), event_types: vec!["*".into()], ..NewEndpoint::default() }
}

fn declared(url: &str, types: &[&str]) -> EndpointConfig {
    EndpointConfig {
        tenant: "acme".into(),
        url: url.into(),
        event_types: types.iter().map(|t| (*t).to_owned()).collect(),
        secret_env: "HOOK_SECRET".into(),
        ..EndpointConfig::default()
    }
}

#[tokio::test]
async fn a_secret_is_shown_where_it_is_made_and_nowhere_else() {
    let stage = Stage::new().await;
    let made = endpoints::create(&stage.state, new()).await.unwrap();
    let other = endpoints::create(&stage.state, new()).await.unwrap();
    assert!(made.secret.reveal().starts_with("whsec_"));
    assert_ne!(made.secret.reveal(), other.secret.reveal());
    let shown = serde_json::to_string(&endpoints::get(stage.state.db(), &made.endpoint.id).await.unwrap()).unwrap();
    assert!(!shown.contains("whsec_") && !format!("{made:?}").contains(made.secret.reveal()));

    let own = NewEndpoint { secret: Some(OWN.into()), ..new() };
    assert_eq!(endpoints::create(&stage.state, own).await.unwrap().secret.reveal(), OWN);
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_by_name_and_nothing_is_kept() {
    let stage = Stage::new().await;
    let cases = [
        (NewEndpoint { tenant: "a:b".into(), ..new() }, "tenant"),
        (NewEndpoint { tenant: String::new(), ..new() }, "tenant"),
        (NewEndpoint { description: "d".repeat(501), ..new() }, "description"),
        (NewEndpoint { event_types: Vec::new(), ..new() }, "event_types"),
        (NewEndpoint { event_types: vec!["inv*".into()], ..new() }, "event_types"),
        (NewEndpoint { event_types: vec!["*".into(); 101], ..new() }, "event_types"),
        (NewEndpoint { secret: Some("whsec_short".into()), ..new() }, "secret"),
        (NewEndpoint { url: "http://10.0.0.1/".into(), ..new() }, "url"),
        (NewEndpoint { url: "https://user@example.com/".into(), ..new() }, "url"),
        (NewEndpoint { url: "not a url".into(), ..new() }, "url"),
    ];
    for (bad, field) in cases {
        let error = endpoints::create(&stage.state, bad).await.unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
        assert!(!error.contains("whsec_short"));
    }
    let all = endpoints::list(stage.state.db(), None, &PageRequest::default()).await.unwrap();
    assert!(all.items.is_empty());
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_at_registration() {
    let stage = Stage::with(FanoutConfig::default()).await;
    let inside = NewEndpoint { url: "https://localhost/".into(), ..new() };
    let error = endpoints::create(&stage.state, inside).await.unwrap_err();
    assert!(matches!(error, EndpointError::Url(UrlRefused::Address { .. })), "{error}");
}

#[tokio::test]
async fn a_list_is_paged_newest_first_without_gaps_or_repeats() {
    let stage = Stage::new().await;
    let mut made = Vec::new();
    for n in 0..7 {
        let tenant = if n % 2 == 0 { "acme" } else { "other" };
        let created = endpoints::create(&stage.state, NewEndpoint { tenant: tenant.into(), ..new() }).await.unwrap();
        made.insert(0, (tenant, created.endpoint.id));
        stage.clock.advance(Duration::from_millis(1));
    }
    for tenant in [None, Some("acme")] {
        let (mut ids, mut page) = (Vec::new(), PageRequest { cursor: None, limit: 3 });
        loop {
            let found = endpoints::list(stage.state.db(), tenant, &page).await.unwrap();
            assert!(found.items.len() <= 3);
            ids.extend(found.items.into_iter().map(|e| e.id));
            let Some(next) = found.next else { break };
            page.cursor = Some(next);
        }
        let expected: Vec<_> =
            made.iter().filter(|(t, _)| tenant.is_none_or(|wanted| wanted == *t)).map(|(_, id)| id.clone()).collect();
        assert_eq!(ids, expected);
    }
    let bad = PageRequest { cursor: Some("ep_1".into()), limit: 3 };
    assert!(matches!(endpoints::list(stage.state.db(), None, &bad).await, Err(EndpointError::Cursor(_))));
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_name() {
    let stage = Stage::new().await;
    let id = endpoints::create(&stage.state, new()).await.unwrap().endpoint.id;
    stage.clock.advance(Duration::from_secs(1));
    let change = EndpointChange { description: Some("ledger".into()), ..EndpointChange::default() };
    let changed = endpoints::update(&stage.state, &id, change).await.unwrap();
    assert_eq!((changed.description.as_str(), changed.url.as_str()), ("ledger", URL));
    assert!(changed.updated_at > changed.created_at);

    let change = EndpointChange { url: Some("http://10.0.0.1/".into()), ..EndpointChange::default() };
    assert!(matches!(endpoints::update(&stage.state, &id, change).await, Err(EndpointError::Url(_))));

    let disabled = endpoints::disable(&stage.state, &id, "moving").await.unwrap();
    assert_eq!((disabled.state, disabled.reason.as_deref()), (EndpointState::Disabled, Some("moving")));
    let enabled = endpoints::enable(&stage.state, &id).await.unwrap();
    assert_eq!((enabled.state, enabled.reason), (EndpointState::Enabled, None));
}

#[tokio::test]
async fn a_call_on_an_endpoint_that_is_not_there_says_so() {
    let stage = Stage::new().await;
    let (state, db) = (&stage.state, stage.state.db());
    let missing = |result: Result<(), EndpointError>| {
        assert!(matches!(result, Err(EndpointError::NoSuchEndpoint(id)) if id == "ep_x"));
    };
    missing(endpoints::get(db, "ep_x").await.map(drop));
    missing(endpoints::update(state, "ep_x", EndpointChange::default()).await.map(drop));
    missing(endpoints::disable(state, "ep_x", "why").await.map(drop));
    missing(endpoints::enable(state, "ep_x").await.map(drop));
    missing(endpoints::rotate_secret(state, "ep_x", Rotation::default()).await.map(drop));
    missing(endpoints::delete(db, "ep_x").await);
}

#[tokio::test]
async fn rotations_are_bounded_and_run_out() {
    let stage = Stage::new().await;
    let id = endpoints::create(&stage.state, new()).await.unwrap().endpoint.id;
    for _ in 0..9 {
        endpoints::rotate_secret(&stage.state, &id, Rotation::default()).await.unwrap();
    }
    let error = endpoints::rotate_secret(&stage.state, &id, Rotation::default()).await.unwrap_err();
    assert!(matches!(error, EndpointError::TooManySecrets(_)), "{error}");
    stage.clock.advance(Duration::from_secs(24 * 3600));
    endpoints::rotate_secret(&stage.state, &id, Rotation::default()).await.unwrap();
}

#[tokio::test]
async fn declaring_the_same_twice_changes_nothing() {
    let stage = Stage::new().await;
    let endpoint = vec![declared(URL, &["invoice.*"])];
    let state = stage.again(FanoutConfig { endpoints: endpoint, ..config() });
    let secret = |name: &str| (name == "HOOK_SECRET").then(|| OWN.to_owned());
    declare(&state, secret).await.unwrap();
    let first = endpoints::list(state.db(), None, &PageRequest::default()).await.unwrap().items;
    stage.clock.advance(Duration::from_secs(60));
    declare(&state, secret).await.unwrap();
    let second = endpoints::list(state.db(), None, &PageRequest::default()).await.unwrap().items;
    assert_eq!((first.len(), first[0].declared), (1, true));
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_changed_declaration_is_followed_and_a_changed_secret_is_a_rotation() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let state = stage.again(FanoutConfig { endpoints: vec![declared(&receiver.url(), &["a.*"])], ..config() });
    declare(&state, |_| Some(OWN.to_owned())).await.unwrap();
    let state = stage.again(FanoutConfig { endpoints: vec![declared(&receiver.url(), &["*"])], ..config() });
    declare(&state, |_| Some(OTHER.to_owned())).await.unwrap();

    stage.fan_out(&super::stage::event("evt_1", "invoice.paid")).await.unwrap();
    let found = stage.deliveries(|_| true).await.remove(0);
    let job = tidemill::fanout::Deliver { message: found.message_id, endpoint: found.endpoint_id };
    stage.deliver(&job, turn(1)).await.unwrap();
    let post = receiver.seen().remove(0);
    assert_eq!((post.verified_by(OTHER), post.verified_by(OWN)), (vec![0], vec![1]));
}

#[tokio::test]
async fn an_endpoint_that_left_the_configuration_is_disabled_until_it_comes_back() {
    let stage = Stage::new().await;
    let by_call = endpoints::create(&stage.state, new()).await.unwrap().endpoint;
    let with = stage.again(FanoutConfig { endpoints: vec![declared(URL, &["*"])], ..config() });
    declare(&with, |_| Some(OWN.to_owned())).await.unwrap();
    let all = endpoints::list(stage.state.db(), None, &PageRequest::default()).await.unwrap().items;
    let id = all.into_iter().find(|e| e.declared).unwrap().id;
    let state_of = async |id: &str| endpoints::get(stage.state.db(), id).await.unwrap().state;

    declare(&stage.state, |_| None).await.unwrap();
    assert_eq!(state_of(&id).await, EndpointState::Disabled);
    assert_eq!(state_of(&by_call.id).await, EndpointState::Enabled);
    declare(&with, |_| Some(OWN.to_owned())).await.unwrap();
    assert_eq!(state_of(&id).await, EndpointState::Enabled);

    endpoints::disable(&stage.state, &id, "by hand").await.unwrap();
    declare(&with, |_| Some(OWN.to_owned())).await.unwrap();
    assert_eq!(state_of(&id).await, EndpointState::Disabled);
}

#[tokio::test]
async fn a_declaration_that_cannot_be_kept_names_itself_and_changes_nothing() {
    let stage = Stage::new().await;
    let twice = vec![declared(URL, &["a"]), declared("HTTP://127.0.0.1:9/hook", &["b"])];
    let bad_url = vec![declared(URL, &["a"]), declared("ftp://127.0.0.1/", &["b"])];
    let one = vec![declared(URL, &["a"])];
    let own = || Some(OWN.to_owned());

    let state = stage.again(FanoutConfig { endpoints: twice, ..config() });
    assert!(matches!(declare(&state, |_| own()).await, Err(DeclareError::Twice { index: 1 })));
    let state = stage.again(FanoutConfig { endpoints: bad_url, ..config() });
    assert!(matches!(declare(&state, |_| own()).await, Err(DeclareError::Endpoint { index: 1, .. })));
    let state = stage.again(FanoutConfig { endpoints: one, ..config() });
    let error = declare(&state, |_| None).await.unwrap_err();
    assert!(
        matches!(&error, DeclareError::NoSecret { index: 0, variable, .. } if variable == "HOOK_SECRET"),
        "{error}"
    );
    let error = declare(&state, |_| Some("hunter2".into())).await.unwrap_err().to_string();
    assert!(error.contains("secret") && !error.contains("hunter2"), "{error}");
    assert!(endpoints::list(state.db(), None, &PageRequest::default()).await.unwrap().items.is_empty());
}

/// Everything that a declaration can say.
fn declared_in_full(url: &str) -> EndpointConfig {
    let texts = |name: &str, text: &str| [(name.to_owned(), text.to_owned())].into();
    EndpointConfig {
        description: "ledger".into(),
        filter: "amount_minor >= 100".into(),
        headers: texts("X-Env", "prod"),
        headers_env: texts("Authorization", "HOOK_TOKEN"),
        header_prefix: Some("X-GPUScout".into()),
        metadata: texts("team", "finance"),
        sending: Sending {
            ordering: Ordering::Strict,
            max_concurrency: Some(3),
            rate: Some(Rate { limit: 10, window_ms: 1_000 }),
            retry_delays_ms: Some(vec![1_000]),
        },
        ..declared(url, &["*"])
    }
}

#[tokio::test]
async fn a_declaration_says_all_that_a_call_can_and_restarts_change_nothing() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let full = declared_in_full(&receiver.url());
    let state = stage.again(FanoutConfig { endpoints: vec![full.clone()], ..config() });
    let variable = |name: &str| match name {
        "HOOK_SECRET" => Some(OWN.to_owned()),
        "HOOK_TOKEN" => Some("Bearer t0ken".to_owned()),
        _ => None,
    };
    declare(&state, variable).await.unwrap();
    let kept = endpoints::list(state.db(), None, &PageRequest::default()).await.unwrap().items.remove(0);
    assert_eq!((&*kept.description, kept.header_prefix.as_deref()), ("ledger", Some("X-GPUScout")));
    assert_eq!((&kept.sending, &kept.metadata["team"]), (&full.sending, &"finance".to_owned()));
    assert_eq!(kept.headers.keys().collect::<Vec<_>>(), ["Authorization", "X-Env"]);
    stage.clock.advance(Duration::from_secs(60));
    declare(&state, variable).await.unwrap();
    assert_eq!(endpoints::get(state.db(), &kept.id).await.unwrap(), kept);

    let small = Event { payload: serde_json::json!({ "amount_minor": 99 }), ..super::stage::event("evt_1", "a.b") };
    stage.fan_out(&small).await.unwrap();
    assert_eq!(stage.deliveries(|_| true).await.len(), 0, "its filter holds");
    let large = Event { payload: serde_json::json!({ "amount_minor": 100 }), ..super::stage::event("evt_2", "a.b") };
    stage.fan_out(&large).await.unwrap();
    let found = stage.deliveries(|_| true).await.remove(0);
    let job = tidemill::fanout::Deliver { message: found.message_id, endpoint: found.endpoint_id };
    stage.deliver(&job, turn(1)).await.unwrap();
    let post = receiver.seen().remove(0);
    assert_eq!(post.header("authorization"), "Bearer t0ken");
    assert_eq!(post.header("x-env"), "prod");
    assert_eq!(post.header("x-gpuscout-event"), "a.b");

    let plain = stage.again(FanoutConfig { endpoints: vec![declared(&receiver.url(), &["*"])], ..config() });
    declare(&plain, variable).await.unwrap();
    let kept = endpoints::get(state.db(), &kept.id).await.unwrap();
    assert!(kept.headers.is_empty() && kept.filter.is_none() && kept.header_prefix.is_none(), "{kept:?}");
    assert_eq!(kept.sending, Sending::default());
}

#[tokio::test]
async fn a_wrong_field_of_a_declaration_is_named() {
    let stage = Stage::new().await;
    let full = || declared_in_full(URL);
    let texts = |name: &str, text: &str| [(name.to_owned(), text.to_owned())].into();
    let too_fast = Sending { rate: Some(Rate { limit: 0, window_ms: 1_000 }), ..Sending::default() };
    let table = [
        (EndpointConfig { filter: "amount >".into(), ..full() }, "filter"),
        (EndpointConfig { headers: texts("Host", "h1dden"), ..full() }, "headers"),
        (EndpointConfig { headers: texts("authorization", "h1dden"), ..full() }, "headers"),
        (EndpointConfig { headers: texts("Authorization", "h1dden"), ..full() }, "headers_env"),
        (EndpointConfig { header_prefix: Some("webhook".into()), ..full() }, "header_prefix"),
        (EndpointConfig { header_prefix: Some(String::new()), ..full() }, "header_prefix"),
        (EndpointConfig { metadata: texts("", "x"), ..full() }, "metadata"),
        (EndpointConfig { sending: too_fast, ..full() }, "sending.rate.limit"),
        (EndpointConfig { headers_env: texts("Authorization", "NOWHERE"), ..full() }, "headers_env.Authorization"),
    ];
    for (wrong, field) in table {
        let state = stage.again(FanoutConfig { endpoints: vec![full(), wrong], ..config() });
        let variable = |name: &str| (name != "NOWHERE").then(|| OWN.to_owned());
        let error = declare(&state, variable).await.unwrap_err().to_string();
        assert!(error.starts_with("fanout.endpoints[1]") && error.contains(field), "{field}: {error}");
        assert!(!error.contains("h1dden") && !error.contains(OWN), "{error}");
    }
}
