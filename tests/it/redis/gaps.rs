//! A network that delays, slices, holds, swallows or refuses: calls end in bounded time, and the same handle goes on when
//! it is well again.

use std::time::Duration;

use tidemill::job::JobState;
use tidemill_testkit::{Direction, Mode, Proxy, RedisServer};

use super::tour::tour;
use super::{Site, at_last, counted, put, unavailable};
use crate::conformance::rig::{MS, PATIENCE, work};

async fn after(trouble: Mode) {
    let server = RedisServer::start();
    let proxy = Proxy::to_port(server.port());
    let site = Site::new(format!("redis://127.0.0.1:{}", proxy.port()));
    let store = site.open().await;
    let worker = site.worker(&store).await;
    put(&store, site.jobs(1)).await;
    proxy.set(trouble);
    let jobs = site.jobs(3);
    let queue = work();
    tokio::join!(
        unavailable("enqueue", store.enqueue(jobs.clone())),
        unavailable("a beat", site.beat(&store, worker, PATIENCE)),
        unavailable("the counts", store.counts()),
    );
    unavailable("a waiting claim", store.claim(&queue, worker, 1, PATIENCE)).await;
    unavailable("enqueue without a connection", store.enqueue(jobs.clone())).await;
    proxy.set(Mode::Pass);
    at_last("enqueue", || store.enqueue(jobs.clone())).await;
    assert_eq!(counted(&store, JobState::Ready).await + counted(&store, JobState::Running).await, 4, "each once");
    store.purge(&queue, 100).await.expect("purge");
    let claimed = super::claim(&store, worker, 10).await.expect("claim");
    for claimed in claimed {
        store
            .settle(crate::conformance::rig::batch(claimed, crate::conformance::rig::complete()))
            .await
            .expect("settle");
    }
    tour(&site, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_given_up_and_replaced() {
    after(Mode::Hold(Direction::Both)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_is_one_whose_replies_alone_stay_away() {
    after(Mode::Hold(Direction::Down)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_is_left() {
    after(Mode::Swallow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_is_asked_again() {
    after(Mode::Refuse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_and_single_bytes_change_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::to_port(server.port());
    let site = Site::new(format!("redis://127.0.0.1:{}", proxy.port()));
    let store = site.open().await;
    for mode in [Mode::Delay(MS * 30), Mode::Slice(1), Mode::Slice(7)] {
        proxy.set(mode);
        tour(&site, &store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_up_that_got_lost_costs_a_waiting_claim_about_a_second() {
    let server = RedisServer::start();
    let proxy = Proxy::to_port(server.port());
    let (near, far) = (Site::new(server.url()), Site::new(format!("redis://127.0.0.1:{}", proxy.port())));
    let (store, distant) = (near.open().await, far.open().await);
    let worker = far.worker(&distant).await;
    let queue = work();
    let claim = distant.claim(&queue, worker, 1, PATIENCE);
    let (claimed, begin) = tokio::join!(claim, async {
        // Its question is answered by now or will be; then the message about the job is held back.
        proxy.set(Mode::Hold(Direction::Down));
        let begin = std::time::Instant::now();
        put(&store, near.jobs(1)).await;
        tokio::time::sleep(MS * 300).await;
        proxy.set(Mode::Pass);
        begin
    });
    assert_eq!(claimed.expect("it waits on").len(), 1);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
