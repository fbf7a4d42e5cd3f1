//! Sentinel: a handle follows the master. What was acknowledged and had reached a replica is there; the master of
//! yesterday is never written.

use std::sync::Arc;

use tidemill::job::JobState;
use tidemill::store::{Durability, Settled, Settlement, Store, StoreError};
use tidemill_testkit::{RedisServer, SentinelSettings, Sentinels};

use super::tour::tour;
use super::{BOUNDED, Site, all, at_last, claim, put, unavailable};
use crate::conformance::rig::{MS, PATIENCE, complete};

/// All that was acknowledged so far has reached both replicas.
fn replicated(master: &RedisServer) {
    let offset = |line: &str| line.split("offset=").nth(1)?.split(',').next()?.parse::<u64>().ok();
    tidemill_testkit::eventually("the replicas to have it all", PATIENCE, || {
        let sent: u64 = master.info("master_repl_offset")?.parse().ok()?;
        let reached = |n: usize| offset(&master.info(&format!("slave{n}"))?);
        (reached(0)? >= sent && reached(1)? >= sent).then_some(())
    });
}

/// How many scripts a server has run by call (not by replication) since it started.
fn scripts_run(server: &RedisServer) -> u64 {
    let line = server.info("cmdstat_evalsha").unwrap_or_default();
    line.strip_prefix("calls=").and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_follows_a_failover_and_leaves_the_old_master_alone() {
    let set = Sentinels::start_with(SentinelSettings { password: Some("word".into()), ..Default::default() });
    let site = Site::in_real_time(set.url());
    let store = site.open().await;
    let promise = store.health().await.expect("health").promise;
    assert!(promise.contains("2 replicas"), "{promise}");
    let worker = site.worker(&store).await;
    site.beat(&store, worker, PATIENCE * 10).await.expect("beat");
    let ids = put(&store, site.jobs(50)).await;
    let claimed = claim(&store, worker, 10).await.expect("claim");
    let old = set.master();
    replicated(old);
    old.kill();
    let begin = std::time::Instant::now();
    let jobs = site.jobs(5);
    at_last("enqueue", || store.enqueue(jobs.clone())).await;
    println!("enqueued again {:?} after the master was killed", begin.elapsed());
    assert_ne!(set.master().port(), old.port());
    let batch: Arc<[_]> = claimed.into_iter().map(|c| Settlement { lease: c.lease, verdict: complete() }).collect();
    let settled = at_last("settle", || store.settle(batch.clone())).await;
    assert!(settled.iter().all(|one| *one == Settled::Accepted(JobState::Completed)), "{settled:?}");
    assert_eq!(all(&store).await, ids.into_iter().chain(jobs.iter().map(|job| job.id)).collect());

    old.restart();
    let stay = async {
        while old.info("role").as_deref() != Some("slave") {
            put(&store, site.jobs(1)).await;
            tokio::time::sleep(MS * 100).await;
        }
    };
    tokio::time::timeout(PATIENCE * 2, stay).await.expect("the old master follows");
    set.wait_until_replica(old, PATIENCE);
    tour(&site, &store).await;
    assert_eq!(scripts_run(old), 0, "nobody spoke to the old master");
    let direct = Site::new(old.url()).refused(Durability::Everysec).await;
    assert!(direct.to_string().contains("replica"), "{direct}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hangs_and_comes_back_takes_no_acknowledged_write_with_it() {
    // Redis' own guard against two masters; without it a master that comes back takes writes until it is told.
    let lines = vec!["min-replicas-to-write 1".to_owned(), "min-replicas-max-lag 10".to_owned()];
    let set = Sentinels::start_with(SentinelSettings { lines, ..Default::default() });
    let site = Site::in_real_time(set.url());
    let store = site.open().await;
    put(&store, site.jobs(10)).await;
    let old = set.master();
    replicated(old);
    old.stop();
    // Nothing is asked meanwhile: the handle still holds its connection to the old master.
    tokio::task::block_in_place(|| set.wait_for_new_master(old, PATIENCE));
    old.cont();
    let jobs = site.jobs(5);
    let kept = at_last("enqueue", || store.enqueue(jobs.clone())).await;
    assert!(kept.iter().zip(&jobs).all(|(kept, job)| kept.job() == job.id));
    tokio::task::block_in_place(|| set.wait_until_replica(old, PATIENCE * 2));
    let there = at_last("list", async || Ok::<_, StoreError>(there(&store, &jobs).await?)).await;
    assert_eq!(there, jobs.len(), "acknowledged, so it is on the new master");
}

async fn there(store: &Arc<dyn Store>, jobs: &[tidemill::store::NewJob]) -> Result<usize, StoreError> {
    let mut there = 0;
    for job in jobs {
        there += usize::from(store.get(job.id).await?.is_some());
    }
    Ok(there)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_while_the_master_is_well_is_noticed_and_loses_little() {
    let set = Sentinels::start();
    let site = Site::in_real_time(set.url());
    let store = site.open().await;
    let old = set.master();
    put(&store, site.jobs(1)).await;
    replicated(old);
    set.fail_over();
    // The old master is told some ten seconds later, and takes writes till then: a handle must not wait for that.
    let (mut jobs, mut switched) = (Vec::new(), None);
    let new = loop {
        let batch = site.jobs(1);
        at_last("enqueue", || store.enqueue(batch.clone())).await;
        jobs.extend(batch);
        let named = set.master();
        if named.port() != old.port() {
            let since = *switched.get_or_insert_with(std::time::Instant::now);
            assert!(since.elapsed() < BOUNDED, "it still writes to the old master");
            if scripts_run(named) > 0 {
                println!("{:?} after the switch it writes to the new master", since.elapsed());
                break named;
            }
        }
        tokio::time::sleep(MS * 10).await;
    };
    assert_eq!(new.info("role").as_deref(), Some("master"));
    // Redis answers before its replicas have a write. Whoever can't bear that asks again, with the same ids.
    let kept = at_last("enqueue", || store.enqueue(jobs.clone())).await;
    let lost = kept.iter().filter(|kept| kept.is_new()).count();
    println!("{lost} of {} acknowledged jobs had not reached the new master", jobs.len());
    tokio::task::block_in_place(|| set.wait_until_replica(old, PATIENCE));
    assert_eq!(all(&store).await.len(), 1 + jobs.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_made_a_replica_under_a_handle_takes_nothing_and_serves_again_as_master() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let site = Site::new(server.url());
    let store = site.open().await;
    put(&store, site.jobs(1)).await;
    // So that it can follow without losing what it has.
    other.command::<String>(&["REPLICAOF", "127.0.0.1", &server.port().to_string()]);
    tidemill_testkit::eventually("the copy", PATIENCE, || {
        (other.info("master_link_status").as_deref() == Some("up")).then_some(())
    });
    other.command::<String>(&["REPLICAOF", "NO", "ONE"]);
    server.command::<String>(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    let jobs = site.jobs(2);
    for _ in 0..3 {
        unavailable("enqueue on a replica", store.enqueue(jobs.clone())).await;
    }
    server.command::<String>(&["REPLICAOF", "NO", "ONE"]);
    at_last("enqueue", || store.enqueue(jobs.clone())).await;
    assert_eq!(all(&store).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sentinel_that_hangs_does_not_keep_anybody_out() {
    let set = Sentinels::start();
    set.stop_sentinel(0);
    let site = Site::new(set.url());
    let store = at_last("open", || site.try_open(Durability::Everysec)).await;
    put(&store, site.jobs(1)).await;
    set.cont_sentinel(0);
}
