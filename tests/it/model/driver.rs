//! Runs one program on the store and on the reference, and compares them after every step: the answer, every job,
//! every counter.

mod asks;
mod looks;

use std::sync::Arc;
use std::time::Duration;

use tidemill::clock::Timestamp;
use tidemill::job::{Incarnation, JobId, JobSpec, Progress, QueueName};
use tidemill::store::{
    Cancel, Claimed, Enqueued, LeaseToken, NewJob, QueueSettings, Rescued, Retention, RetryDead, Settled, Settlement,
    StoreError,
};

use super::answer::Answer;
use super::program::{DEAD_MS, DEADLINE_MS, FINISHED_MAX, FINISHED_MS, LEASE_MS, Step};
use super::reference::Reference;
use crate::conformance::rig::{Rig, named};

pub(crate) struct Driver<'a> {
    rig: &'a mut Rig,
    name: String,
    reference: Reference,
    /// The store's id of each of the reference's jobs.
    ids: Vec<JobId>,
    workers: Vec<(Incarnation, Health)>,
    held: Vec<Claimed>,
    used: Vec<Arc<[Settlement]>>,
    refusals_before: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Health {
    Beating,
    Silent,
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).expect("not negative"))
}

impl<'a> Driver<'a> {
    /// A driver with a queue of its own, so that one store serves many programs.
    pub(crate) async fn new(rig: &'a mut Rig, name: String) -> Self {
        let max = FINISHED_MAX as u64;
        let retention =
            Retention { finished_for: ms(FINISHED_MS), finished_max: max, dead_for: ms(DEAD_MS), dead_max: max };
        let queue = QueueSettings { name: named(&name), rate: None, retention };
        rig.store.declare_queues(vec![queue]).await.expect("declare");
        let refusals_before = rig.refusals().await;
        let reference = Reference::at(rig.clock.now().as_ms());
        let (ids, workers, held, used) = Default::default();
        Self { rig, name, reference, ids, workers, held, used, refusals_before }
    }

    /// Runs the program; `Err` tells the first step after which the two differ.
    pub(crate) async fn run(&mut self, program: &[Step]) -> Result<(), String> {
        for (n, step) in program.iter().enumerate() {
            let answers = self.step(step).await;
            let differ = |what: &str, store: &dyn std::fmt::Debug, reference: &dyn std::fmt::Debug| {
                format!("step {n}, {step:?}: {what}\n    store: {store:?}\nreference: {reference:?}")
            };
            if let Some((store, reference)) = answers.filter(|(store, reference)| store != reference) {
                return Err(differ("other answers", &store, &reference));
            }
            let jobs = self.jobs().await;
            for (id, (store, reference)) in jobs.iter().zip(&self.reference.jobs).enumerate() {
                if store != reference {
                    return Err(differ(&format!("job {id} differs"), store, reference));
                }
            }
            let (store, reference) = (self.counters().await, self.expected_counters());
            if store != reference {
                return Err(differ("other counters", &store, &reference));
            }
        }
        Ok(())
    }

    /// Leaves nothing behind that a later program on the same store could see.
    pub(crate) async fn clean_up(self) {
        let store = &self.rig.store;
        for (worker, _) in &self.workers {
            store.sign_off(*worker).await.expect("sign off");
        }
        store.purge(&self.queue(), 1_000).await.expect("purge");
        for id in self.ids {
            if store.get(id).await.expect("get").is_some() {
                store.delete(id).await.expect("everything is finished");
            }
        }
    }

    /// Both answers; `None` when there is nothing yet that the step could be done to.
    async fn step(&mut self, step: &Step) -> Option<(Answer, Answer)> {
        Some(match step {
            Step::Enqueue(new) => self.enqueue(new).await,
            Step::EnqueueAgain { job } => {
                let job = pick(*job, self.ids.len()).filter(|job| self.reference.jobs[*job].is_some())?;
                let again = NewJob { id: self.ids[job], spec: JobSpec::raw(self.queue(), "other", "{}".into()) };
                let answer = self.rig.store.enqueue(vec![again]).await.expect("enqueue")[0];
                (self.enqueued(answer), Answer::Enqueued { new: false, job })
            }
            Step::Start => {
                self.workers.push((Incarnation::new(&self.rig.entropy), Health::Beating));
                (self.beat(self.workers.len() - 1).await, self.reference.start())
            }
            Step::Beat { worker } => {
                let worker = self.recent(*worker).filter(|worker| self.workers[*worker].1 == Health::Beating)?;
                (self.beat(worker).await, self.reference.beat(worker))
            }
            Step::Crash { worker } => {
                let worker = self.recent(*worker)?;
                self.workers[worker].1 = Health::Silent;
                return None;
            }
            Step::SignOff { worker } => {
                let worker = self.recent(*worker)?;
                let rescued = self.rig.store.sign_off(self.workers[worker].0).await.expect("sign off");
                (answer_of(&rescued), self.reference.sign_off(worker))
            }
            Step::Claim { worker, n } => {
                let worker = self.recent(*worker)?;
                (self.claim(worker, u32::from(*n)).await, self.reference.claim(worker, usize::from(*n)))
            }
            Step::Settle { lease, ending } => {
                let lease = pick(*lease, self.held.len())?;
                let claimed = self.held.remove(lease);
                self.settle(claimed, ending).await
            }
            Step::SettleAgain { batch } => {
                let batch = Arc::clone(&self.used[pick(*batch, self.used.len())?]);
                self.reference.refusals += 1;
                (settled(&self.rig.store.settle(batch).await.expect("settle")), Answer::Settled(None))
            }
            Step::Progress { lease } => {
                let token = self.held[pick(*lease, self.held.len())?].lease.token();
                let told = Progress { percent: 1, note: "on its way".into() };
                let kept = self.rig.store.progress(token, told).await.expect("progress");
                let (job, worker) = self.numbers(token);
                (Answer::Accepted(kept), self.reference.progress(job, token.epoch, worker))
            }
            Step::Rescue => (answer_of(&self.rig.rescue().await), self.reference.rescue()),
            Step::Promote { limit } => {
                let done = self.rig.store.promote(u32::from(*limit)).await.expect("promote");
                let next_due = done.next_due.map(Timestamp::as_ms);
                let store = Answer::Promoted { promoted: done.promoted, next_due, more: done.more };
                (store, self.reference.promote(usize::from(*limit)))
            }
            Step::Prune => {
                let pruned = self.rig.store.prune(1_000).await.expect("prune");
                (Answer::Gone(pruned.jobs), self.reference.prune())
            }
            Step::Cancel { job } => {
                let job = pick(*job, self.ids.len())?;
                let done = self.rig.store.cancel(self.ids[job], "not wanted").await.map(|done| match done {
                    Cancel::Cancelled => Answer::Cancelled,
                    Cancel::Requested => Answer::Requested,
                });
                (self.or_refusal(done), self.reference.cancel(job))
            }
            Step::Retry { job } => {
                let job = pick(*job, self.ids.len())?;
                let done = self.rig.store.retry(self.ids[job]).await.map(|done| match done {
                    RetryDead::Revived => Answer::Revived,
                    RetryDead::RunNow => Answer::RunNow,
                });
                (self.or_refusal(done), self.reference.retry(job))
            }
            Step::Delete { job } => {
                let job = pick(*job, self.ids.len())?;
                let done = self.rig.store.delete(self.ids[job]).await.map(|()| Answer::Done);
                (self.or_refusal(done), self.reference.delete(job))
            }
            Step::Purge => {
                let purged = self.rig.store.purge(&self.queue(), 1_000).await.expect("purge");
                (Answer::Gone(purged), self.reference.purge())
            }
            Step::Pause => {
                let changed = self.rig.store.pause(&self.queue()).await.expect("pause");
                (Answer::Changed(changed), self.reference.set_paused(true))
            }
            Step::Resume => {
                let changed = self.rig.store.resume(&self.queue()).await.expect("resume");
                (Answer::Changed(changed), self.reference.set_paused(false))
            }
            Step::Advance { ms: by } => {
                self.rig.clock.advance(ms(*by));
                self.reference.now += by;
                return None;
            }
            Step::Overrun => {
                let mut answers = (Answer::Done, Answer::Done);
                for _ in 0..=DEADLINE_MS / (LEASE_MS - 1) {
                    self.rig.clock.advance(ms(LEASE_MS - 1));
                    self.reference.now += LEASE_MS - 1;
                    for worker in 0..self.workers.len() {
                        if self.workers[worker].1 == Health::Beating && answers.0 == answers.1 {
                            answers = (self.beat(worker).await, self.reference.beat(worker));
                        }
                    }
                }
                answers
            }
            Step::Reopen => {
                self.rig.reopen().await;
                return None;
            }
        })
    }

    fn queue(&self) -> QueueName {
        named(&self.name)
    }

    /// One of the last three workers: often alive, sometimes dead.
    fn recent(&self, number: u8) -> Option<usize> {
        let last = self.workers.len().min(3);
        pick(number, last).map(|n| self.workers.len() - 1 - n)
    }

    /// The reference's numbers of a lease's job and holder.
    fn numbers(&self, token: LeaseToken) -> (usize, usize) {
        let job = self.ids.iter().position(|id| *id == token.job).expect("a job that nobody enqueued");
        let worker = self.workers.iter().position(|(id, _)| *id == token.holder).expect("a worker");
        (job, worker)
    }

    fn number_of(&self, job: JobId) -> usize {
        self.ids.iter().position(|id| *id == job).expect("a job that nobody enqueued")
    }

    fn enqueued(&self, answer: Enqueued) -> Answer {
        Answer::Enqueued { new: answer.is_new(), job: self.number_of(answer.job()) }
    }

    fn or_refusal(&self, done: Result<Answer, StoreError>) -> Answer {
        match done {
            Ok(answer) => answer,
            Err(StoreError::DeadIncarnation(_)) => Answer::DeadIncarnation,
            Err(StoreError::NoSuchJob(_)) => Answer::NoSuchJob,
            Err(StoreError::WrongState { state, .. }) => Answer::WrongState(state),
            Err(StoreError::KeyTaken { holder, .. }) => Answer::KeyTaken(self.number_of(holder)),
            Err(e) => panic!("{e}"),
        }
    }
}

fn pick(number: u8, of: usize) -> Option<usize> {
    if of == 0 { None } else { Some(usize::from(number) % of) }
}

fn settled(answers: &[Settled]) -> Answer {
    match answers {
        [Settled::Accepted(state)] => Answer::Settled(Some(*state)),
        [Settled::LeaseLost] => Answer::Settled(None),
        _ => panic!("one answer: {answers:?}"),
    }
}

fn answer_of(rescued: &Rescued) -> Answer {
    Answer::Rescued { dead_workers: rescued.dead_workers, to_ready: rescued.to_ready, to_dead: rescued.to_dead }
}
