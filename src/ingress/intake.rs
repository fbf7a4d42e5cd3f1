//! One write for many: events whose signatures are found good at the same time go to the store in one call.
//!
//! The first of a group makes a task that runs when what is ready to run has run, and takes all that have come by then; so a
//! group is as large as the crowd, one that comes alone waits for nobody, and nothing runs while nothing comes. Each is answered
//! after the call that holds it, within [`TIMEOUT`], and what one of a group has earned by itself spoils nobody else's: then each
//! goes again alone, and the store keeps a job once however often it is given. A sender that has gone away stops nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::store::{Enqueued, NewJob, Store, StoreError};

/// The store gets so long; the sender has its refusal within two seconds.
pub(super) const TIMEOUT: Duration = Duration::from_millis(1_500);
/// Events in one call. More than so many only wait longer for each other.
const GROUP_MAX: usize = 64;

/// Why an event is not known to be kept.
#[derive(Debug)]
pub(super) enum NotKept {
    /// The store refused.
    Refused(StoreError),
    /// It did not answer in time. The job may have been kept.
    Late,
}

type Answer = Result<Enqueued, NotKept>;

/// Takes events to the store.
#[derive(Debug)]
pub(super) struct Intake {
    store: Arc<dyn Store>,
    tasks: TaskTracker,
    waiting: Mutex<Group>,
}

#[derive(Debug, Default)]
struct Group {
    jobs: Vec<NewJob>,
    replies: Vec<oneshot::Sender<Answer>>,
}

impl Intake {
    pub(super) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, tasks: TaskTracker::new(), waiting: Mutex::default() })
    }

    /// Makes one job durable, with those that come at the same time.
    pub(super) async fn keep(self: &Arc<Self>, job: NewJob) -> Answer {
        let (reply, answer) = oneshot::channel();
        let (first, full) = {
            let mut waiting = self.lock();
            waiting.jobs.push(job);
            waiting.replies.push(reply);
            let n = waiting.jobs.len();
            (n == 1, (n >= GROUP_MAX).then(|| std::mem::take(&mut *waiting)))
        };
        if let Some(group) = full {
            let intake = Arc::clone(self);
            self.tasks.spawn(async move { intake.write(group).await });
        } else if first {
            let intake = Arc::clone(self);
            self.tasks.spawn(async move {
                // Behind all that is ready now.
                tokio::task::yield_now().await;
                let group = std::mem::take(&mut *intake.lock());
                // None: others made it full and went ahead.
                if !group.jobs.is_empty() {
                    intake.write(group).await;
                }
            });
        }
        answer.await.unwrap_or(Err(NotKept::Late))
    }

    async fn write(&self, group: Group) {
        let Group { jobs, replies } = group;
        let deadline = Instant::now() + TIMEOUT;
        let again = if jobs.len() > 1 { jobs.clone() } else { Vec::new() };
        match timeout_at(deadline, self.store.enqueue(jobs)).await {
            Ok(Ok(done)) => {
                // A reply that is dropped without a word says "late".
                for (reply, enqueued) in replies.into_iter().zip(done) {
                    drop(reply.send(Ok(enqueued)));
                }
            }
            Ok(Err(error)) if again.is_empty() || error.is_temporary() || matches!(error, StoreError::Fatal { .. }) => {
                for reply in replies {
                    drop(reply.send(Err(NotKept::Refused(error.clone()))));
                }
            }
            Ok(Err(_)) => {
                for (reply, job) in replies.into_iter().zip(again) {
                    let answer = match timeout_at(deadline, self.store.enqueue(vec![job])).await {
                        Ok(Ok(done)) => done.first().copied().ok_or(NotKept::Late),
                        Ok(Err(error)) => Err(NotKept::Refused(error)),
                        Err(_) => Err(NotKept::Late),
                    };
                    drop(reply.send(answer));
                }
            }
            Err(_) => drop(replies),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Group> {
        // Two pushes or one take: a panic elsewhere can't leave them half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
