//! The thread on which connections live.
//!
//! A connection has a task that reads and writes for it. On its first caller's runtime it would die with that runtime (the
//! heartbeat's, at a clean stop) or stand still with it (handlers that block), and with it the calls of all others, beats
//! among them. So it is opened here, and callers reach it from wherever they are.

use redis::RedisError;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::store::StoreError;

/// A runtime of its own, until it is dropped.
#[derive(Debug)]
pub(super) struct Driver {
    handle: Handle,
    _stop: DropGuard,
}

impl Driver {
    /// Starts the thread.
    pub(super) fn start() -> Result<Self, StoreError> {
        let step = "start the connection's thread";
        let unavailable = |e: std::io::Error| StoreError::Unavailable { step, detail: e.to_string() };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(unavailable)?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("tidemill-redis".into())
            .spawn(move || runtime.block_on(stopped.cancelled()))
            .map_err(unavailable)?;
        Ok(Self { handle, _stop: stop.drop_guard() })
    }

    /// Runs `work` there while the caller goes on; it ends with the driver.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(work));
    }

    /// Runs `work` there and waits for it; a caller that goes away ends it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, RedisError>> + Send + 'static,
    ) -> Result<T, RedisError> {
        let working = AbortOnDropHandle::new(self.handle.spawn(work));
        working.await.unwrap_or_else(|e| Err(std::io::Error::other(e.to_string()).into()))
    }
}
