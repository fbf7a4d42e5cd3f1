//! One call for many: small enqueues that come while others are on their way share the next call, and with it the wait for
//! the disk.
//!
//! Guarantees: each is answered after the call that holds it; a refusal that one of them has earned spoils nobody else's, for
//! then each is sent again alone, and the server keeps a job once however often it is sent; one that comes alone waits for
//! nobody. Nothing runs while nobody enqueues.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::jobs::enqueue;
use super::link::Link;
use crate::store::{BATCH_MAX, Enqueued, NewJob, StoreError};

/// Calls under way at once. A second would only be a smaller one: each costs the server some 50 µs, whatever it holds.
const CALLS_MAX: usize = 1;
/// A larger batch is a call of its own.
const SMALL: usize = 64;
/// Payloads in one shared call: a server that reads a large one answers nobody else.
const SHARED_BYTES_MAX: usize = 1024 * 1024;

type Answer = Result<Vec<Enqueued>, StoreError>;

struct Waiting {
    jobs: Arc<Vec<NewJob>>,
    reply: oneshot::Sender<Answer>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.jobs.iter().map(|job| job.spec.payload.len()).sum()
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    calls: usize,
}

/// The enqueues that wait for the next call.
pub(super) struct Gather {
    link: Arc<Link>,
    tasks: TaskTracker,
    state: Mutex<State>,
}

impl std::fmt::Debug for Gather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gather").field("waiting", &self.lock().waiting.len()).finish_non_exhaustive()
    }
}

impl Gather {
    pub(super) fn new(link: Arc<Link>, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { link, tasks, state: Mutex::default() })
    }

    /// Enqueues a batch, alone or with others.
    pub(super) async fn enqueue(self: &Arc<Self>, jobs: Arc<Vec<NewJob>>) -> Answer {
        if jobs.len() > SMALL {
            return enqueue(&self.link, &[&jobs]).await;
        }
        let answer = {
            let mut state = self.lock();
            if state.calls < CALLS_MAX {
                state.calls += 1;
                None
            } else {
                let (reply, answer) = oneshot::channel();
                state.waiting.push_back(Waiting { jobs: Arc::clone(&jobs), reply });
                Some(answer)
            }
        };
        match answer {
            None => {
                let _turn = Turn(self);
                enqueue(&self.link, &[&jobs]).await
            }
            Some(answer) => answer.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable { step: "enqueue", detail: "the store was closed".into() })
            }),
        }
    }

    /// Sends groups until nobody waits.
    async fn serve(self: Arc<Self>) {
        let turn = Turn(&self);
        while let Some(group) = self.take() {
            let batches: Vec<&[NewJob]> = group.iter().map(|one| one.jobs.as_slice()).collect();
            match enqueue(&self.link, &batches).await {
                Ok(mut answers) => {
                    for one in group {
                        let rest = answers.split_off(one.jobs.len().min(answers.len()));
                        // A caller that went away has its job all the same.
                        let _ = one.reply.send(Ok(std::mem::replace(&mut answers, rest)));
                    }
                }
                Err(error @ (StoreError::Unavailable { .. } | StoreError::Full { .. })) => {
                    for one in group {
                        let _ = one.reply.send(Err(error.clone()));
                    }
                }
                // What one of them has earned.
                Err(_) => {
                    for one in group {
                        let answer = enqueue(&self.link, &[&one.jobs]).await;
                        let _ = one.reply.send(answer);
                    }
                }
            }
        }
        drop(turn);
    }

    /// Those that stand first, as many as one call may hold.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        state.waiting.retain(|one| !one.reply.is_closed());
        let (mut jobs, mut bytes, mut n) = (0, 0, 0);
        for one in &state.waiting {
            jobs += one.jobs.len();
            bytes += one.bytes();
            if n > 0 && (jobs > BATCH_MAX || bytes > SHARED_BYTES_MAX) {
                break;
            }
            n += 1;
        }
        (n > 0).then(|| state.waiting.drain(..n).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one push, one drain or one count: a panic elsewhere can't leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the calls that may be under way. Whoever gives it up, by an answer or by going away, passes it on to those who wait.
struct Turn<'a>(&'a Arc<Gather>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let gather = self.0;
        let mut state = gather.lock();
        if state.waiting.is_empty() {
            state.calls -= 1;
            return;
        }
        drop(state);
        gather.tasks.spawn(Arc::clone(gather).serve());
    }
}
