//! The steps that take more than one call: enqueue, beat, claim, settle.

use std::sync::Arc;
use std::time::Duration;

use tidemill::job::{DeadReason, JobId, JobSpec, Priority};
use tidemill::store::{Beat, Claimed, NewJob, Settlement, Verdict};

use super::super::answer::Answer;
use super::super::program::{Ending, LEASE_MS, NewOne, TIMEOUT_MS};
use super::{Driver, ms, settled};

impl Driver<'_> {
    pub(super) async fn enqueue(&mut self, new: &NewOne) -> (Answer, Answer) {
        let job = self.new_job(new);
        let id = job.id;
        let answer = self.rig.store.enqueue(vec![job]).await.expect("enqueue")[0];
        let reference = self.reference.enqueue(new);
        if matches!(reference, Answer::Enqueued { new: true, .. }) {
            self.ids.push(id);
        }
        (self.enqueued(answer), reference)
    }

    pub(super) async fn beat(&self, worker: usize) -> Answer {
        let beat = Beat {
            incarnation: self.workers[worker].0,
            label: "model".into(),
            queues: vec![self.queue()],
            running: 0,
            lease: ms(LEASE_MS),
            worker_now: self.rig.clock.now(),
        };
        match self.rig.store.heartbeat(beat).await {
            Ok(reply) => {
                let mut cancel: Vec<_> = reply.cancel.into_iter().map(|token| self.numbers(token).0).collect();
                cancel.sort_unstable();
                Answer::Told { cancel }
            }
            Err(e) => self.or_refusal(Err(e)),
        }
    }

    pub(super) async fn claim(&mut self, worker: usize, n: u32) -> Answer {
        let claimed = self.rig.store.claim(&self.queue(), self.workers[worker].0, n, Duration::ZERO).await;
        match claimed {
            Ok(claimed) => {
                let answer = claimed.iter().map(|c| {
                    let token = c.lease.token();
                    (self.numbers(token).0, token.epoch, c.attempt, c.crashes)
                });
                let answer = Answer::Claimed(answer.collect());
                self.held.extend(claimed);
                answer
            }
            Err(e) => self.or_refusal(Err(e)),
        }
    }

    pub(super) async fn settle(&mut self, claimed: Claimed, ending: &Ending) -> (Answer, Answer) {
        let token = claimed.lease.token();
        let (job, worker) = self.numbers(token);
        let (verdict, children) = self.verdict(ending);
        let batch: Arc<[Settlement]> = [Settlement { lease: claimed.lease, verdict }].into();
        let answer = settled(&self.rig.store.settle(Arc::clone(&batch)).await.expect("settle"));
        self.used.push(batch);
        let reference = self.reference.settle(job, token.epoch, worker, ending);
        let born = children.into_iter().zip(self.reference.born.drain(..)).filter(|(_, new)| *new);
        self.ids.extend(born.map(|(id, _)| id));
        (answer, reference)
    }

    fn verdict(&self, ending: &Ending) -> (Verdict, Vec<JobId>) {
        let verdict = match ending {
            Ending::Complete { children } => {
                let children: Vec<_> = children.iter().map(|child| self.new_job(child)).collect();
                let ids = children.iter().map(|child| child.id).collect();
                return (Verdict::Complete { result: None, children }, ids);
            }
            Ending::Retry { delay_ms } => Verdict::Retry { error: "it failed".into(), delay: ms(*delay_ms) },
            Ending::Snooze { delay_ms } => Verdict::Snooze { reason: "later".into(), delay: ms(*delay_ms) },
            Ending::Dead => Verdict::Dead { reason: DeadReason::Permanent, error: "broken".into() },
            Ending::Cancel => Verdict::Cancel { reason: "no need".into() },
            Ending::Release => Verdict::Release,
        };
        (verdict, Vec::new())
    }

    fn new_job(&self, new: &NewOne) -> NewJob {
        let mut spec = JobSpec::raw(self.queue(), "model.job", "{}".into());
        spec.priority = Priority::try_from(new.priority).expect("a priority");
        spec.timeout = ms(TIMEOUT_MS);
        if new.delay_ms > 0 {
            spec = spec.after(ms(new.delay_ms));
        }
        if let Some((key, keep_ms)) = new.key {
            spec = spec.unique_for(&format!("{}:{key}", self.name), ms(keep_ms));
        }
        self.rig.new_job(spec)
    }
}
