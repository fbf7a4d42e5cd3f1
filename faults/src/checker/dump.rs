//! C12: the dump agrees with itself: each job in one state, counters equal to a count, nobody in limbo, nothing damaged.

use std::collections::{BTreeMap, BTreeSet};

use tidemill::job::{JobId, JobState};

use super::losses::count;
use crate::history::History;
use crate::report::Report;

pub(super) fn check(history: &History, report: &mut Report) {
    let dump = &history.dump;
    let mut seen = BTreeSet::new();
    for job in &dump.jobs {
        if !seen.insert(job.id) {
            report.find("C12", format!("{} is listed twice", job.id));
        }
        let held = job.holder.is_some_and(|holder| dump.alive.contains(&holder));
        if job.state == JobState::Running && !held {
            report.find("C12", format!("{} is running and nobody alive holds it", job.id));
        }
    }
    let states: BTreeMap<JobId, JobState> = dump.jobs.iter().map(|job| (job.id, job.state)).collect();
    let mut placed = BTreeSet::new();
    for (state, jobs) in &dump.by_state {
        for job in jobs {
            if !placed.insert(*job) || states.get(job) != Some(state) {
                let real = states.get(job);
                report.find("C12", format!("{job} is in the list of {state} jobs, and it is {real:?} or in two lists"));
            }
        }
    }
    for job in states.keys().filter(|job| !placed.contains(job)) {
        report.find("C12", format!("{job} is in no state's list"));
    }
    for state in JobState::ALL {
        let counted = count(dump.jobs.iter().filter(|job| job.state == state));
        let kept = dump.counters.get(&state).copied().unwrap_or(0);
        if counted != kept {
            report.find("C12", format!("the counter of {state} jobs says {kept}, there are {counted}"));
        }
    }
    let completed = count(dump.jobs.iter().filter(|job| job.state == JobState::Completed));
    if dump.completed_total != completed {
        let what = format!("{} completions were counted, {completed} jobs are completed", dump.completed_total);
        report.find("C12", what);
    }
    for damage in &dump.damage {
        report.find("C12", damage.clone());
    }
}
