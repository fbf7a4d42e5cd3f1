//! Every job ends completed, once, and each of its starts is accounted for.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{History, Job};
use super::{Fault, Report};

pub(super) fn check(history: &History, report: &mut Report) {
    for job in &history.dump.jobs {
        if job.state != "completed" {
            let (id, kind, state) = (job.id.clone(), job.kind.clone(), job.state.clone());
            report.faults.push(Fault::NotCompleted { job: id, kind, state });
        }
        let unexplained = job.epoch - job.attempt - job.crashes;
        if !(0..=i64::try_from(history.stops).unwrap_or(i64::MAX)).contains(&unexplained) {
            let why = format!("{} starts, {} attempts, {} crashes", job.epoch, job.attempt, job.crashes);
            report.faults.push(Fault::Miscounted { job: job.id.clone(), why });
        }
        if job.state == "running" && !job.holder.as_ref().is_some_and(|holder| history.dump.alive.contains(holder)) {
            report.faults.push(Fault::Limbo { job: job.id.clone() });
        }
    }
    finality(history, report);
    posts(history, report);
}

/// What a kill has found finished is at the end as it was then.
fn finality(history: &History, report: &mut Report) {
    let last: BTreeMap<&str, &Job> = history.dump.jobs.iter().map(|job| (job.id.as_str(), job)).collect();
    for before in history.kills.iter().flat_map(|kill| &kill.seen).filter(|job| job.finished_at.is_some()) {
        match last.get(before.id.as_str()) {
            Some(after) if **after == *before => {}
            Some(after) => {
                let why = format!(
                    "{} at epoch {}, later {} at epoch {}",
                    before.state, before.epoch, after.state, after.epoch
                );
                report.faults.push(Fault::FinishedTwice { job: before.id.clone(), why });
            }
            None => {
                let (job, why) = (before.id.clone(), "it was finished, and later it was not there".into());
                report.faults.push(Fault::FinishedTwice { job, why });
            }
        }
    }
}

/// A message is POSTed again only when its job's worker has died, and never after its job has finished.
fn posts(history: &History, report: &mut Report) {
    let mut posts: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for post in &history.received {
        posts.entry(&post.message).or_default().push(post.at);
    }
    let messages: BTreeSet<&str> = history.dump.messages.iter().map(|(id, _)| id.as_str()).collect();
    let mut jobs: BTreeMap<&str, Vec<&Job>> = BTreeMap::new();
    for job in history.dump.jobs.iter().filter(|job| job.kind == "webhook.deliver") {
        jobs.entry(&job.about).or_default().push(job);
    }
    for (message, times) in posts {
        let of = jobs.get(message).map_or(&[][..], Vec::as_slice);
        if !messages.contains(message) || of.is_empty() {
            report.faults.push(Fault::Invented { what: message.into() });
            continue;
        }
        let extra = times.len().saturating_sub(of.len());
        let crashes: i64 = of.iter().map(|job| job.crashes).sum();
        if extra > usize::try_from(crashes).unwrap_or(0) {
            report.faults.push(Fault::IllegalRepeat { message: message.into(), posts: times.len(), crashes });
        }
        report.dup_crash += extra;
        let finished = of.iter().filter_map(|job| job.finished_at).max();
        if times.iter().any(|at| finished.is_some_and(|finished| *at > finished)) {
            report.faults.push(Fault::PostAfterFinish { message: message.into() });
        }
    }
}
