//! Keys that somebody has deleted by hand: nothing panics, loops or blocks the rest, and what can be put back is.

use std::sync::Arc;

use tidemill::job::{JobId, JobState};
use tidemill::store::{Enqueued, ListQuery, Settled, Store, StoreError};
use tidemill_testkit::RedisServer;

use super::{Site, audit, claim, counted, put};
use crate::conformance::rig::{LEASE, MS, batch, complete, work};

struct Stage {
    server: RedisServer,
    site: Site,
    store: Arc<dyn Store>,
}

impl Stage {
    async fn new() -> Self {
        let server = RedisServer::start();
        let site = Site::new(server.url());
        let store = site.open().await;
        Self { server, site, store }
    }

    /// Upkeep goes round until it has seen every job.
    async fn upkeep(&self) {
        for _ in 0..4 {
            // It looks at one block of jobs each half second.
            self.site.clock.advance(MS * 500);
            while self.store.prune(1_000).await.expect("prune").more {}
            while self.store.rescue(1_000).await.expect("rescue").more {}
        }
    }

    fn delete(&self, key: &str) {
        assert_eq!(self.server.command::<i64>(&["DEL", &format!("{{tidemill}}:{key}")]), 1, "there was no {key}");
    }

    /// Deletes all keys that begin so, whatever bytes follow.
    fn delete_all(&self, prefix: &str) -> usize {
        let mut connection = self.server.connection().expect("connect");
        let keys: Vec<Vec<u8>> = self.server.command(&["KEYS", &format!("{{tidemill}}:{prefix}*")]);
        for key in &keys {
            redis::cmd("DEL").arg(key).exec(&mut connection).expect("delete");
        }
        keys.len()
    }

    fn gauge(&self, name: &str) -> u64 {
        self.server.command::<Option<u64>>(&["HGET", "{tidemill}:gauges", name]).unwrap_or(0)
    }

    async fn state(&self, job: JobId) -> Option<JobState> {
        self.store.get(job).await.expect("get").map(|job| job.state)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_and_scheduled_jobs_torn_out_of_their_queues_are_put_back() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    let ready = put(store, site.jobs(3)).await;
    let mut later = site.jobs(2);
    for job in &mut later {
        job.spec = job.spec.clone().after(LEASE);
    }
    put(store, later).await;
    assert_eq!(stage.delete_all("ready:"), 1);
    stage.delete("due:work");
    let worker = site.worker(store).await;
    assert!(claim(store, worker, 10).await.expect("claim").is_empty(), "torn out");
    stage.upkeep().await;
    let repaired = stage.gauge("repaired");
    assert!(repaired >= 5, "and it is counted: {repaired}");
    let claimed = claim(store, worker, 10).await.expect("claim");
    assert_eq!(claimed.iter().map(|c| c.lease.token().job).collect::<Vec<_>>(), ready, "in the order of arrival");
    site.clock.advance(LEASE);
    assert_eq!(store.promote(10).await.expect("promote").promoted, 2);
    audit(store).await;
    stage.upkeep().await;
    assert_eq!(stage.gauge("repaired"), repaired, "nothing is left to repair");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_without_its_lease_keeps_its_living_holder() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    put(store, site.jobs(2)).await;
    let worker = site.worker(store).await;
    let mut claimed = claim(store, worker, 2).await.expect("claim");
    assert_eq!(stage.delete_all("lease:"), 1);
    let settled = store.settle(batch(claimed.remove(0), complete())).await.expect("settle");
    assert_eq!(settled, [Settled::Accepted(JobState::Completed)], "the job itself says who holds it");
    stage.upkeep().await;
    assert!(stage.gauge("repaired") >= 1);
    site.clock.advance(LEASE + MS);
    assert_eq!(store.rescue(100).await.expect("rescue").to_ready, 1, "when it dies its job is found again");
    audit(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_without_lease_and_holder_is_taken_back() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    let id = put(store, site.jobs(1)).await[0];
    let worker = site.worker(store).await;
    let claimed = claim(store, worker, 1).await.expect("claim").remove(0);
    stage.delete_all("lease:");
    site.clock.advance(LEASE + MS);
    let rescued = store.rescue(100).await.expect("rescue");
    assert_eq!(rescued.dead_workers, 1, "{rescued:?}");
    stage.upkeep().await;
    assert_eq!(stage.state(id).await, Some(JobState::Ready));
    assert_eq!(store.get(id).await.expect("get").map(|job| job.crashes), Some(1));
    assert_eq!(store.settle(batch(claimed, complete())).await.expect("settle"), [Settled::LeaseLost]);
    audit(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_whose_name_is_lost_is_known_again_by_its_beat_and_dead_without_one() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    let ids = put(store, site.jobs(2)).await;
    let (alive, gone) = (site.worker(store).await, site.worker(store).await);
    let kept = claim(store, alive, 1).await.expect("claim").remove(0);
    claim(store, gone, 1).await.expect("claim");
    stage.delete("alive");
    stage.upkeep().await;
    for id in &ids {
        assert_eq!(stage.state(*id).await, Some(JobState::Running), "either may beat until its lease is over");
    }
    site.beat(store, alive, LEASE * 10).await.expect("a beat makes it known again");
    site.clock.advance(LEASE);
    stage.upkeep().await;
    assert_eq!(stage.state(ids[1]).await, Some(JobState::Ready), "given to others");
    assert_eq!(store.settle(batch(kept, complete())).await.expect("settle"), [Settled::Accepted(JobState::Completed)]);
    audit(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_jobs_torn_out_of_their_lists_are_pruned_all_the_same() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    put(store, site.jobs(3)).await;
    let worker = site.worker(store).await;
    for claimed in claim(store, worker, 3).await.expect("claim") {
        store.settle(batch(claimed, complete())).await.expect("settle");
    }
    assert_eq!(stage.delete_all("end:"), 1);
    stage.upkeep().await;
    site.clock.advance(LEASE * 10_000);
    assert_eq!(store.prune(100).await.expect("prune").jobs, 3);
    audit(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_without_their_jobs_are_passed_over_and_counted() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    put(store, site.jobs(3)).await;
    let mut later = site.jobs(2);
    for job in &mut later {
        job.spec = job.spec.clone().after(LEASE);
    }
    put(store, later).await;
    stage.delete("head");
    let new = put(store, site.jobs(1)).await;
    site.clock.advance(LEASE);
    store.promote(10).await.expect("promote");
    let worker = site.worker(store).await;
    let claimed = claim(store, worker, 10).await.expect("claim");
    assert_eq!(claimed.iter().map(|c| c.lease.token().job).collect::<Vec<_>>(), new);
    assert_eq!(stage.gauge("orphans"), 5);
    assert_eq!(counted(store, JobState::Ready).await, 0);
    assert_eq!(counted(store, JobState::Scheduled).await, 0);
    stage.upkeep().await;
    for state in JobState::ALL {
        let query = ListQuery { state: Some(state), queue: Some(work()), ..ListQuery::default() };
        store.list(query).await.expect("list");
    }
    store.list(ListQuery::default()).await.expect("list");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_entries_without_their_jobs_do_not_stop_a_rescue() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    put(store, site.jobs(3)).await;
    let worker = site.worker(store).await;
    let claimed = claim(store, worker, 3).await.expect("claim");
    stage.delete("head");
    for claimed in claimed {
        assert_eq!(store.settle(batch(claimed, complete())).await.expect("settle"), [Settled::LeaseLost]);
    }
    site.clock.advance(LEASE + MS);
    let rescued = store.rescue(100).await.expect("rescue");
    assert_eq!((rescued.dead_workers, rescued.to_ready, rescued.more), (1, 0, false));
    assert_eq!(stage.gauge("orphans"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_job_whose_payload_is_gone_is_taken_away_with_its_unique_key() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    let keyed = || {
        let mut jobs = site.jobs(1);
        jobs[0].spec = jobs[0].spec.clone().unique("one");
        jobs
    };
    let id = put(store, keyed()).await[0];
    stage.delete("body");
    let worker = site.worker(store).await;
    assert!(claim(store, worker, 1).await.expect("claim").is_empty());
    stage.upkeep().await;
    assert_eq!(stage.state(id).await, None);
    let kept = store.enqueue(keyed()).await.expect("enqueue")[0];
    assert!(matches!(kept, Enqueued::Inserted(_)), "its key is free again: {kept:?}");
    assert_eq!(claim(store, worker, 10).await.expect("claim").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_single_key_is_deleted_nothing_breaks() {
    let stage = Stage::new().await;
    let (site, store) = (&stage.site, &stage.store);
    let all: Vec<Vec<u8>> = {
        super::tour::tour(site, store).await;
        stage.server.command(&["KEYS", "*"])
    };
    assert!(all.len() > 15, "{}", all.len());
    let mut connection = stage.server.connection().expect("connect");
    for key in all {
        put(store, site.jobs(2)).await;
        let worker = site.worker(store).await;
        claim(store, worker, 1).await.expect("claim");
        redis::cmd("DEL").arg(&key).exec(&mut connection).expect("delete");
        let name = String::from_utf8_lossy(&key).into_owned();
        // As at the start of a process.
        store.declare_queues(vec![crate::conformance::rig::settings("work")]).await.expect(&name);
        stage.upkeep().await;
        let fresh = site.jobs(1);
        let kept = store.enqueue(fresh.clone()).await.expect(&name)[0];
        assert_eq!(kept, Enqueued::Inserted(fresh[0].id), "{name}");
        let worker = site.worker(store).await;
        let mine =
            claim(store, worker, 1_000).await.expect(&name).into_iter().find(|c| c.lease.token().job == fresh[0].id);
        let mine = mine.unwrap_or_else(|| panic!("the new job can be claimed without {name}"));
        assert_eq!(
            store.settle(batch(mine, complete())).await.expect(&name),
            [Settled::Accepted(JobState::Completed)],
            "{name}"
        );
        store.promote(100).await.expect(&name);
        store.prune(100).await.expect(&name);
        store.counts().await.expect(&name);
        store.list(ListQuery::default()).await.expect(&name);
        site.clock.advance(LEASE * 2);
        store.rescue(1_000).await.expect(&name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_record_can_not_be_read_is_dead_and_its_neighbour_runs() {
    let stage = Stage::new().await;
    let worker = stage.site.worker(&stage.store).await;
    let ids = put(&stage.store, stage.site.jobs(2)).await;
    // As a newer Tidemill might write it.
    let first = stage.server.command::<Vec<String>>(&["HKEYS", "{tidemill}:body"]).into_iter().min().expect("two jobs");
    let _: i64 = stage.server.command(&["HSET", "{tidemill}:body", &first, "\0\0\x7f"]);
    let claimed = claim(&stage.store, worker, 2).await.expect("claim");
    assert_eq!(claimed.iter().map(|one| one.lease.token().job).collect::<Vec<_>>(), ids[1..]);
    assert_eq!(counted(&stage.store, JobState::Dead).await, 1);
    assert_eq!(counted(&stage.store, JobState::Running).await, 1);
    assert_eq!(counted(&stage.store, JobState::Ready).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_everything_is_told_again_and_its_workers_begin_anew() {
    let stage = Stage::new().await;
    let worker = stage.site.worker(&stage.store).await;
    put(&stage.store, stage.site.jobs(3)).await;
    let held = claim(&stage.store, worker, 1).await.expect("claim").pop().expect("a job");
    let _: String = stage.server.command(&["FLUSHALL"]);
    let new = put(&stage.store, stage.site.jobs(2)).await;
    assert!(matches!(claim(&stage.store, worker, 9).await, Err(StoreError::DeadIncarnation(_))));
    assert!(matches!(stage.site.beat(&stage.store, worker, LEASE).await, Err(StoreError::DeadIncarnation(_))));
    let settled = stage.store.settle(batch(held, complete())).await.expect("settle");
    assert_eq!(settled, [Settled::LeaseLost]);
    let reborn = stage.site.worker(&stage.store).await;
    let claimed = claim(&stage.store, reborn, 9).await.expect("claim");
    assert_eq!(claimed.iter().map(|one| one.lease.token().job).collect::<Vec<_>>(), new);
}
