//! What the sweep puts right that no walk along the jobs can see: ids, unique keys, numbers, blocks, counters, lost wishes.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill::job::{DeadReason, JobId, JobState};
use tidemill::store::{Enqueued, NewJob, Store, Verdict};
use tidemill_testkit::RedisServer;

use super::{Site, all, audit, claim, put};
use crate::conformance::rig::{LEASE, batch, complete};

struct Stage {
    server: RedisServer,
    site: Site,
    store: Arc<dyn Store>,
    /// One job in each state, and one more that is ready.
    jobs: BTreeSet<JobId>,
}

impl Stage {
    async fn new() -> Self {
        let server = RedisServer::start();
        let site = Site::new(server.url());
        let store = site.open().await;
        let mut jobs = BTreeSet::new();
        jobs.extend(put(&store, site.jobs(4)).await);
        let worker = site.worker(&store).await;
        let mut claimed = claim(&store, worker, 3).await.expect("claim");
        let dead = Verdict::Dead { reason: DeadReason::Permanent, error: "broken".into() };
        for verdict in [complete(), dead] {
            let claimed = claimed.remove(0);
            store.log(claimed.lease.token(), vec!["a line".into()]).await.expect("log");
            store.settle(batch(claimed, verdict)).await.expect("settle");
        }
        let mut later = site.jobs(1);
        later[0].spec = later[0].spec.clone().after(LEASE);
        jobs.extend(put(&store, later).await);
        let cancelled = put(&store, site.jobs(1)).await[0];
        store.cancel(cancelled, "not wanted").await.expect("cancel");
        jobs.insert(cancelled);
        jobs.extend(put(&store, keyed(&site)).await);
        Self { server, site, store, jobs }
    }

    fn delete(&self, keys: &[&str]) {
        for key in keys {
            assert_eq!(self.server.command::<i64>(&["DEL", &format!("{{tidemill}}:{key}")]), 1, "there was no {key}");
        }
    }

    fn size(&self, hash: &str) -> i64 {
        self.server.command(&["HLEN", &format!("{{tidemill}}:{hash}")])
    }

    fn repaired(&self) -> u64 {
        self.server.command::<Option<u64>>(&["HGET", "{tidemill}:gauges", "repaired"]).unwrap_or(0)
    }

    /// Prunes until there is nothing more to do.
    async fn sweep(&self) {
        for _ in 0..20 {
            if !self.store.prune(1_000).await.expect("prune").more {
                return;
            }
        }
        panic!("there is always something left to repair");
    }
}

fn keyed(site: &Site) -> Vec<NewJob> {
    let mut jobs = site.jobs(1);
    jobs[0].spec = jobs[0].spec.clone().unique("one");
    jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_laid_hands_nothing_is_put_right() {
    let stage = Stage::new().await;
    stage.sweep().await;
    assert_eq!(all(&stage.store).await, stage.jobs);
    assert_eq!(stage.repaired(), 0);
    let (site, store) = (&stage.site, &stage.store);
    let worker = site.worker(store).await;
    for claimed in claim(store, worker, 10).await.expect("claim") {
        store.settle(batch(claimed, complete())).await.expect("settle");
    }
    site.clock.advance(LEASE * 100_000);
    store.rescue(100).await.expect("rescue");
    store.promote(100).await.expect("promote");
    stage.sweep().await;
    assert_eq!(stage.repaired(), 0, "and all that life does leaves nothing either");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_ids_name_their_jobs_again() {
    let stage = Stage::new().await;
    stage.delete(&["ids"]);
    stage.sweep().await;
    for job in &stage.jobs {
        assert!(stage.store.get(*job).await.expect("get").is_some());
    }
    assert_eq!(stage.repaired(), stage.jobs.len() as u64);
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_jobs_without_a_head_nothing_is_left_to_stand_in_the_way() {
    let stage = Stage::new().await;
    stage.delete(&["head"]);
    stage.sweep().await;
    for hash in ["ids", "body", "more", "keys", "block_jobs"] {
        assert_eq!(stage.size(hash), 0, "{hash}");
    }
    let lists: Vec<String> = stage.server.command(&["KEYS", "{tidemill}:[fle][aon][igd]*:*"]);
    assert!(lists.is_empty(), "failures, lines and ends went with their jobs: {lists:?}");
    audit(&stage.store).await;
    let kept = stage.store.enqueue(keyed(&stage.site)).await.expect("enqueue")[0];
    assert!(kept.is_new(), "the key is free: {kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_last_number_is_given_to_no_second_job() {
    let mut stage = Stage::new().await;
    for _ in 0..2 {
        stage.delete(&["seq"]);
        stage.jobs.extend(put(&stage.store, stage.site.jobs(3)).await);
        assert_eq!(all(&stage.store).await, stage.jobs);
    }
    audit(&stage.store).await;
    stage.sweep().await;
    assert_eq!(stage.repaired(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_deleted_blocks_are_listed_again() {
    let stage = Stage::new().await;
    stage.delete(&["blocks", "block_jobs"]);
    assert!(all(&stage.store).await.is_empty(), "the list follows the blocks");
    stage.sweep().await;
    assert_eq!(all(&stage.store).await, stage.jobs);
    for job in all(&stage.store).await {
        let _ = stage.store.cancel(job, "make an end").await;
        let _ = stage.store.delete(job).await;
    }
    assert_eq!(all(&stage.store).await.len(), 1, "all but the running one, and its block is still known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_counters_are_counted_again() {
    let stage = Stage::new().await;
    stage.delete(&["counts"]);
    stage.sweep().await;
    audit(&stage.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_job_holds_its_deleted_unique_key_again() {
    let stage = Stage::new().await;
    stage.delete(&["keys"]);
    stage.sweep().await;
    let kept = stage.store.enqueue(keyed(&stage.site)).await.expect("enqueue")[0];
    assert!(matches!(kept, Enqueued::Duplicate(holder) if stage.jobs.contains(&holder)), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_wish_to_stop_is_told_all_the_same() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    let worker = site.worker(store).await;
    let running = claim(store, worker, 1).await.expect("claim").remove(0).lease.token();
    store.cancel(running.job, "stop").await.expect("cancel");
    let deleted = "for _, key in ipairs(redis.call('KEYS', '*stop:*')) do redis.call('DEL', key) end";
    stage.server.command::<()>(&["EVAL", deleted, "0"]);
    assert!(site.beat(store, worker, LEASE).await.expect("beat").cancel.is_empty());
    stage.sweep().await;
    assert_eq!(site.beat(store, worker, LEASE).await.expect("beat").cancel, [running]);
    assert_eq!(store.get(running.job).await.expect("get").map(|job| job.state), Some(JobState::Running));
}
