//! What opening the parts does to stores that somebody else runs on: nothing. And what `check` learns by it.

use std::path::Path;

use clap::Parser;
use serde_json::Value;
use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::config::Config;
use tidemill::config::fanout::EndpointConfig;
use tidemill::config::schedules::PlanText;
use tidemill::fanout::PageRequest;
use tidemill::fanout::endpoints::{self, EndpointState};
use tidemill_jobs::commands::Check;
use tidemill_jobs::inspection::connections;
use tidemill_jobs::wiring::Wiring;

const SECRET: &str = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";

fn config(folder: &Path) -> Config {
    Config { data_dir: folder.to_owned(), ..Config::default() }.complete().unwrap()
}

fn acme() -> EndpointConfig {
    EndpointConfig {
        tenant: "acme".into(),
        url: "https://example.com/hooks".into(),
        event_types: vec!["*".into()],
        secret_env: "ACME_SECRET".into(),
        ..EndpointConfig::default()
    }
}

async fn open(config: &Config) -> Wiring {
    let clock = Clock::manual(Timestamp::from_ms(1_767_323_045_000));
    Wiring::open(config, &|_| None, clock, Entropy::seeded(5)).await.unwrap()
}

async fn states(wiring: &Wiring) -> Vec<EndpointState> {
    let page = endpoints::list(&wiring.db, None, &PageRequest::default()).await.unwrap();
    page.items.into_iter().map(|endpoint| endpoint.state).collect()
}

#[tokio::test]
async fn a_command_with_another_configuration_leaves_the_services_queues_and_endpoints_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = config(folder.path());
    served.fanout.endpoints = vec![acme()];
    let service = open(&served).await;
    assert!(service.store.counts().await.unwrap().queues.is_empty(), "only `declare` makes queues known");
    service.declare(&served, &|name| (name == "ACME_SECRET").then(|| SECRET.to_owned())).await.unwrap();
    assert_eq!(states(&service).await, [EndpointState::Enabled]);

    // An operator's shell: no configuration file, none of the service's variables.
    let command = open(&config(folder.path())).await;
    assert_eq!(states(&command).await, [EndpointState::Enabled], "a look disables no endpoint");
    // Nor does it need the secrets of a configuration that it only reads.
    assert_eq!(states(&open(&served).await).await, [EndpointState::Enabled]);

    let restarted = open(&config(folder.path())).await;
    restarted.declare(&config(folder.path()), &|_| None).await.unwrap();
    assert_eq!(states(&restarted).await, [EndpointState::Disabled], "a service says what counts from now on");
}

#[tokio::test]
async fn a_service_whose_key_is_gone_does_not_start_and_a_command_still_looks_around() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = config(folder.path());
    served.fanout.endpoints = vec![acme()];
    let secret = |name: &str| (name == "ACME_SECRET").then(|| SECRET.to_owned());
    open(&served).await.declare(&served, &secret).await.unwrap();
    open(&served).await.declare(&served, &secret).await.unwrap();

    std::fs::remove_file(folder.path().join("data.key")).unwrap();
    let command = open(&served).await;
    assert_eq!(states(&command).await, [EndpointState::Enabled]);
    assert!(!folder.path().join("data.key").exists(), "a new key would open nothing");
    let refused = format!("{:#}", command.declare(&served, &secret).await.unwrap_err());
    assert!(refused.contains("TIDEMILL_DATA_KEY"), "{refused}");
}

#[derive(Parser)]
struct Checked {
    #[command(flatten)]
    check: Check,
}

/// What `tidemill check` says of the part named `declared`.
async fn check(config: &Config) -> Value {
    let lookup = |name: &str| (name == "GPU_MARKET_URL").then(|| "off".to_owned());
    let command = Checked::try_parse_from(["check", "--json"]).unwrap().check;
    let mut out = Vec::new();
    command.run(Vec::new(), connections(config, &lookup), Timestamp::from_ms(0), &mut out).await.unwrap();
    let said: Value = serde_json::from_slice(&out).unwrap();
    let all = said["connections"].as_array().unwrap();
    all.iter().find(|one| one["name"] == "declared").unwrap().clone()
}

#[tokio::test]
async fn check_finds_what_serve_would_refuse_to_start_with() {
    let folder = tempfile::tempdir().unwrap();
    let good = check(&config(folder.path())).await;
    assert_eq!(good["ok"], true, "{good}");

    let mut wrong = config(folder.path());
    wrong.schedules.0.insert("maintenance.prune".into(), PlanText { cron: Some("x".into()), ..PlanText::default() });
    let said = check(&wrong).await;
    assert!(said["ok"] == false && said["says"].as_str().unwrap().contains("maintenance.prune"), "{said}");

    let mut wrong = config(folder.path());
    wrong.fanout.endpoints = vec![acme()];
    let said = check(&wrong).await;
    assert!(said["ok"] == false && said["says"].as_str().unwrap().contains("ACME_SECRET"), "{said}");
}

#[tokio::test]
async fn a_plan_for_a_schedule_whose_integration_is_off_keeps_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut hourly = config(folder.path());
    hourly.schedules.0.insert("reconcile.stripe".into(), PlanText { every: Some("1h".into()), ..PlanText::default() });
    // No `STRIPE_SECRET_KEY`: an operator's shell, or Stripe switched off for a while.
    assert_eq!(open(&hourly).await.scheduler.declared(), 3);
    hourly.schedules.0.insert("reconcile.strip".into(), PlanText::default());
    let clock = Clock::manual(Timestamp::from_ms(0));
    let refused = Wiring::open(&hourly, &|_| None, clock, Entropy::seeded(5)).await.unwrap_err();
    assert!(refused.to_string().contains("reconcile.strip`"), "{refused}");
}

#[tokio::test]
async fn processes_that_start_together_on_an_empty_folder_all_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    tokio::join!(open(&config), open(&config), open(&config), open(&config));
}

#[test]
fn a_check_shows_declared_endpoints_without_the_values_of_their_headers() {
    let texts = |name: &str, text: &str| [(name.to_owned(), text.to_owned())].into();
    let mut config = Config::default();
    let (headers, headers_env) = (texts("X-Key", "s3cret"), texts("Authorization", "ACME_TOKEN"));
    config.fanout.endpoints = vec![EndpointConfig { headers, headers_env, ..acme() }];
    let shown = tidemill_jobs::inspection::settings(&config, &|_| Some("t0ken".to_owned())).unwrap();
    let endpoints = &shown.iter().find(|setting| setting.name == "fanout.endpoints").unwrap().value;
    assert!(endpoints.contains("X-Key") && endpoints.contains("ACME_TOKEN"), "{endpoints}");
    assert!(
        shown.iter().all(|setting| !setting.value.contains("s3cret") && !setting.value.contains("t0ken")),
        "{shown:?}"
    );
}
