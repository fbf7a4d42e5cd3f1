//! The files agree with themselves, and the mirror with the sender's own books.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::History;
use super::{Fault, Report};

pub(super) fn check(history: &History, report: &mut Report) {
    let dump = &history.dump;
    for (file, what) in dump.integrity.iter().filter(|(_, what)| what != "ok") {
        report.faults.push(Fault::Damaged { file, what: what.clone() });
    }
    if dump.integrity.is_empty() {
        report.faults.push(Fault::Void { what: "no file was checked for damage".into() });
    }
    counters(history, report);
    attempts(history, report);
    let ids: BTreeSet<&String> = dump.mirror.keys().chain(history.books.keys()).collect();
    for id in ids {
        let (kept, real) = (dump.mirror.get(id), history.books.get(id));
        if kept != real {
            let (kept, real) = (kept.cloned(), real.cloned());
            report.faults.push(Fault::MirrorDiffers { id: id.clone(), kept, real });
        }
    }
}

/// Nothing is pruned in a run, so the counters, the totals and a full count are the same numbers.
fn counters(history: &History, report: &mut Report) {
    let dump = &history.dump;
    let mut counted: BTreeMap<(String, String), i64> = BTreeMap::new();
    for job in &dump.jobs {
        *counted.entry((job.queue.clone(), job.state.clone())).or_insert(0) += 1;
    }
    let keys: BTreeSet<_> = dump.counts.keys().chain(counted.keys()).collect();
    let mut compare = |name: String, kept: Option<&i64>, counted: Option<&i64>| {
        let (kept, counted) = (kept.copied().unwrap_or(0), counted.copied().unwrap_or(0));
        if kept != counted {
            report.faults.push(Fault::WrongCounter { name, kept, counted });
        }
    };
    for key in keys {
        compare(format!("queue {}, {}", key.0, key.1), dump.counts.get(key), counted.get(key));
    }
    // One more than the completed jobs: a job was completed twice.
    for (queue, kept) in &dump.completed {
        compare(
            format!("queue {queue}, completed in total"),
            Some(kept),
            counted.get(&(queue.clone(), "completed".into())),
        );
    }
}

/// Every attempt is of a delivery, every delivery of a message, the numbers add up, and 2xx was logged once at most.
fn attempts(history: &History, report: &mut Report) {
    let dump = &history.dump;
    let mut bad = |what: String| report.faults.push(Fault::BadTable { what });
    let messages: BTreeSet<&str> = dump.messages.iter().map(|(id, _)| id.as_str()).collect();
    let mut logged: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (delivery, well) in &dump.attempts {
        let (all, good) = logged.entry(delivery).or_default();
        *all += 1;
        *good += i64::from(*well);
    }
    for delivery in &dump.deliveries {
        if !messages.contains(delivery.message.as_str()) {
            bad(format!("delivery {} has no message", delivery.id));
        }
        let (all, good) = logged.remove(delivery.id.as_str()).unwrap_or_default();
        if all != delivery.attempts {
            bad(format!("delivery {} counts {} attempts, {all} are logged", delivery.id, delivery.attempts));
        }
        if good != i64::from(delivery.state == "succeeded") {
            bad(format!("delivery {} is {} with {good} good answers", delivery.id, delivery.state));
        }
    }
    for delivery in logged.keys() {
        bad(format!("attempts of a delivery {delivery} that is not there"));
    }
}
