//! C8, C9, C10: not early, every start accounted for, the end that had to come, and none after a cancel.

use std::collections::BTreeMap;

use tidemill::job::{DeadReason, JobId, JobState};

use super::losses::count;
use super::tenure::{Index, Order, Tenure};
use crate::act::Fate;
use crate::event::{VerdictKind, What};
use crate::history::{DumpJob, History};
use crate::report::Report;

/// Stores count whole milliseconds.
const SLACK_NS: u64 = 5_000_000;

pub(super) fn check(history: &History, index: &Index, report: &mut Report) {
    let none = BTreeMap::new();
    let cancels = cancels(history);
    for (job, tenures) in &index.tenures {
        early(history, index.orders.get(job), *job, tenures, report);
    }
    for kept in &history.dump.jobs {
        let tenures = index.tenures.get(&kept.id).unwrap_or(&none);
        if index.may_be_forgotten(&kept.id) {
            continue;
        }
        arithmetic(index, kept, tenures, report);
        if history.rules.no_crashes && kept.crashes > 0 {
            report.find("C9", format!("{} counts {} crashes, and nobody was killed", kept.id, kept.crashes));
        }
        if let Some(order) = index.orders.get(&kept.id) {
            fate(history, kept, order, cancels.contains_key(&kept.id), report);
        }
    }
    for (job, (acked, at_once)) in &cancels {
        let Some(acked) = acked else { continue };
        let tenures = index.tenures.get(job).unwrap_or(&none);
        let late = count(tenures.values().filter(|tenure| tenure.enters.iter().any(|begun| begun > acked)));
        // One that was running, or had been claimed, may still begin.
        if late > u64::from(!at_once) {
            report.find("C10", format!("{job} was started {late} times after its cancel was acknowledged"));
        }
    }
}

/// C8.
fn early(history: &History, order: Option<&Order>, job: JobId, all: &BTreeMap<u64, Tenure>, report: &mut Report) {
    let mut not_before = order.map(|order| order.at + order.asked.delay_ms * 1_000_000);
    for (epoch, tenure) in all {
        let by_store = tenure.claim.as_ref().is_some_and(|(_, claim)| {
            claim.at_ms < claim.run_at_ms || order.and_then(|o| o.asked.due_at_ms).is_some_and(|due| claim.at_ms < due)
        });
        let begun = tenure.enters.first();
        let by_clock = begun.zip(not_before).is_some_and(|(begun, from)| begun + SLACK_NS < from);
        if by_store || by_clock {
            report.early += 1;
            if !history.rules.store_clock_wrong {
                let ms = begun.zip(not_before).map_or(0, |(begun, from)| from.saturating_sub(*begun) / 1_000_000);
                report.find("C8", format!("{job} was started {ms} ms early at claim {epoch}"));
            }
        }
        not_before = tenure.accepted().map(|(end, _)| end.asked + end.delay_ms * 1_000_000);
    }
}

/// C9: claims = attempts + crashes + what is not counted (snoozes, hand-backs).
fn arithmetic(index: &Index, kept: &DumpJob, all: &BTreeMap<u64, Tenure>, report: &mut Report) {
    let uncharged = count(all.values().filter(|tenure| {
        let back = |(end, state): (&super::tenure::Ending, JobState)| {
            matches!(end.verdict, VerdictKind::Snooze | VerdictKind::Release) && !super::is_final(state)
        };
        tenure.accepted().is_some_and(back)
    }));
    let accepted = count(all.values().filter(|tenure| tenure.accepted().is_some()));
    let unknown = kept.epoch.saturating_sub(accepted);
    // What died with its holder, and was claimed again, is a crash; what was not told may be anything.
    let died = count(all.iter().filter(|(epoch, tenure)| {
        let signed_off = tenure.holder.and_then(|h| index.holders.get(&h)).is_some_and(|h| h.signed_off.is_some());
        **epoch < kept.epoch && !signed_off && !tenure.maybe_settled() && index.cut_off(tenure).is_some()
    }));
    let (attempt, crashes) = (u64::from(kept.attempt), u64::from(kept.crashes));
    let other = kept.epoch.checked_sub(attempt + crashes);
    let adds_up = other.is_some_and(|other| (uncharged..=uncharged + unknown).contains(&other));
    if !adds_up || !(died..=unknown).contains(&crashes) || kept.attempt > kept.max_attempts {
        let what = format!(
            "{}: {} claims, {attempt} attempts (of {}), {crashes} crashes (at least {died}), {uncharged} uncharged ends, {unknown} claims without a known end",
            kept.id, kept.epoch, kept.max_attempts
        );
        report.find("C9", what);
    }
    for (epoch, tenure) in all {
        if *epoch > kept.epoch {
            report.find(
                "C9",
                format!("{} was claimed at epoch {epoch} and the store knows only {}", kept.id, kept.epoch),
            );
        }
        let number = tenure.claim.as_ref().map_or(1, |(_, claim)| claim.attempt);
        if number > kept.max_attempts {
            report.find("C9", format!("{} was at attempt {number} of {}", kept.id, kept.max_attempts));
        }
    }
}

/// C9: the end that had to come.
fn fate(history: &History, kept: &DumpJob, order: &Order, cancelled: bool, report: &mut Report) {
    let crashed = kept.dead_reason == Some(DeadReason::Crashed);
    let right = match (kept.state, order.asked.fate) {
        // C15 has its own word for those.
        (JobState::Scheduled | JobState::Ready | JobState::Running, _) => true,
        (JobState::Cancelled, _) => cancelled,
        (JobState::Dead, _) if crashed => kept.crashes >= history.rules.crash_limit,
        (JobState::Completed, Fate::Completed { attempt }) => kept.attempt == attempt,
        (JobState::Dead, Fate::Dead(DeadReason::Exhausted)) => {
            kept.dead_reason == Some(DeadReason::Exhausted) && kept.attempt == kept.max_attempts
        }
        (JobState::Dead, Fate::Dead(reason)) => kept.dead_reason == Some(reason),
        (JobState::Completed, Fate::Dead(_)) | (JobState::Dead, Fate::Completed { .. }) => false,
    };
    if !right {
        let what = format!(
            "{} had to become {:?} and is {} ({:?}) at attempt {} with {} crashes",
            kept.id, order.asked.fate, kept.state, kept.dead_reason, kept.attempt, kept.crashes
        );
        report.find("C9", what);
    }
}

/// The driver's cancels: when each was acknowledged, and whether the job was cancelled with it.
fn cancels(history: &History) -> BTreeMap<JobId, (Option<u64>, bool)> {
    let mut cancels = BTreeMap::new();
    for event in &history.nemesis {
        match event.what {
            What::Cancelling { job } => drop(cancels.entry(job).or_insert((None, false))),
            What::Cancelled { job, at_once } => drop(cancels.insert(job, (Some(event.ns), at_once))),
            _ => {}
        }
    }
    cancels
}
