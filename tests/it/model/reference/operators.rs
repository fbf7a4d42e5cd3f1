//! What operators may do.

use tidemill::job::JobState;

use super::super::answer::Answer;
use super::Reference;

impl Reference {
    pub(crate) fn cancel(&mut self, id: usize) -> Answer {
        match self.jobs[id].as_ref().map(|job| job.state) {
            None => Answer::NoSuchJob,
            Some(JobState::Scheduled | JobState::Ready) => {
                self.finish(id, JobState::Cancelled);
                Answer::Cancelled
            }
            Some(JobState::Running) => {
                self.job(id).cancel_requested = true;
                Answer::Requested
            }
            Some(state) => Answer::WrongState(state),
        }
    }

    pub(crate) fn retry(&mut self, id: usize) -> Answer {
        let now = self.now;
        match self.jobs[id].as_ref().map(|job| (job.state, job.key)) {
            None => Answer::NoSuchJob,
            Some((JobState::Scheduled, _)) => {
                (self.job(id).state, self.job(id).run_at) = (JobState::Ready, now);
                Answer::RunNow
            }
            Some((JobState::Dead, key)) => {
                if let Some(key) = key
                    && let Err(holder) = self.keys.retake(key, id, now)
                {
                    return Answer::KeyTaken(holder);
                }
                let job = self.job(id);
                (job.state, job.run_at, job.attempt, job.crashes) = (JobState::Ready, now, 0, 0);
                (job.finished_at, job.dead_reason) = (None, None);
                Answer::Revived
            }
            Some((state, _)) => Answer::WrongState(state),
        }
    }

    pub(crate) fn delete(&mut self, id: usize) -> Answer {
        match self.jobs[id].as_ref().map(|job| job.state) {
            None => Answer::NoSuchJob,
            Some(state) if !state.is_finished() => Answer::WrongState(state),
            Some(_) => {
                self.jobs[id] = None;
                Answer::Done
            }
        }
    }

    pub(crate) fn purge(&mut self) -> Answer {
        let waiting = self.find(|job| matches!(job.state, JobState::Ready | JobState::Scheduled));
        for id in &waiting {
            self.finish(*id, JobState::Cancelled);
        }
        Answer::Gone(u32::try_from(waiting.len()).expect("few"))
    }

    pub(crate) fn set_paused(&mut self, paused: bool) -> Answer {
        Answer::Changed(std::mem::replace(&mut self.paused, paused) != paused)
    }
}
