//! One write for many: events whose signatures are found good at the same time go to the store in one call.
//!
//! The first of a group makes a task that runs when what is ready to run has run, and takes all that have come by then; so a
//! group is as large as the crowd, one that comes alone waits for nobody, and nothing runs while nothing comes. Each is answered
//! after the call that holds it, within [`TIMEOUT`], and what one of a group has earned by itself spoils nobody else's: then each
//! goes again alone, and the store keeps a job once however often it is given. A sender that goes away before the call takes its
//! event along: it was told nothing and sends it again. One that goes during the call stops nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::queue::Queue;
use crate::store::{Enqueued, NewJob, StoreError};

/// The store gets so long; the sender has its refusal within two seconds.
pub(super) const TIMEOUT: Duration = Duration::from_millis(1_500);
/// Those who take groups to the store, a call each: one that the store writes, and one that it finds when that is done. A group that
/// is full goes at once, whoever is under way.
const TAKERS_MAX: usize = 2;
/// Events in one call. More than so many only wait longer for each other.
const GROUP_MAX: usize = 64;
/// Payloads in one call: a store that reads a large one answers nobody else.
const GROUP_BYTES_MAX: usize = 1024 * 1024;

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
    queue: Queue,
    tasks: TaskTracker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Group,
    /// Tasks that take groups to the store.
    takers: usize,
    /// Events in calls that are not answered yet.
    under_way: usize,
}

#[derive(Debug, Default)]
struct Group {
    jobs: Vec<NewJob>,
    replies: Vec<oneshot::Sender<Answer>>,
    bytes: usize,
    /// When its first came: it may wait for calls that hang before it is in one itself.
    since: Option<Instant>,
}

impl State {
    /// As many wait as are under way, so that a second call is worth its commit.
    fn is_worth_a_call(&self) -> bool {
        !self.waiting.jobs.is_empty() && self.waiting.jobs.len() >= self.under_way
    }
}

impl Intake {
    pub(super) fn new(queue: Queue) -> Arc<Self> {
        Arc::new(Self { queue, tasks: TaskTracker::new(), state: Mutex::default() })
    }

    /// Makes one job durable, with those that come at the same time.
    pub(super) async fn keep(self: &Arc<Self>, job: NewJob) -> Answer {
        let (reply, answer) = oneshot::channel();
        let bytes = job.spec.payload.len();
        let (taker, full) = {
            let mut state = self.lock();
            let waiting = &mut state.waiting;
            let room = waiting.jobs.len() < GROUP_MAX && waiting.bytes + bytes <= GROUP_BYTES_MAX;
            let full = (!room && !waiting.jobs.is_empty()).then(|| std::mem::take(waiting));
            waiting.since.get_or_insert_with(Instant::now);
            waiting.bytes += bytes;
            waiting.jobs.push(job);
            waiting.replies.push(reply);
            let taker = state.takers == 0 || state.takers < TAKERS_MAX && state.is_worth_a_call();
            state.takers += usize::from(taker);
            state.under_way += full.as_ref().map_or(0, |full| full.jobs.len());
            (taker, full)
        };
        if let Some(group) = full {
            let intake = Arc::clone(self);
            self.tasks.spawn(async move { intake.take(group).await });
        }
        if taker {
            self.tasks.spawn(Arc::clone(self).serve());
        }
        answer.await.unwrap_or(Err(NotKept::Late))
    }

    /// Takes groups until nobody waits, or those who do are left to the other taker.
    async fn serve(self: Arc<Self>) {
        let mut turn = Turn { intake: &self, over: false };
        // Behind all that is ready now.
        tokio::task::yield_now().await;
        while let Some(group) = turn.next() {
            self.take(group).await;
        }
    }

    async fn take(&self, group: Group) {
        let _under_way = UnderWay { intake: self, n: group.jobs.len() };
        self.write(group).await;
    }

    async fn write(&self, group: Group) {
        let Group { jobs, replies, bytes: _, since } = group;
        let now = Instant::now();
        let deadline = since.unwrap_or(now) + TIMEOUT;
        let there = jobs.into_iter().zip(replies).filter(|(_, reply)| !reply.is_closed());
        let (jobs, replies): (Vec<_>, Vec<_>) = there.unzip();
        if jobs.is_empty() || now >= deadline {
            return;
        }
        let again = if jobs.len() > 1 { jobs.clone() } else { Vec::new() };
        match timeout_at(deadline, self.queue.keep(jobs)).await {
            Ok(Ok(done)) => {
                // A sender that has gone away has its job all the same; a reply that is dropped without a word says "late".
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
                for (reply, job) in replies.into_iter().zip(again).filter(|(reply, _)| !reply.is_closed()) {
                    let answer = match timeout_at(deadline, self.queue.keep(vec![job])).await {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // Pushes, counts and one take: a panic elsewhere can't leave them half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A taker's.
struct Turn<'a> {
    intake: &'a Arc<Intake>,
    over: bool,
}

impl Turn<'_> {
    fn next(&mut self) -> Option<Group> {
        let mut state = self.intake.lock();
        let alone = state.takers == 1;
        if state.waiting.jobs.is_empty() || !alone && !state.is_worth_a_call() {
            state.takers -= 1;
            self.over = true;
            return None;
        }
        state.under_way += state.waiting.jobs.len();
        Some(std::mem::take(&mut state.waiting))
    }
}

impl Drop for Turn<'_> {
    /// One that died leaves nobody waiting for it.
    fn drop(&mut self) {
        if !self.over {
            let mut state = self.intake.lock();
            state.takers -= 1;
            state.waiting = Group::default();
        }
    }
}

/// Events of a call, until it is answered.
struct UnderWay<'a> {
    intake: &'a Intake,
    n: usize,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.intake.lock().under_way -= self.n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Entropy};
    use crate::job::{JobId, JobSpec};
    use crate::store::sqlite::{SqliteOptions, SqliteStore};
    use crate::store::{QueueSettings, Retention, Store};

    async fn intake() -> (Arc<Intake>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::at(dir.path().join("queue.db")), Clock::system()).await.unwrap();
        let known = QueueSettings { name: "known".parse().unwrap(), rate: None, retention: Retention::default() };
        store.declare_queues(vec![known]).await.unwrap();
        let names = ["known".parse().unwrap()].into();
        (Intake::new(Queue::new(Arc::new(store), names, Clock::system(), Entropy::system())), dir)
    }

    fn job(queue: &str, payload: String) -> NewJob {
        let id = JobId::new(Clock::system().now(), &Entropy::system());
        NewJob { id, spec: JobSpec::raw(queue.parse().unwrap(), "a.b", payload) }
    }

    async fn keep_all(intake: &Arc<Intake>, jobs: Vec<NewJob>) -> Vec<Answer> {
        futures_util::future::join_all(jobs.into_iter().map(|job| intake.keep(job))).await
    }

    #[tokio::test]
    async fn all_of_a_crowd_are_kept_and_nothing_runs_afterwards() {
        let (intake, _dir) = intake().await;
        for round in 1..=3 {
            let answers = keep_all(&intake, (0..150).map(|_| job("known", "1".into())).collect()).await;
            assert!(answers.iter().all(|answer| matches!(answer, Ok(Enqueued::Inserted(_)))), "{answers:?}");
            let all = intake.queue.store().counts().await.unwrap().queues[0].ready;
            assert_eq!(all, round * 150);
        }
        intake.tasks.close();
        intake.tasks.wait().await;
        assert!(intake.lock().waiting.jobs.is_empty());
    }

    #[tokio::test]
    async fn what_one_has_earned_spoils_nobody_elses() {
        let (intake, _dir) = intake().await;
        let jobs = ["known", "nowhere", "known"].map(|queue| job(queue, "1".into()));
        let answers = keep_all(&intake, jobs.into()).await;
        let refused = |answer: &Answer| matches!(answer, Err(NotKept::Refused(StoreError::NoSuchQueue(_))));
        assert_eq!(answers.iter().map(refused).collect::<Vec<_>>(), [false, true, false]);
        assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    }

    #[tokio::test]
    async fn an_event_whose_sender_has_gone_away_before_the_call_is_left_out_of_it() {
        let (intake, _dir) = intake().await;
        {
            let mut gone = std::pin::pin!(intake.keep(job("known", "1".into())));
            assert!(futures_util::poll!(gone.as_mut()).is_pending());
        }
        assert!(matches!(intake.keep(job("known", "2".into())).await, Ok(Enqueued::Inserted(_))));
        assert_eq!(intake.queue.store().counts().await.unwrap().queues[0].ready, 1);

        {
            let mut gone = std::pin::pin!(intake.keep(job("known", "3".into())));
            assert!(futures_util::poll!(gone.as_mut()).is_pending());
        }
        intake.tasks.close();
        intake.tasks.wait().await;
        assert_eq!(intake.queue.store().counts().await.unwrap().queues[0].ready, 1, "a group of nobody makes no call");
    }

    #[tokio::test]
    async fn what_comes_while_a_call_is_under_way_waits_until_it_is_worth_a_second() {
        let (intake, _dir) = intake().await;
        // As if a call with three events were not answered yet.
        (intake.lock().takers, intake.lock().under_way) = (1, 3);
        let mut kept: Vec<_> = (0..3).map(|_| Box::pin(intake.keep(job("known", "1".into())))).collect();
        for (one, takers) in kept.iter_mut().zip([1, 1, 2]) {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
            assert_eq!(intake.lock().takers, takers);
        }
        let answers = futures_util::future::join_all(kept).await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Enqueued::Inserted(_)))), "{answers:?}");
        intake.tasks.close();
        intake.tasks.wait().await;
        let state = intake.lock();
        assert_eq!((state.takers, state.under_way), (1, 3), "each counts only its own");
    }

    #[tokio::test]
    async fn the_last_taker_leaves_nobody_waiting_and_another_one_leaves_them_to_it() {
        let (intake, _dir) = intake().await;
        (intake.lock().takers, intake.lock().under_way) = (2, 3);
        let mut one = std::pin::pin!(intake.keep(job("known", "1".into())));
        assert!(futures_util::poll!(one.as_mut()).is_pending());
        let next = || Turn { intake: &intake, over: false }.next().map(|group| group.jobs.len());
        assert_eq!(next(), None);
        assert_eq!(intake.lock().takers, 1);
        assert_eq!(next(), Some(1));
        assert_eq!(intake.lock().under_way, 4);
    }

    #[tokio::test]
    async fn a_taker_that_dies_is_told_to_those_who_wait_for_it_and_the_next_is_kept() {
        let (intake, _dir) = intake().await;
        intake.lock().takers = 1;
        let mut waits = std::pin::pin!(intake.keep(job("known", "1".into())));
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        drop(Turn { intake: &intake, over: false });
        assert!(matches!(waits.await, Err(NotKept::Late)));
        assert!(matches!(intake.keep(job("known", "2".into())).await, Ok(Enqueued::Inserted(_))));
    }

    #[tokio::test]
    async fn who_has_waited_too_long_for_calls_before_its_own_is_told_so_and_is_not_kept() {
        let (intake, _dir) = intake().await;
        intake.lock().takers = 1;
        let mut waits = std::pin::pin!(intake.keep(job("known", "1".into())));
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        let mut group = Turn { intake: &intake, over: false }.next().unwrap();
        assert!(group.since.is_some_and(|since| since.elapsed() < TIMEOUT));
        group.since = group.since.map(|since| since - TIMEOUT);
        intake.take(group).await;
        assert!(matches!(waits.await, Err(NotKept::Late)));
        assert_eq!(intake.queue.store().counts().await.unwrap().queues[0].ready, 0);
    }

    #[tokio::test]
    async fn a_group_is_bounded_in_jobs_and_bytes() {
        let (intake, _dir) = intake().await;
        for (payloads, left) in
            [(vec![10; 70], 6), (vec![900_000; 3], 1), (vec![2_000_000, 10], 1), (vec![10, 2_000_000], 1)]
        {
            let n = payloads.len();
            let mut all = futures_util::future::join_all(
                payloads.into_iter().map(|bytes| intake.keep(job("known", "1".repeat(bytes)))),
            );
            assert!(futures_util::poll!(&mut all).is_pending());
            assert_eq!(intake.lock().waiting.jobs.len(), left);
            let answers = all.await;
            assert!(answers.len() == n && answers.iter().all(Result::is_ok), "{answers:?}");
        }
    }
}
