//! Begins attempts, in the order of their claims.
//!
//! Most handlers of a busy queue end without waiting for anything: a task for each would cost more than its work. So a few
//! starters, as many as the runtime has threads, poll each attempt once, and what then waits goes on as a task of its own. One
//! that blocks its thread holds up no more than it would in a task: the other starters go on with those that stand behind it.
//! Neighbours also end in their order this way, which lets a store settle them as one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::runtime::Handle;

/// After so many attempts a starter lets others have its thread.
const AT_A_STRETCH: usize = 64;

/// One attempt, from its begin to the settler's door.
pub(super) type Attempt = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes attempts and begins them.
#[derive(Clone, Debug)]
pub(super) struct Starter(Arc<Shared>);

struct Shared {
    line: Mutex<Line>,
    starters_max: usize,
    runtime: Handle,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Starter").field("starters_max", &self.starters_max).finish_non_exhaustive()
    }
}

/// Not begun; bounded by the places of the pools.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Attempt>,
    starters: usize,
}

impl Starter {
    /// One for all pools of a process that run on `runtime`.
    pub(super) fn new(runtime: Handle) -> Self {
        let starters_max = runtime.metrics().num_workers().max(1);
        Self(Arc::new(Shared { line: Mutex::default(), starters_max, runtime }))
    }

    /// Begins an attempt as soon as there is a thread for it.
    pub(super) fn begin(&self, attempt: Attempt) {
        let mut line = self.0.line();
        line.waiting.push_back(attempt);
        // A starter that is at work comes to it; a further one helps where it has enough to do.
        let helps = line.starters == 0 || (line.starters < self.0.starters_max && line.waiting.len() > line.starters);
        if helps {
            line.starters += 1;
            drop(line);
            let shared = Arc::clone(&self.0);
            self.0.runtime.spawn(async move { shared.serve().await });
        }
    }
}

impl Shared {
    async fn serve(&self) {
        loop {
            for _ in 0..AT_A_STRETCH {
                let Some(attempt) = self.next() else { return };
                self.start(attempt);
            }
            tokio::task::yield_now().await;
        }
    }

    /// The next one; none, and one starter less.
    fn next(&self) -> Option<Attempt> {
        let mut line = self.line();
        let next = line.waiting.pop_front();
        if next.is_none() {
            line.starters -= 1;
        }
        next
    }

    fn start(&self, mut attempt: Attempt) {
        let mut nobody = Context::from_waker(Waker::noop());
        // Handlers are caught further inside; nothing else may end the starter of others.
        match catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(&mut nobody).is_pending())) {
            // The task polls it again, and is the one that is woken from then on.
            Ok(true) => drop(self.runtime.spawn(attempt)),
            Ok(false) => {}
            Err(_) => tracing::error!("an attempt broke outside of its handler; its deadline gives the job to others"),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Every change is one step of a queue and a number: a panic elsewhere can't leave it half done.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
