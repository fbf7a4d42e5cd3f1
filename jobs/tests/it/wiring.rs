//! What opening the parts does to stores that somebody else runs on: nothing.

use std::path::Path;

use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::config::Config;
use tidemill::config::fanout::EndpointConfig;
use tidemill::fanout::PageRequest;
use tidemill::fanout::endpoints::{self, EndpointState};
use tidemill_jobs::wiring::Wiring;

const SECRET: &str = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";

fn config(folder: &Path) -> Config {
    Config { data_dir: folder.to_owned(), ..Config::default() }.complete().unwrap()
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
    served.fanout.endpoints = vec![EndpointConfig {
        tenant: "acme".into(),
        url: "https://example.com/hooks".into(),
        event_types: vec!["*".into()],
        secret_env: "ACME_SECRET".into(),
        description: String::new(),
    }];
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
