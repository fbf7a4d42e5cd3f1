//! How many endpoints a tenant may have, whoever adds them: calls and the configuration, in several processes at once.

use tidemill::clock::Entropy;
use tidemill::config::fanout::{EndpointConfig, FanoutConfig};
use tidemill::data::Database;
use tidemill::fanout::endpoints::{self, EndpointError, NewEndpoint};
use tidemill::fanout::{DeclareError, FanoutState, PageRequest, check_declared, declare};

use super::stage::{Stage, config, sealer};

fn new(n: usize) -> NewEndpoint {
    let (tenant, url) = ("acme".into(), format!("http://127.0.0.1:9/{n}"));
    NewEndpoint { tenant, url, event_types: vec!["*".into()], ..NewEndpoint::default() }
}

fn declared(n: usize) -> EndpointConfig {
    let url = format!("http://127.0.0.1:9/declared/{n}");
    EndpointConfig { tenant: "acme".into(), url, secret_env: "HOOK_SECRET".into(), ..EndpointConfig::default() }
}

fn secret(_: &str) -> Option<String> {
    Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned())
}

fn at_most(max_endpoints: u64, of_config: usize) -> FanoutConfig {
    FanoutConfig { max_endpoints, endpoints: (0..of_config).map(declared).collect(), ..config() }
}

/// The same file in another process.
async fn elsewhere(stage: &Stage, config: FanoutConfig, seed: u64) -> FanoutState {
    let db = Database::open(&stage.folder().join("data.db")).await.unwrap();
    FanoutState::new(db, config, sealer(1), stage.clock.clone(), Entropy::seeded(seed)).unwrap()
}

async fn count(stage: &Stage) -> usize {
    endpoints::list(stage.state.db(), Some("acme"), &PageRequest { cursor: None, limit: 200 })
        .await
        .unwrap()
        .items
        .len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_and_configurations_at_once_leave_no_more_than_there_may_be() {
    for round in 0..5 {
        let stage = Stage::new().await;
        let (one, two) = (elsewhere(&stage, at_most(6, 0), 11).await, elsewhere(&stage, at_most(6, 0), 12).await);
        let starting = elsewhere(&stage, at_most(6, 2), 13).await;
        let add = (0..16).map(|n| endpoints::create(if n % 2 == 0 { &one } else { &two }, new(n)));
        let all = async { futures_util::future::join_all(add).await };
        let (made, kept) = tokio::join!(all, declare(&starting, secret));
        let mut added = 0;
        for done in made {
            match done {
                Ok(_) => added += 1,
                Err(EndpointError::TooManyEndpoints { tenant, limit }) => assert_eq!((&*tenant, limit), ("acme", 6)),
                Err(other) => panic!("{other}"),
            }
        }
        // What is declared comes in whole, or not at all.
        let declared = match kept {
            Ok(()) => 2,
            Err(DeclareError::Endpoint { source: EndpointError::TooManyEndpoints { .. }, .. }) => 0,
            Err(other) => panic!("{other}"),
        };
        assert_eq!((count(&stage).await, added + declared), (6, 6), "round {round}");
    }
}

#[tokio::test]
async fn a_configuration_with_too_many_is_refused_whole_by_name_also_beside_others() {
    let stage = Stage::new().await;
    let state = stage.again(at_most(2, 3));
    assert!(matches!(check_declared(&state, secret), Err(DeclareError::Endpoint { index: 2, .. })));
    let error = declare(&state, secret).await.unwrap_err();
    assert!(error.to_string().starts_with("fanout.endpoints[2]: tenant `acme` has 2 endpoints"), "{error}");
    assert_eq!(count(&stage).await, 0);

    endpoints::create(&stage.state, new(0)).await.unwrap();
    let error = declare(&stage.again(at_most(2, 2)), secret).await.unwrap_err();
    assert!(matches!(error, DeclareError::Endpoint { index: 1, .. }), "{error}");
    assert_eq!(count(&stage).await, 1, "the first of them was not kept either");
    declare(&stage.again(at_most(3, 2)), secret).await.unwrap();
    assert_eq!(count(&stage).await, 3);
    // Those that stand there already are kept under a lower limit.
    declare(&stage.again(at_most(2, 2)), secret).await.unwrap();
    assert!(matches!(
        endpoints::create(&stage.again(at_most(2, 0)), new(1)).await,
        Err(EndpointError::TooManyEndpoints { .. })
    ));
}
