//! Begins attempts, in the order of their claims.
//!
//! Most handlers of a busy queue end without waiting for anything: a task for each would cost more than its work. So a few
//! starters, as many as the runtime has threads, poll each attempt once, and what then waits goes on as a task of its own.
//! Neighbours also end in their order this way, which lets a store settle them as one.
//!
//! An attempt that blocks its thread holds up no more than it would in a task: the other starters go on with those behind it. One
//! that blocks and gives its thread away (`block_in_place`) could hold a starter while there are threads; a lookout sees that
//! nothing has begun for a while, and has another starter go on.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// After so many attempts a starter lets others have its thread.
const AT_A_STRETCH: usize = 64;
/// What waits while nothing begins for so long gets another starter.
const STUCK_AFTER: Duration = Duration::from_millis(5);

/// One attempt, from its begin to the settler's door.
pub(super) type Attempt = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes attempts and begins them.
#[derive(Clone, Debug)]
pub(super) struct Starter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    starters_max: usize,
    runtime: Handle,
    /// Rung for what no starter was sent for.
    lookout: Notify,
}

#[derive(Default)]
struct Line {
    /// Not begun; bounded by the places of the pools.
    waiting: VecDeque<Attempt>,
    starters: usize,
    /// How many were taken from the line.
    begun: u64,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("waiting", &self.waiting.len()).field("starters", &self.starters).finish()
    }
}

impl Starter {
    /// One for all pools of a process, on the runtime of its caller, until `stop`.
    pub(super) fn new(stop: CancellationToken) -> Self {
        let runtime = Handle::current();
        let starters_max = runtime.metrics().num_workers().max(1);
        let shared = Arc::new(Shared { line: Mutex::default(), starters_max, runtime, lookout: Notify::new() });
        let watched = Arc::clone(&shared);
        drop(shared.runtime.spawn(async move { stop.run_until_cancelled(watched.look_out()).await }));
        Self(shared)
    }

    /// Begins an attempt as soon as there is a thread for it.
    pub(super) fn begin(&self, attempt: Attempt) {
        let mut line = self.0.line();
        line.waiting.push_back(attempt);
        if line.starters < self.0.starters_max {
            self.0.send(line);
        } else {
            drop(line);
            self.0.lookout.notify_one();
        }
    }
}

impl Shared {
    /// One starter more. It leaves when nothing waits.
    fn send(self: &Arc<Self>, mut line: MutexGuard<'_, Line>) {
        line.starters += 1;
        drop(line);
        let shared = Arc::clone(self);
        drop(self.runtime.spawn(async move { shared.serve().await }));
    }

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
        match next {
            Some(_) => line.begun += 1,
            None => line.starters -= 1,
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

    /// Sends a starter when all that there are don't come to what waits.
    async fn look_out(self: Arc<Self>) {
        loop {
            self.lookout.notified().await;
            let mut begun = self.line().begun;
            loop {
                tokio::time::sleep(STUCK_AFTER).await;
                let line = self.line();
                if line.waiting.is_empty() {
                    break;
                }
                if line.begun == begun {
                    self.send(line);
                } else {
                    begun = line.begun;
                }
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Every change is one step of a queue and a number: a panic elsewhere can't leave it half done.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn starter() -> Starter {
        Starter::new(CancellationToken::new())
    }

    /// An attempt that says a word.
    fn says(words: &mpsc::Sender<&'static str>, word: &'static str) -> Attempt {
        let words = words.clone();
        Box::pin(async move { words.send(word).unwrap() })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_blocks_its_thread_holds_up_nobody_behind_it() {
        let (starter, (words, heard), (go, waits)) = (starter(), mpsc::channel(), mpsc::channel::<()>());
        starter.begin(Box::pin(async move { waits.recv_timeout(PATIENCE).unwrap() }));
        starter.begin(says(&words, "second"));
        starter.begin(says(&words, "third"));
        let heard = tokio::task::spawn_blocking(move || [0; 2].map(|_| heard.recv_timeout(PATIENCE))).await.unwrap();
        assert_eq!(heard, [Ok("second"), Ok("third")]);
        go.send(()).unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn attempts_that_block_and_give_their_threads_away_hold_up_nobody() {
        let (starter, (words, heard)) = (starter(), mpsc::channel());
        let block = || {
            let (go, waits) = mpsc::channel::<()>();
            starter.begin(Box::pin(async move {
                tokio::task::block_in_place(|| waits.recv_timeout(PATIENCE).unwrap());
            }));
            go
        };
        // As many as there are starters at first, and more.
        let blocked = [block(), block(), block(), block()];
        starter.begin(says(&words, "last"));
        let heard = tokio::task::spawn_blocking(move || heard.recv_timeout(PATIENCE)).await.unwrap();
        assert_eq!(heard, Ok("last"));
        for go in blocked {
            go.send(()).unwrap();
        }
    }

    #[tokio::test]
    async fn one_that_breaks_ends_no_starter() {
        let (starter, (words, heard)) = (starter(), mpsc::channel());
        starter.begin(Box::pin(async { panic!("outside of a handler") }));
        starter.begin(says(&words, "next"));
        while heard.try_recv() != Ok("next") {
            tokio::task::yield_now().await;
        }
        starter.begin(says(&words, "later"));
        while heard.try_recv() != Ok("later") {
            tokio::task::yield_now().await;
        }
        assert_eq!(starter.0.line().waiting.len(), 0);
    }

    #[tokio::test]
    async fn those_that_wait_for_nothing_end_in_their_order_and_who_waits_goes_on_by_itself() {
        let (starter, (words, heard), (go, waits)) = (starter(), mpsc::channel(), tokio::sync::oneshot::channel());
        let late = words.clone();
        starter.begin(Box::pin(async move {
            waits.await.unwrap();
            late.send("first").unwrap();
        }));
        for word in ["second", "third", "fourth"] {
            starter.begin(says(&words, word));
        }
        let mut all = Vec::new();
        let mut go = Some(go);
        while all.len() < 4 {
            all.extend(heard.try_iter());
            if all.len() == 3
                && let Some(go) = go.take()
            {
                go.send(()).unwrap();
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(all, ["second", "third", "fourth", "first"]);
    }
}
