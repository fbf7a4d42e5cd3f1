//! Settlements that can go together: jobs that stand side by side and are simply done.
//!
//! What a claim gave out side by side usually ends within one batch; the script then compares and writes a whole run at once
//! (`lua/front.lua`, `lua/complete.lua`). No job is in two runs; one that is settled twice in a batch stands among the rest as well, where it
//! is refused.

use super::wire;
use crate::store::{LeaseToken, Settlement, Verdict};

/// Jobs by number, in blocks of so many.
const BLOCK: i64 = 1000;

/// Jobs of one holder and epoch, side by side, all of them done without a result or children.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    first: LeaseToken,
    /// Where they stand in the batch.
    pub(super) places: Vec<usize>,
}

impl Run {
    /// As the script reads it: first member, holder, epoch, how many.
    pub(super) fn argument(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(38);
        out.extend_from_slice(&wire::member(self.first.slot));
        out.extend_from_slice(self.first.holder.as_bytes());
        out.extend_from_slice(&u32::try_from(self.first.epoch).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.places.len()).unwrap_or(u32::MAX).to_le_bytes());
        out
    }

    /// The block that all of them stand in.
    pub(super) fn block(&self) -> i64 {
        self.first.slot / BLOCK
    }

    fn goes_on_with(&self, lease: LeaseToken) -> bool {
        let next = i64::try_from(self.places.len()).ok().and_then(|len| self.first.slot.checked_add(len));
        (lease.holder, lease.epoch, Some(lease.slot)) == (self.first.holder, self.first.epoch, next)
            && lease.slot % BLOCK != 0
    }
}

/// The runs in a batch, and the places of all other settlements in their order.
pub(super) fn of(batch: &[(&Settlement, &Verdict)]) -> (Vec<Run>, Vec<usize>) {
    let lease = |nth: usize| batch[nth].0.lease.token();
    let (mut plain, mut rest): (Vec<_>, Vec<_>) = (0..batch.len()).partition(|&nth| is_plain(batch[nth].1));
    let by_lease = |nth: usize| (lease(nth).holder, lease(nth).epoch, lease(nth).slot);
    // Mostly in order already.
    plain.sort_by_key(|&nth| by_lease(nth));
    let (mut runs, mut last) = (Vec::<Run>::new(), None);
    for nth in plain {
        let lease = lease(nth);
        // Settled twice in one batch: the script must see the one after the other.
        if last.replace(lease) == Some(lease) {
            rest.push(nth);
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.goes_on_with(lease) => run.places.push(nth),
            _ => runs.push(Run { first: lease, places: vec![nth] }),
        }
    }
    rest.sort_unstable();
    (runs, rest)
}

fn is_plain(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Complete { result: None, children } if children.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Incarnation, JobId};
    use crate::store::Lease;

    fn settlement(slot: i64, epoch: u64, verdict: Verdict) -> Settlement {
        let (job, holder) = (JobId::from_bytes([1; 16]), Incarnation::from_bytes([7; 16]));
        Settlement { lease: Lease::new(job, epoch, holder, slot), verdict }
    }

    fn done(slot: i64) -> Settlement {
        settlement(slot, 1, Verdict::Complete { result: None, children: Vec::new() })
    }

    /// First number and places of each run; all other places.
    fn runs(batch: &[Settlement]) -> (Vec<(i64, Vec<usize>)>, Vec<usize>) {
        let batch: Vec<_> = batch.iter().map(|one| (one, &one.verdict)).collect();
        let (runs, rest) = of(&batch);
        (runs.into_iter().map(|run| (run.first.slot, run.places)).collect(), rest)
    }

    #[test]
    fn neighbours_go_together_in_whatever_order_they_end() {
        assert_eq!(runs(&[done(7), done(5), done(6), done(9)]), (vec![(5, vec![1, 2, 0]), (9, vec![3])], vec![]));
    }

    #[test]
    fn a_run_ends_with_its_block_and_with_its_claim() {
        let (found, rest) = runs(&[done(998), done(999), done(1000), done(1001)]);
        assert_eq!((found, rest), (vec![(998, vec![0, 1]), (1000, vec![2, 3])], vec![]));
        let other = settlement(6, 2, Verdict::Complete { result: None, children: Vec::new() });
        assert_eq!(runs(&[done(5), other]), (vec![(5, vec![0]), (6, vec![1])], vec![]));
    }

    #[test]
    fn what_is_more_than_done_goes_alone_and_nothing_stands_in_two_places() {
        let released = settlement(6, 1, Verdict::Release);
        let batch = [done(4), done(5), released, done(5), done(7)];
        assert_eq!(runs(&batch), (vec![(4, vec![0, 1]), (7, vec![4])], vec![2, 3]));
    }

    #[test]
    fn a_run_is_told_by_its_first_job_and_its_length() {
        let batch = [done(12), done(13)];
        let batch: Vec<_> = batch.iter().map(|one| (one, &one.verdict)).collect();
        let argument = of(&batch).0[0].argument();
        assert_eq!(argument.len(), 38);
        assert_eq!((&argument[..14], &argument[34..]), (&b"00000000000012"[..], &[2, 0, 0, 0][..]));
    }
}
