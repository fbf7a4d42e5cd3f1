//! A server of its own with a store, a queue and one worker, for tests of jobs that stand side by side.

use std::sync::Arc;

use tidemill::job::{Incarnation, JobId, JobState};
use tidemill::store::{Claimed, LeaseToken, Settled, Settlement, Store};
use tidemill_testkit::RedisServer;

use super::{Site, claim, put};
use crate::conformance::rig::{MS, complete};

pub(super) struct Stage {
    pub(super) server: RedisServer,
    pub(super) site: Site,
    pub(super) store: Arc<dyn Store>,
    pub(super) worker: Incarnation,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let server = RedisServer::start();
        let site = Site::new(server.url());
        let store = site.open().await;
        let worker = site.worker(&store).await;
        Self { server, site, store, worker }
    }

    pub(super) async fn put(&self, n: usize) -> Vec<JobId> {
        put(&self.store, self.site.jobs(n)).await
    }

    pub(super) async fn claim(&self, n: u32) -> Vec<Claimed> {
        claim(&self.store, self.worker, n).await.expect("claim")
    }

    pub(super) async fn settle(&self, settlements: Vec<Settlement>) -> Vec<Settled> {
        self.store.settle(settlements.into()).await.expect("settle")
    }

    pub(super) async fn state(&self, job: JobId) -> Option<JobState> {
        self.store.get(job).await.expect("get").map(|record| record.state)
    }

    /// The keys that begin so, as they are: some hold an incarnation's bytes.
    pub(super) fn keys(&self, pattern: &str) -> Vec<Vec<u8>> {
        self.server.command(&["KEYS", &format!("{{tidemill}}:{pattern}")])
    }

    pub(super) fn delete_all(&self, pattern: &str) {
        let keys = self.keys(pattern);
        assert!(!keys.is_empty(), "there is no {pattern}");
        let mut connection = self.server.connection().expect("connect");
        for key in keys {
            redis::cmd("DEL").arg(&key).exec(&mut connection).expect("delete");
        }
    }

    pub(super) fn repaired(&self) -> u64 {
        self.server.command::<Option<u64>>(&["HGET", "{tidemill}:gauges", "repaired"]).unwrap_or(0)
    }

    /// A few rounds of what every process does beside its work.
    pub(super) async fn upkeep(&self) {
        for _ in 0..6 {
            self.site.clock.advance(MS * 500);
            while self.store.prune(1_000).await.expect("prune").more {}
            while self.store.rescue(1_000).await.expect("rescue").more {}
        }
    }
}

pub(super) fn done(claimed: Claimed) -> Settlement {
    Settlement { lease: claimed.lease, verdict: complete() }
}

pub(super) fn tokens(claimed: &[Claimed]) -> Vec<LeaseToken> {
    claimed.iter().map(|claimed| claimed.lease.token()).collect()
}
