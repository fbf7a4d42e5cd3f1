//! Each attempt that a kill has cut off was counted as a crash, and started again in time.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{History, Job};
use super::{Fault, RECOVERY_MAX_MS, Report};

pub(super) fn check(history: &History, report: &mut Report) {
    let by_id =
        |jobs: &'_ [Job]| -> BTreeMap<String, Job> { jobs.iter().map(|job| (job.id.clone(), job.clone())).collect() };
    let mut looks: Vec<_> = history.kills.iter().map(|kill| by_id(&kill.seen)).collect();
    looks.push(by_id(&history.dump.jobs));
    let mut cut_off: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for (nth, kill) in history.kills.iter().enumerate() {
        for job in kill.running() {
            // The holder of an earlier kill, not yet rescued: counted there.
            if !cut_off.entry(&job.id).or_default().insert(job.epoch) {
                continue;
            }
            let again = looks.iter().skip(nth + 1).filter_map(|look| look.get(&job.id)).find(|j| j.epoch > job.epoch);
            match again.and_then(|again| again.started_at) {
                Some(start) => recovered(history, report, &job.id, kill.at, start),
                None => report.faults.push(Fault::Abandoned { job: job.id.clone() }),
            }
        }
    }
    report.cut_off = cut_off.values().map(BTreeSet::len).sum();
    report.recovery.sort_unstable();
    for (job, epochs) in cut_off {
        let crashes = looks.last().and_then(|look| look.get(job)).map_or(0, |job| job.crashes);
        if crashes < i64::try_from(epochs.len()).unwrap_or(i64::MAX) {
            let why = format!("cut off {} times, {crashes} crashes", epochs.len());
            report.faults.push(Fault::Miscounted { job: job.into(), why });
        }
    }
}

/// The time counts from the last kill before the start: where nobody lives, nobody can start anything.
fn recovered(history: &History, report: &mut Report, job: &str, killed: i64, start: i64) {
    let last_kill = history.kills.iter().map(|kill| kill.at).filter(|at| *at <= start).max().unwrap_or(killed);
    let ms = start - last_kill;
    if last_kill == killed {
        report.recovery.push(ms);
    } else {
        report.held_up = (report.held_up.0 + 1, report.held_up.1.max(start - killed));
    }
    if ms > RECOVERY_MAX_MS {
        report.faults.push(Fault::SlowRecovery { job: job.into(), ms });
    }
}
