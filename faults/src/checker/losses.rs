//! C1, C2, C3: every acknowledged job has come to its end, and nothing is there that nobody asked for.

use std::collections::{BTreeMap, BTreeSet};

use tidemill::job::{JobId, JobState};

use super::tenure::{Index, Order};
use crate::act::SCHEDULE;
use crate::history::{DumpJob, History};
use crate::report::Report;

pub(super) fn check(history: &History, index: &Index, report: &mut Report) {
    let dump: BTreeMap<JobId, &DumpJob> = history.dump.jobs.iter().map(|job| (job.id, job)).collect();
    report.acked = count(index.orders.values().filter(|order| order.acked.is_some()));
    (report.unsure, report.refused) = (index.unsure_calls, index.refused_calls);
    let mut fate: BTreeMap<&str, Vec<(u64, bool)>> = BTreeMap::new();
    for (job, order) in &index.orders {
        // Nobody can keep what hands at the server take away.
        if index.deleted.contains(job) {
            continue;
        }
        let Some(acked) = order.acked else {
            report.recovered += u64::from(dump.contains_key(job));
            continue;
        };
        let missing = missing(index, dump.get(job).copied(), *job);
        fate.entry(&order.producer).or_default().push((acked, missing.is_none()));
        let Some(missing) = missing else { continue };
        if index.may_be_lost(acked) {
            report.lost_in_window += 1;
            continue;
        }
        report.lost += 1;
        report.find(
            "C1",
            format!("{job} (the {}. of {}) was acknowledged and {missing}", order.asked.nth, order.producer),
        );
    }
    for acks in fate.values_mut() {
        add_where(acks, &mut report.lost_where);
    }
    unexpected(index, &dump, report);
    keys(&index.orders, history, report);
}

/// What is missing of an acknowledged job, if anything.
fn missing(index: &Index, kept: Option<&DumpJob>, job: JobId) -> Option<&'static str> {
    let Some(kept) = kept else { return Some("is not there") };
    if kept.state != JobState::Completed {
        // Not finished: C15 or C12 say so. Dead and cancelled: C9 asks whether it had to be.
        return None;
    }
    let done = |how: &str| how == "well";
    let worked = index.tenures.get(&job).into_iter().flatten();
    let worked = worked.filter_map(|(_, tenure)| tenure.exit.as_ref()).any(|(_, how)| done(how));
    (!worked).then_some("is completed though its work was never done")
}

/// Lost before the first that was kept, between, after the last that was kept.
fn add_where(acks: &mut [(u64, bool)], into: &mut [u64; 3]) {
    acks.sort_unstable();
    let first = acks.iter().position(|(_, kept)| *kept).unwrap_or(acks.len());
    let last = acks.iter().rposition(|(_, kept)| *kept).unwrap_or(0);
    for (nth, _) in acks.iter().enumerate().filter(|(_, (_, kept))| !kept) {
        into[if nth < first {
            0
        } else if nth < last {
            1
        } else {
            2
        }] += 1;
    }
}

fn unexpected(index: &Index, dump: &BTreeMap<JobId, &DumpJob>, report: &mut Report) {
    let by_schedule = format!("schedule:{SCHEDULE}");
    let ticks: BTreeSet<JobId> = dump.values().filter(|job| job.enqueued_by == by_schedule).map(|job| job.id).collect();
    let known = |job: &JobId| index.orders.contains_key(job) || ticks.contains(job);
    for job in dump.keys().chain(index.tenures.keys()).collect::<BTreeSet<_>>() {
        if !known(job) {
            report.find("C2", format!("{job} is there, or was run, and nobody asked for it"));
        }
    }
    let mut dues: BTreeMap<&str, u32> = BTreeMap::new();
    for job in dump.values().filter(|job| job.enqueued_by == by_schedule) {
        *dues.entry(job.payload.as_deref().unwrap_or_default()).or_default() += 1;
    }
    for (due, times) in dues.into_iter().filter(|(_, times)| *times > 1) {
        report.find("C2", format!("the schedule fired {times} times for {due}"));
    }
}

/// One unique key, one job.
fn keys(orders: &BTreeMap<JobId, Order>, history: &History, report: &mut Report) {
    let mut by_key: BTreeMap<&str, u32> = BTreeMap::new();
    for key in history.dump.jobs.iter().filter_map(|job| job.unique_key.as_deref()) {
        *by_key.entry(key).or_default() += 1;
    }
    for order in orders.values() {
        if let Some(times @ 2..) = by_key.get(&*order.asked.key) {
            report.find("C3", format!("the key {} is on {times} jobs", order.asked.key));
        }
    }
}

pub(super) fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}
