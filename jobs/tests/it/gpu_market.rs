//! The GPU market's client against its fake.

use std::time::Duration;

use tidemill_jobs::clients::Meaning;
use tidemill_jobs::clients::gpu_market::{Fetched, GpuMarket, GpuStats};
use tidemill_jobs::fakes::gpu_market::{FakeModel, Market, Quirks, start};
use tidemill_jobs::fakes::{Fake, Trouble};

use crate::rig::{NOON, Outside, assert_permanent, assert_retryable, noon};

async fn fake() -> (Fake<Market>, GpuMarket) {
    let fake = start(0, noon()).await.unwrap();
    let config = Outside::default().market(&fake).config().gpu_market.unwrap();
    let client = GpuMarket::new(&config, noon()).unwrap();
    (fake, client)
}

async fn changed(client: &GpuMarket) -> (Option<String>, GpuStats) {
    match client.gpu_stats(None).await.unwrap() {
        Fetched::Changed { etag, stats } => (etag, stats),
        Fetched::Unchanged => panic!("asked without an ETag"),
    }
}

#[tokio::test]
async fn figures_come_with_exact_prices_and_without_where_nothing_is_on_offer() {
    let (_fake, client) = fake().await;
    let (_, stats) = changed(&client).await;
    assert_eq!(stats.observed_at(), NOON);
    let first = &stats.models[0];
    assert_eq!((first.name.as_str(), first.stats.all.all.count), ("RTX 4090", 4446));
    assert_eq!(first.stats.all.all.price_median.unwrap().0.to_string(), "0.39");
    let empty = stats.models.iter().find(|m| m.name == "GTX 1070").unwrap();
    assert_eq!(empty.stats.all.all.price_median, None);
}

#[tokio::test]
async fn statistics_as_objects_read_like_one_element_arrays_and_null_like_absent() {
    let (fake, client) = fake().await;
    let (_, arrays) = changed(&client).await;
    fake.state.quirks(Quirks { arrays: false, ..Quirks::default() });
    let (_, objects) = changed(&client).await;
    assert_eq!(arrays, objects);
    fake.state.quirks(Quirks { null_percentiles: true, ..Quirks::default() });
    let (_, nulls) = changed(&client).await;
    assert_eq!(nulls.models[0].stats.all.all.price_90th_percentile, None);
    assert!(nulls.models[0].stats.all.all.price_median.is_some());
}

#[tokio::test]
async fn what_is_known_by_its_etag_is_not_sent_again() {
    let (fake, client) = fake().await;
    let (etag, _) = changed(&client).await;
    assert_eq!(client.gpu_stats(etag.as_deref()).await.unwrap(), Fetched::Unchanged);
    assert_eq!(fake.state.not_modified(), 1);
    fake.state.set(vec![FakeModel::new("RTX 5090", 1, 1, 60)]);
    assert!(matches!(client.gpu_stats(etag.as_deref()).await.unwrap(), Fetched::Changed { .. }));
}

#[tokio::test]
async fn a_body_that_says_it_is_something_else_is_not_believed() {
    let (fake, client) = fake().await;
    fake.state.quirks(Quirks { url: "/gpu-stats/v2".to_owned(), ..Quirks::default() });
    let error = client.gpu_stats(None).await.unwrap_err();
    assert_permanent(&error);
    assert!(error.to_string().contains("/gpu-stats/v2"), "{error}");
}

#[tokio::test]
async fn refusals_are_retryable_with_the_wait_that_was_asked_for() {
    let (fake, client) = fake().await;
    let cases = [
        (Trouble::TooManyRequests(None), None),
        (Trouble::TooManyRequests(Some("7")), Some(Duration::from_secs(7))),
        (Trouble::TooManyRequests(Some("Sat, 11 Apr 2026 12:01:00 GMT")), Some(Duration::from_secs(60))),
        (Trouble::TooManyRequests(Some("99999999")), Some(Duration::from_secs(3600))),
        (Trouble::TooManyRequests(Some("soon")), None),
        (Trouble::Status(503), None),
        (Trouble::Status(500), None),
    ];
    for (trouble, after) in cases {
        fake.state.moods.script([trouble.clone()]);
        let error = client.gpu_stats(None).await.unwrap_err();
        assert_eq!(error.meaning, Meaning::Retryable { after }, "{trouble:?}");
    }
    for status in [404, 405, 401, 302, 304] {
        fake.state.moods.script([Trouble::Status(status)]);
        assert_permanent(&client.gpu_stats(None).await.unwrap_err());
    }
}

#[tokio::test]
async fn a_cut_body_is_worth_another_try_and_a_wrong_one_is_not() {
    let (fake, client) = fake().await;
    for trouble in [Trouble::Garbled, Trouble::Truncated] {
        fake.state.moods.script([trouble]);
        assert_retryable(&client.gpu_stats(None).await.unwrap_err());
    }
    fake.state.moods.script([Trouble::WrongShape]);
    assert_permanent(&client.gpu_stats(None).await.unwrap_err());
}

#[tokio::test]
async fn an_endless_body_is_refused_at_the_cap() {
    let (fake, client) = fake().await;
    fake.state.moods.script([Trouble::Oversized(9 * 1024 * 1024)]);
    let error = client.gpu_stats(None).await.unwrap_err();
    assert_permanent(&error);
    assert!(error.detail.contains("longer than 8388608 bytes"), "{error}");
}

#[tokio::test]
async fn a_source_that_is_away_is_retryable() {
    let (fake, client) = fake().await;
    fake.stop().await;
    assert_retryable(&client.gpu_stats(None).await.unwrap_err());
}
