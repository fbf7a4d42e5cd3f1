//! `market.poll`: from the source into `market_data`, and what readers get when the source fails.

use std::time::Duration;

use tidemill::job::{JobKind, RetryPolicy};
use tidemill_jobs::fakes::gpu_market::{FakeModel, Market, Quirks, start};
use tidemill_jobs::fakes::{Fake, Trouble};
use tidemill_jobs::handlers::market_poll::{MarketPoll, PLATFORM, Report, poll};
use tidemill_jobs::store::market::{self, NoData};

use crate::rig::{NOON, Outside, Rig, decided, noon};

const MINUTE: Duration = Duration::from_secs(60);

async fn rig() -> (Fake<Market>, Rig) {
    let clock = noon();
    let fake = start(0, clock.clone()).await.unwrap();
    let rig = Rig::new(clock, Outside::default().market(&fake)).await;
    (fake, rig)
}

impl Rig {
    async fn poll(&self) -> Result<Report, (&'static str, String)> {
        poll(&self.app, self.clock.now()).await.map_err(decided)
    }

    async fn latest(&self) -> Result<market::Latest, NoData> {
        market::latest(&self.app.db, PLATFORM, self.clock.now()).await
    }
}

#[tokio::test]
async fn a_poll_keeps_normalised_rows() {
    let (_fake, rig) = rig().await;
    let report = rig.poll().await.unwrap();
    assert_eq!((report.kept, report.unchanged, report.rejected.len()), (4, false, 0));
    let latest = rig.latest().await.unwrap();
    assert!(!latest.stale);
    let row = latest.readings.iter().find(|r| r.gpu_model == "RTX 4090").unwrap();
    assert_eq!((row.platform.as_str(), row.region.as_str(), row.total), ("vast.ai", "global", 4446));
    assert_eq!(row.utilization.unwrap().to_string(), "0.9388", "4174 of 4446");
    assert_eq!(row.price.unwrap().to_string(), "0.39");
    let empty = latest.readings.iter().find(|r| r.gpu_model == "GTX 1070").unwrap();
    assert_eq!((empty.price, empty.utilization, empty.total), (None, None, 0));
}

#[tokio::test]
async fn the_second_poll_asks_conditionally_and_keeps_nothing_twice() {
    let (fake, rig) = rig().await;
    rig.poll().await.unwrap();
    rig.clock.advance(MINUTE * 15);
    let report = rig.poll().await.unwrap();
    assert!(report.unchanged);
    assert_eq!((fake.state.not_modified(), rig.count("market_data").await), (1, 4));
    let fresh = market::freshness(&rig.app.db, PLATFORM).await.unwrap();
    assert_eq!(fresh.confirmed_at, Some(rig.clock.now()));
}

#[tokio::test]
async fn the_same_figures_again_replace_their_rows() {
    let (fake, rig) = rig().await;
    rig.poll().await.unwrap();
    // Same time of observation, another price: the source has corrected itself.
    fake.state.set(vec![FakeModel::new("RTX 4090", 1, 1, 45)]);
    rig.poll().await.unwrap();
    assert_eq!(rig.count("market_data").await, 4);
    let latest = rig.latest().await.unwrap();
    let row = latest.readings.iter().find(|r| r.gpu_model == "RTX 4090").unwrap();
    assert_eq!(row.price.unwrap().to_string(), "0.45");
}

#[tokio::test]
async fn after_the_rows_are_gone_the_etag_is_not_used() {
    let (_fake, rig) = rig().await;
    rig.poll().await.unwrap();
    market::prune(&rig.app.db, NOON.after(MINUTE), 100).await.unwrap();
    let report = rig.poll().await.unwrap();
    assert_eq!((report.unchanged, rig.count("market_data").await), (false, 4));
}

#[tokio::test]
async fn when_the_source_fails_the_last_good_data_is_served_for_four_hours_marked_stale() {
    let (fake, rig) = rig().await;
    rig.poll().await.unwrap();
    fake.state.moods.always(Some(Trouble::Status(503)));
    rig.clock.advance(MINUTE * 15);
    let (word, text) = rig.poll().await.unwrap_err();
    assert_eq!(word, "retry", "{text}");
    let fresh = market::freshness(&rig.app.db, PLATFORM).await.unwrap();
    assert_eq!((fresh.failing_since, fresh.failures), (Some(rig.clock.now()), 1));
    assert!(rig.latest().await.unwrap().stale, "failing means stale, however young");

    rig.clock.set(NOON.after(MINUTE * 240));
    let last = rig.latest().await.unwrap();
    assert_eq!((last.observed_at, last.readings.len(), last.stale), (NOON, 4, true));
    rig.clock.advance(Duration::from_millis(1));
    let error = rig.latest().await.unwrap_err();
    assert!(matches!(error, NoData::TooOld { .. }));
    assert!(error.to_string().contains("240 min old"), "{error}");
}

#[tokio::test]
async fn a_source_that_recovers_is_fresh_again() {
    let (fake, rig) = rig().await;
    fake.state.moods.script([Trouble::Status(500), Trouble::Garbled]);
    for _ in 0..2 {
        rig.poll().await.unwrap_err();
    }
    assert!(matches!(rig.latest().await.unwrap_err(), NoData::Never(_)));
    rig.poll().await.unwrap();
    let fresh = market::freshness(&rig.app.db, PLATFORM).await.unwrap();
    assert_eq!((fresh.failing_since, fresh.failures), (None, 0));
    assert!(!rig.latest().await.unwrap().stale);
}

#[tokio::test]
async fn figures_that_make_no_sense_are_refused_and_good_ones_beside_them_kept() {
    let (fake, rig) = rig().await;
    fake.state.set(vec![
        FakeModel::new("RTX 4090", 10, 10, 39),
        FakeModel::new("GOLD 1", 10, 10, 2_000_000),
        FakeModel::new("", 1, 1, 1),
        FakeModel::new("RTX 4090", 99, 1, 1),
    ]);
    let report = rig.poll().await.unwrap();
    assert_eq!((report.kept, report.rejected.len()), (1, 3), "{:?}", report.rejected);
    assert!(report.rejected[0].contains("GOLD 1: a price of"), "{:?}", report.rejected);

    fake.state.set(Vec::new());
    assert_eq!(rig.poll().await.unwrap_err().0, "dead");
    fake.state.quirks(Quirks { url: "/offers".to_owned(), ..Quirks::default() });
    assert_eq!(rig.poll().await.unwrap_err().0, "dead");
    assert_eq!(market::freshness(&rig.app.db, PLATFORM).await.unwrap().failures, 2);
}

#[tokio::test]
async fn figures_from_the_future_are_refused() {
    let (fake, rig) = rig().await;
    rig.clock.advance(MINUTE * 10);
    fake.state.set(vec![FakeModel::new("RTX 4090", 10, 10, 39)]);
    rig.clock.set(NOON);
    let (word, text) = rig.poll().await.unwrap_err();
    assert!(word == "dead" && text.contains("from the future"), "{word}: {text}");
}

#[tokio::test]
async fn without_an_address_a_poll_is_dead_and_says_what_to_set() {
    let rig = Rig::new(noon(), Outside::default()).await;
    let (word, text) = rig.poll().await.unwrap_err();
    assert!(word == "dead" && text.contains("GPU_MARKET_URL"), "{word}: {text}");
}

#[test]
fn a_failed_poll_waits_1_2_4_8_16_seconds_and_has_at_most_five_attempts() {
    let RetryPolicy::List { delays, jitter } = MarketPoll::retry_policy() else { panic!("a list is promised") };
    assert_eq!(delays, [1, 2, 4, 8, 16].map(Duration::from_secs));
    assert_eq!((jitter, MarketPoll::MAX_ATTEMPTS), (0.0, 5));
}

#[test]
fn a_payload_with_an_unknown_field_is_none() {
    assert!(serde_json::from_str::<MarketPoll>("{}").is_ok());
    assert!(serde_json::from_str::<MarketPoll>(r#"{"every":1}"#).is_err());
}
