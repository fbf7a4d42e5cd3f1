//! Unique keys: held while the job lives, and until `keep_until` in any case.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Key {
    job: usize,
    live: bool,
    keep_until: i64,
}

#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<u8, Key>);

impl Keys {
    pub(super) fn hold(&mut self, key: u8, job: usize, keep_until: i64) {
        self.0.insert(key, Key { job, live: true, keep_until });
    }

    pub(super) fn holder(&self, key: u8, now: i64) -> Option<usize> {
        self.0.get(&key).filter(|kept| kept.live || kept.keep_until > now).map(|kept| kept.job)
    }

    pub(super) fn release(&mut self, key: u8, job: usize) {
        if let Some(kept) = self.0.get_mut(&key).filter(|kept| kept.job == job) {
            kept.live = false;
        }
    }

    /// For a job that lives again. `Err`: another job has it.
    pub(super) fn retake(&mut self, key: u8, job: usize, now: i64) -> Result<(), usize> {
        if let Some(holder) = self.holder(key, now).filter(|holder| *holder != job) {
            return Err(holder);
        }
        let own_window = self.0.get(&key).filter(|kept| kept.job == job).map_or(now, |kept| kept.keep_until);
        self.hold(key, job, own_window);
        Ok(())
    }
}
