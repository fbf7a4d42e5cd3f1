//! The reference: what a store of jobs must do, in plain vectors and loops, small enough to be right at sight.
//!
//! One queue, jobs in the order of arrival, nothing concurrent, nothing durable. Jobs and workers are numbers.

mod keys;
mod operators;

use tidemill::job::{DeadReason, JobState};

use self::keys::Keys;
use super::answer::Answer;
use super::program::{CRASH_LIMIT, DEAD_MS, DEADLINE_MS, Ending, FINISHED_MAX, FINISHED_MS, LEASE_MS, NewOne};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) state: JobState,
    pub(crate) priority: u8,
    pub(crate) run_at: i64,
    pub(crate) attempt: u32,
    pub(crate) crashes: u32,
    pub(crate) epoch: u64,
    pub(crate) holder: Option<usize>,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) cancel_requested: bool,
    pub(crate) dead_reason: Option<DeadReason>,
    pub(crate) key: Option<u8>,
}

#[derive(Clone, Debug)]
struct Worker {
    alive: bool,
    lease_until: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) now: i64,
    /// In the order of arrival; `None` once pruned or deleted.
    pub(crate) jobs: Vec<Option<Job>>,
    pub(crate) paused: bool,
    pub(crate) refusals: u64,
    pub(crate) completed_total: u64,
    /// Of the last completion's children: which were new.
    pub(crate) born: Vec<bool>,
    workers: Vec<Worker>,
    keys: Keys,
}

impl Reference {
    pub(crate) fn at(now: i64) -> Self {
        Self { now, ..Self::default() }
    }

    pub(crate) fn enqueue(&mut self, new: &NewOne) -> Answer {
        if let Some((key, _)) = new.key
            && let Some(job) = self.keys.holder(key, self.now)
        {
            return Answer::Enqueued { new: false, job };
        }
        let (job, run_at) = (self.jobs.len(), self.now + new.delay_ms);
        if let Some((key, keep_ms)) = new.key {
            self.keys.hold(key, job, self.now + keep_ms);
        }
        self.jobs.push(Some(Job {
            state: if new.delay_ms > 0 { JobState::Scheduled } else { JobState::Ready },
            priority: new.priority,
            run_at,
            attempt: 0,
            crashes: 0,
            epoch: 0,
            holder: None,
            started_at: None,
            finished_at: None,
            cancel_requested: false,
            dead_reason: None,
            key: new.key.map(|(key, _)| key),
        }));
        Answer::Enqueued { new: true, job }
    }

    pub(crate) fn start(&mut self) -> Answer {
        self.workers.push(Worker { alive: true, lease_until: self.now + LEASE_MS });
        Answer::Told { cancel: Vec::new() }
    }

    pub(crate) fn beat(&mut self, worker: usize) -> Answer {
        if !self.workers[worker].alive {
            self.refusals += 1;
            return Answer::DeadIncarnation;
        }
        self.workers[worker].lease_until = self.now + LEASE_MS;
        Answer::Told { cancel: self.find(|job| job.holder == Some(worker) && job.cancel_requested) }
    }

    pub(crate) fn claim(&mut self, worker: usize, n: usize) -> Answer {
        if !self.workers[worker].alive {
            return Answer::DeadIncarnation;
        }
        let mut ready = if self.paused { Vec::new() } else { self.find(|job| job.state == JobState::Ready) };
        ready.sort_by_key(|job| (self.job(*job).priority, self.job(*job).run_at, *job));
        ready.truncate(n);
        let now = self.now;
        let mut claimed = Vec::new();
        for id in ready {
            let job = self.job(id);
            (job.state, job.holder, job.started_at) = (JobState::Running, Some(worker), Some(now));
            job.epoch += 1;
            job.attempt += 1;
            claimed.push((id, job.epoch, job.attempt, job.crashes));
        }
        Answer::Claimed(claimed)
    }

    /// Whether a lease still gives a right. A refusal is counted.
    fn holds(&mut self, job: usize, epoch: u64, worker: usize) -> bool {
        let current = self.jobs[job].as_ref().is_some_and(|j| j.holder == Some(worker) && j.epoch == epoch);
        let holds = current && self.workers[worker].alive;
        self.refusals += u64::from(!holds);
        holds
    }

    pub(crate) fn progress(&mut self, job: usize, epoch: u64, worker: usize) -> Answer {
        Answer::Accepted(self.holds(job, epoch, worker))
    }

    pub(crate) fn settle(&mut self, id: usize, epoch: u64, worker: usize, ending: &Ending) -> Answer {
        if !self.holds(id, epoch, worker) {
            return Answer::Settled(None);
        }
        Answer::Settled(Some(self.end_attempt(id, ending)))
    }

    fn end_attempt(&mut self, id: usize, ending: &Ending) -> JobState {
        let now = self.now;
        let cancelled = self.job(id).cancel_requested;
        match ending {
            Ending::Complete { children } => {
                self.completed_total += 1;
                self.finish(id, JobState::Completed);
                for child in children {
                    let new = matches!(self.enqueue(child), Answer::Enqueued { new: true, .. });
                    self.born.push(new);
                }
            }
            Ending::Dead => {
                self.job(id).dead_reason = Some(DeadReason::Permanent);
                self.finish(id, JobState::Dead);
            }
            Ending::Cancel => self.finish(id, JobState::Cancelled),
            Ending::Retry { .. } | Ending::Snooze { .. } | Ending::Release if cancelled => {
                self.finish(id, JobState::Cancelled);
            }
            Ending::Retry { delay_ms } | Ending::Snooze { delay_ms } => {
                let job = self.job(id);
                (job.state, job.holder, job.run_at) = (JobState::Scheduled, None, now + delay_ms);
                job.attempt -= u32::from(matches!(ending, Ending::Snooze { .. }));
            }
            Ending::Release => {
                let job = self.job(id);
                (job.state, job.holder) = (JobState::Ready, None);
                job.attempt -= 1;
            }
        }
        self.job(id).state
    }

    fn finish(&mut self, id: usize, state: JobState) {
        let now = self.now;
        let job = self.job(id);
        (job.state, job.holder, job.finished_at, job.cancel_requested) = (state, None, Some(now), false);
        if let Some(key) = job.key {
            self.keys.release(key, id);
        }
    }

    pub(crate) fn sign_off(&mut self, worker: usize) -> Answer {
        let held = self.find(|job| job.holder == Some(worker));
        for job in &held {
            self.end_attempt(*job, &Ending::Release);
        }
        self.workers[worker].alive = false;
        let to_ready = u32::try_from(held.len()).expect("few");
        Answer::Rescued { dead_workers: 0, to_ready, to_dead: 0 }
    }

    pub(crate) fn rescue(&mut self) -> Answer {
        let now = self.now;
        let (mut dead_workers, mut to_ready, mut to_dead) = (0, 0, 0);
        for worker in self.workers.iter_mut().filter(|w| w.alive && w.lease_until < now) {
            worker.alive = false;
            dead_workers += 1;
        }
        for id in self.find(|job| job.state == JobState::Running) {
            let job = self.job(id).clone();
            let overdue = job.started_at.is_some_and(|at| at + DEADLINE_MS < now);
            if !overdue && job.holder.is_some_and(|holder| self.workers[holder].alive) {
                continue;
            }
            self.job(id).attempt -= 1;
            self.job(id).crashes += 1;
            if job.cancel_requested {
                self.finish(id, JobState::Cancelled);
                to_ready += 1;
            } else if job.crashes + 1 >= CRASH_LIMIT {
                self.job(id).dead_reason = Some(DeadReason::Crashed);
                self.finish(id, JobState::Dead);
                to_dead += 1;
            } else {
                (self.job(id).state, self.job(id).holder) = (JobState::Ready, None);
                to_ready += 1;
            }
        }
        Answer::Rescued { dead_workers, to_ready, to_dead }
    }

    pub(crate) fn promote(&mut self, limit: usize) -> Answer {
        let mut due = self.find(|job| job.state == JobState::Scheduled);
        due.sort_by_key(|job| (self.job(*job).run_at, *job));
        let promoted: Vec<_> = due.iter().copied().filter(|id| self.job(*id).run_at <= self.now).take(limit).collect();
        for id in &promoted {
            self.job(*id).state = JobState::Ready;
        }
        let next_due = due.get(promoted.len()).map(|id| self.job(*id).run_at);
        let more = next_due.is_some_and(|at| at <= self.now);
        Answer::Promoted { promoted: u32::try_from(promoted.len()).expect("few"), next_due, more }
    }

    pub(crate) fn prune(&mut self) -> Answer {
        let mut gone = 0;
        for (state, keep_ms) in
            [(JobState::Completed, FINISHED_MS), (JobState::Cancelled, FINISHED_MS), (JobState::Dead, DEAD_MS)]
        {
            let mut kept = self.find(|job| job.state == state);
            kept.sort_by_key(|job| (self.job(*job).finished_at, *job));
            let surplus = kept.len().saturating_sub(FINISHED_MAX);
            for (nth, id) in kept.into_iter().enumerate() {
                let old = self.job(id).finished_at.is_some_and(|at| at < self.now - keep_ms);
                if old || nth < surplus {
                    self.jobs[id] = None;
                    gone += 1;
                }
            }
        }
        Answer::Gone(gone)
    }

    fn find(&self, fits: impl Fn(&Job) -> bool) -> Vec<usize> {
        (0..self.jobs.len()).filter(|id| self.jobs[*id].as_ref().is_some_and(&fits)).collect()
    }

    fn job(&mut self, id: usize) -> &mut Job {
        self.jobs[id].as_mut().expect("the job is there")
    }
}
