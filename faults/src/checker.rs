//! Judges a run from outside. The rules' numbers are those of the plan in `docs/reliability.md`:
//! C1 lost, C2 unexpected, C3 recovered, C4 repeats, C5 overlap, C6 stale writes accepted, C7 two ends, C8 early starts, C9
//! attempts, C10 starts after a cancel, C11 recovery, C12 the dump, C15 not drained, C16 too little happened.

mod attempts;
mod dump;
#[cfg(test)]
mod forged;
mod leases;
mod losses;
mod recovery;
mod tenure;
mod volume;

use tidemill::job::JobState;

use self::tenure::Index;
use crate::history::History;
use crate::report::{Report, Verdict};

/// Judges a run.
pub fn check(history: &History) -> Report {
    let rules = &history.rules;
    let mut report =
        Report { scenario: rules.scenario.clone(), store: rules.store.clone(), seed: rules.seed, ..Report::default() };
    let index = Index::new(history);
    losses::check(history, &index, &mut report);
    leases::check(history, &index, &mut report);
    attempts::check(history, &index, &mut report);
    recovery::check(history, &index, &mut report);
    dump::check(history, &mut report);
    let broken = !report.findings.is_empty();
    let drained = volume::drained(history, &mut report);
    let enough = volume::enough(history, &mut report);
    report.verdict = match (broken, drained, enough) {
        (true, ..) => Verdict::Invalid,
        (false, false, _) => Verdict::Unknown,
        (false, true, false) => Verdict::Void,
        (false, true, true) => Verdict::Valid,
    };
    report
}

/// An end that nothing comes after.
fn is_final(state: JobState) -> bool {
    state.is_finished()
}
