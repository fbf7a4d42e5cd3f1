//! Enqueues that come at the same time share a call, and nobody pays for another's mistake.

use std::time::Duration;

use futures_util::future::join_all;
use tidemill::job::JobState;
use tidemill::store::{Enqueued, StoreError};
use tidemill_testkit::{Direction, Mode, Proxy, RedisServer};

use super::{Site, audit, counted};

/// A server whose answers can be held back, and a store on it.
struct Stage {
    server: RedisServer,
    proxy: Proxy,
    site: Site,
    store: std::sync::Arc<dyn tidemill::store::Store>,
}

impl Stage {
    async fn new() -> Self {
        let server = RedisServer::start();
        let proxy = Proxy::to_port(server.port());
        let site = Site::new(format!("redis://127.0.0.1:{}", proxy.port()));
        let store = site.open().await;
        // The script is loaded now, so that what is counted later are calls.
        super::put(&store, site.jobs(1)).await;
        Self { server, proxy, site, store }
    }

    fn calls(&self) -> u64 {
        let stat = self.server.info("cmdstat_evalsha").expect("calls are counted");
        stat.split("calls=").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok()).expect("a number")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_enqueues_at_once_need_a_handful_of_calls() {
    let stage = Stage::new().await;
    let before = stage.calls();
    stage.proxy.set(Mode::Delay(Duration::from_millis(20)));
    let batches: Vec<_> = (0..100).map(|_| stage.site.jobs(1)).collect();
    let answers = join_all(batches.iter().map(|jobs| stage.store.enqueue(jobs.clone()))).await;
    for (jobs, answer) in batches.iter().zip(answers) {
        assert_eq!(answer.expect("enqueue"), [Enqueued::Inserted(jobs[0].id)], "each hears of its own job");
    }
    assert!(stage.calls() - before <= 5, "{} calls", stage.calls() - before);
    assert_eq!(counted(&stage.store, JobState::Ready).await, 101);
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_refused_takes_nobody_elses_job_with_it() {
    let stage = Stage::new().await;
    stage.proxy.set(Mode::Delay(Duration::from_millis(20)));
    let mut batches: Vec<_> = (0..20).map(|_| stage.site.jobs(2)).collect();
    batches[7][1].spec.queue = "nowhere".parse().expect("a name");
    let answers = join_all(batches.iter().map(|jobs| stage.store.enqueue(jobs.clone()))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(kept) => assert!(n != 7 && kept.iter().all(|one| one.is_new()), "{n}: {kept:?}"),
            Err(error) => assert!(n == 7 && matches!(error, StoreError::NoSuchQueue(_)), "{n}: {error}"),
        }
    }
    assert_eq!(counted(&stage.store, JobState::Ready).await, 1 + 19 * 2, "and of the refused batch nothing was kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_passes_its_turn_on() {
    let stage = Stage::new().await;
    stage.proxy.set(Mode::Hold(Direction::Down));
    let batches: Vec<_> = (0..5).map(|_| stage.site.jobs(1)).collect();
    let mut calls: Vec<_> = batches.iter().map(|jobs| Box::pin(stage.store.enqueue(jobs.clone()))).collect();
    for call in &mut calls {
        assert!(futures_util::poll!(call).is_pending());
    }
    // The two that are under way are given up; the three that wait for them must not wait for ever.
    calls.drain(..2);
    stage.proxy.set(Mode::Pass);
    for answer in join_all(calls).await {
        assert!(answer.expect("enqueue")[0].is_new());
    }
}
