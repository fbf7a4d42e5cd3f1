//! C15 and C16: the queue has become empty, and enough has happened for that to mean something.

use std::collections::BTreeMap;

use tidemill::job::JobState;

use crate::event::What;
use crate::history::History;
use crate::report::Report;

/// C15: true when the queue is empty and the driver has seen it in time.
pub(super) fn drained(history: &History, report: &mut Report) -> bool {
    let quiet = history.nemesis.iter().find(|event| event.what == What::Quiet);
    let end = history.nemesis.iter().find_map(|event| match &event.what {
        What::Drained { complete, left } => Some((event.ns, *complete, *left)),
        _ => None,
    });
    if let (Some(quiet), Some((end, ..))) = (quiet, end) {
        report.drain_ms = end.saturating_sub(quiet.ns) / 1_000_000;
    }
    let first = history.logs.values().flatten().chain(&history.nemesis).map(|event| event.ns).min();
    let last = history.nemesis.last().map(|event| event.ns);
    report.took_ms = last.zip(first).map_or(0, |(last, first)| last.saturating_sub(first) / 1_000_000);
    let open = history
        .dump
        .jobs
        .iter()
        .filter(|job| matches!(job.state, JobState::Scheduled | JobState::Ready | JobState::Running))
        .count();
    match end {
        Some((_, true, _)) if open == 0 => true,
        Some((.., left)) => {
            report.find("C15", format!("not drained in time: {left} jobs were left, the dump has {open}"));
            false
        }
        None => {
            report.find("C15", "the driver has not waited for the end");
            false
        }
    }
}

/// C16: true when it was enough.
pub(super) fn enough(history: &History, report: &mut Report) -> bool {
    for (_, cause) in history.ends().into_values() {
        if !cause.starts_with("exit") {
            *report.kills.entry(cause).or_default() += 1;
        }
    }
    let mut noticed: BTreeMap<String, u64> = BTreeMap::new();
    for event in &history.nemesis {
        match &event.what {
            What::Noticed { name, count } => *noticed.entry(name.clone()).or_default() += count,
            What::Deleted { .. } => *noticed.entry("jobs deleted by hand".into()).or_default() += 1,
            What::Stopped { .. } => *noticed.entry("stopped".into()).or_default() += 1,
            What::Fault { name } => *noticed.entry(name.clone()).or_default() += 1,
            What::Cancelled { .. } => *noticed.entry("cancelled".into()).or_default() += 1,
            _ => {}
        }
    }
    let settled = settled_while_full(history);
    if settled > 0 {
        noticed.insert("settled while the store was full".into(), settled);
    }
    report.noticed = noticed;
    let least = &history.rules.at_least;
    let mut wanted = vec![
        ("acknowledged jobs".to_owned(), report.acked, least.acked),
        ("unsure enqueues".to_owned(), report.unsure, least.unsure),
        ("refused enqueues".to_owned(), report.refused, least.refused),
        ("stale refusals".to_owned(), report.stale_refusals, least.stale_refusals),
        ("starts".to_owned(), report.starts, least.starts),
    ];
    let of = |map: &BTreeMap<String, u64>, name: &str| map.get(name).copied().unwrap_or(0);
    wanted.extend(least.kills.iter().map(|(step, n)| (format!("kills at {step}"), of(&report.kills, step), *n)));
    wanted.extend(least.noticed.iter().map(|(name, n)| (name.clone(), of(&report.noticed, name), *n)));
    let mut enough = history.dump.inspected;
    if !enough {
        report.find("C16", "the dump was not inspected for damage");
    }
    for (what, n, min) in wanted {
        if n < min {
            enough = false;
            report.find("C16", format!("{n} {what}, fewer than {min}"));
        }
    }
    enough
}

/// Ends that a store without room for more has accepted all the same.
fn settled_while_full(history: &History) -> u64 {
    let (mut full, mut windows) = (None, Vec::new());
    for event in &history.nemesis {
        match &event.what {
            What::Fault { name } if name == "store full" => full = Some(event.ns),
            What::Healed { name } if name == "store full" => windows.extend(full.take().map(|from| from..event.ns)),
            _ => {}
        }
    }
    let accepted = history.logs.values().flatten().map(|event| match &event.what {
        What::Settled { answers, .. } if windows.iter().any(|window| window.contains(&event.ns)) => {
            answers.iter().flatten().count()
        }
        _ => 0,
    });
    u64::try_from(accepted.sum::<usize>()).unwrap_or(u64::MAX)
}
