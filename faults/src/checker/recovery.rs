//! C11: what a dead worker held runs again in time.

use super::tenure::Index;
use crate::event::{Event, What};
use crate::history::History;
use crate::report::Report;

pub(super) fn check(history: &History, index: &Index, report: &mut Report) {
    for (job, tenures) in &index.tenures {
        for (epoch, tenure) in tenures {
            let (Some(died), false) = (index.cut_off(tenure), tenure.maybe_settled()) else { continue };
            let Some((next, begun)) =
                tenures.range(epoch + 1..).find_map(|(next, later)| later.enters.first().map(|begun| (next, *begun)))
            else {
                continue;
            };
            // Another had it before its process died.
            if begun < died || history.rules.store_clock_wrong {
                continue;
            }
            let disturbed = index.disturbed.iter().any(|(from, to)| *from < begun && died < *to);
            // Its next holder has died too before it could begin, or nobody lived through all of it who could have begun it.
            let lived = index.lives.iter().any(|(from, to)| *from <= died && begun <= *to);
            if disturbed || !lived || *next != epoch + 1 {
                report.held_up += 1;
                continue;
            }
            let ms = begun.saturating_sub(died) / 1_000_000;
            report.recovery_ms.push(ms);
            if ms > history.rules.recovery_max_ms {
                report.find("C11", format!("{job} ran again only {ms} ms after its worker had died"));
            }
        }
    }
    report.recovery_ms.sort_unstable();
    for event in &history.nemesis {
        if let What::Overstayed { node } = &event.what {
            report.find("C11", format!("{node} did not end after SIGTERM and had to be killed"));
        }
    }
    if history.rules.no_false_deaths {
        let declared = |event: &Event| matches!(event.what, What::DeclaredDead { .. });
        for ((node, life), _) in history.logs.iter().filter(|(_, events)| events.iter().any(declared)) {
            report.find("C5", format!("{node}.{life} was alive and was declared dead"));
        }
    }
    for ((node, life), (_, cause)) in &index.ends {
        if cause.starts_with("exit") && cause != "exit 0" {
            report.find("C11", format!("{node}.{life} has ended by itself: {cause}; its .err file says why"));
        }
    }
}
