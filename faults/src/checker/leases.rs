//! C4, C5, C6, C7: who held a job when, and what became of what they wrote.

use std::collections::BTreeMap;

use tidemill::job::{JobId, JobState};

use super::losses::count;
use super::tenure::{Answer, Index, Tenure};
use crate::history::{DumpJob, History};
use crate::report::Report;

pub(super) fn check(history: &History, index: &Index, report: &mut Report) {
    let dump: BTreeMap<JobId, &DumpJob> = history.dump.jobs.iter().map(|job| (job.id, job)).collect();
    for (job, tenures) in &index.tenures {
        let all: Vec<(&u64, &Tenure)> = tenures.iter().collect();
        report.starts += count(all.iter().flat_map(|(_, tenure)| &tenure.enters));
        if index.may_be_forgotten(job) {
            forgotten(&all, report);
            continue;
        }
        repeats(*job, &all, report);
        holders(history, index, *job, &all, report);
        stale(*job, &all, report);
        ends(*job, &all, dump.get(job).copied(), report);
    }
    report.stale_refusals += index.stale_notes;
}

/// A store that has gone back in time by what its mode leaves open does again what it has forgotten.
fn forgotten(all: &[(&u64, &Tenure)], report: &mut Report) {
    let first_end = all.iter().filter(|(_, tenure)| tenure.finished().is_some()).map(|(_, tenure)| &tenure.ends);
    let Some(ended) = first_end.flatten().map(|end| end.asked).min() else { return };
    report.repeats_in_window += count(all.iter().flat_map(|(_, t)| &t.enters).filter(|begun| **begun > ended));
}

/// C4: what came before each start.
fn repeats(job: JobId, all: &[(&u64, &Tenure)], report: &mut Report) {
    for (nth, (epoch, tenure)) in all.iter().enumerate() {
        let Some(begun) = tenure.enters.first() else { continue };
        if tenure.enters.len() > 1 {
            report.illegal_repeats += 1;
            report.find("C4", format!("{job}: claim {epoch} was started {} times", tenure.enters.len()));
        }
        let own_end = tenure.accepted().is_some_and(|(end, state)| super::is_final(state) && end.asked < *begun);
        let finished = all[..nth].iter().find(|(_, before)| before.finished().is_some());
        if own_end || finished.is_some() {
            report.illegal_repeats += 1;
            let by = finished.map_or(epoch, |(epoch, _)| epoch);
            report.find("C4", format!("{job} was started at claim {epoch} after claim {by} had finished it"));
            continue;
        }
        let Some((_, before)) = all[..nth].iter().rev().find(|(_, before)| !before.enters.is_empty()) else { continue };
        match before.accepted() {
            Some(_) => {}
            None if before.maybe_settled() => report.dup_unknown += 1,
            None => report.dup_lease += 1,
        }
    }
}

/// C5: a holder keeps the job until it has given it back or its lease is over; effects side by side only after that.
fn holders(history: &History, index: &Index, job: JobId, all: &[(&u64, &Tenure)], report: &mut Report) {
    for pair in all.windows(2) {
        let [(first, before), (second, after)] = pair else { continue };
        let legal = history.rules.store_clock_wrong || was_free(history, index, before, after);
        if !legal {
            let what = format!("{job}: claim {second} took it from claim {first}, whose lease was not over");
            report.find("C5", what);
        }
        let (Some(begun), Some(_)) = (after.enters.first(), before.enters.first()) else { continue };
        let over = index.over(before).unwrap_or(u64::MAX);
        if *begun >= over {
            continue;
        }
        let until = index.over(after).unwrap_or(u64::MAX).min(over);
        report.legal_overlaps += u64::from(legal);
        if legal && until != u64::MAX {
            report.longest_overlap_ms = report.longest_overlap_ms.max((until - begun) / 1_000_000);
        }
    }
}

/// The job was nobody's when `after` claimed it, as far as can be known.
fn was_free(history: &History, index: &Index, before: &Tenure, after: &Tenure) -> bool {
    let Some((after_ns, after_claim)) = &after.claim else { return true };
    let Some((_, claim)) = &before.claim else { return true };
    if before.ends.iter().any(|end| end.answer != Answer::Refused && end.asked < *after_ns) {
        return true;
    }
    let Some(holding) = before.holder.and_then(|holder| index.holders.get(&holder)) else { return true };
    if holding.signed_off.is_some_and(|ns| ns < *after_ns) {
        return true;
    }
    let rules = &history.rules;
    let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX / 4);
    let deadline = claim.at_ms + ms(claim.timeout_ms) + ms(rules.deadline_grace_ms);
    let last_beat = holding.beats.iter().filter(|beat| **beat <= after_claim.at_ms).max();
    let expired = last_beat.is_none_or(|beat| beat + ms(rules.lease_ms) <= after_claim.at_ms);
    expired || deadline <= after_claim.at_ms
}

/// C6: nothing that an earlier holder wrote was accepted once a later one had the job.
fn stale(job: JobId, all: &[(&u64, &Tenure)], report: &mut Report) {
    for (nth, (epoch, tenure)) in all.iter().enumerate() {
        report.stale_refusals += count(tenure.ends.iter().filter(|end| end.answer == Answer::Refused));
        let Some(taken) = all[nth + 1..].iter().filter_map(|(_, later)| later.claim.as_ref().map(|(ns, _)| *ns)).min()
        else {
            continue;
        };
        // The call began after the other's claim had returned: there is no order in which both are right.
        let settles = tenure.ends.iter().filter(|end| matches!(end.answer, Answer::Accepted(_)) && end.asked > taken);
        // A note is written down after its answer; one that was under way may have come first.
        let accepted = count(settles);
        if accepted > 0 {
            report.stale_accepted += accepted;
            report.find("C6", format!("{job}: claim {epoch} was settled after a later claim had it"));
        }
    }
}

/// C7: one end, and the store still shows it.
fn ends(job: JobId, all: &[(&u64, &Tenure)], kept: Option<&DumpJob>, report: &mut Report) {
    let finals: Vec<(u64, JobState)> = all
        .iter()
        .flat_map(|(epoch, tenure)| tenure.ends.iter().map(move |end| (**epoch, end.answer)))
        .filter_map(|(epoch, answer)| match answer {
            Answer::Accepted(state) if super::is_final(state) => Some((epoch, state)),
            _ => None,
        })
        .collect();
    if finals.len() > 1 {
        report.find("C7", format!("{job} has ended {} times: {finals:?}", finals.len()));
    }
    let (Some((epoch, state)), Some(kept)) = (finals.first(), kept) else { return };
    if kept.state != *state || kept.epoch != *epoch {
        let what = format!(
            "{job} had ended as {state} at claim {epoch}, and the dump says {} at claim {}",
            kept.state, kept.epoch
        );
        report.find("C7", what);
    }
}
