//! Judges a run from outside: from what the sender and the receiver have logged and what the files say, never from what
//! the service says of itself.

mod faults;
mod jobs;
mod tables;
mod webhooks;

use std::collections::BTreeSet;
use std::fmt;

use super::history::History;

/// A dead worker's jobs run again within this, once somebody lives who can run them.
pub(super) const RECOVERY_MAX_MS: i64 = 10_000;

/// A run that holds less than this has shown nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AtLeast {
    pub(super) acked: usize,
    pub(super) kills: usize,
    pub(super) kills_with_running: usize,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An acknowledged event has left no trace where it must.
    Lost { event: String, missing: &'static str },
    /// Something is there that nobody sent.
    Invented { what: String },
    /// There is more than one of what there must be one of.
    Twice { event: String, what: &'static str, times: usize },
    /// A job went on after it had finished.
    FinishedTwice { job: String, why: String },
    /// The receiver got it again though no worker had died over it.
    IllegalRepeat { message: String, posts: usize, crashes: i64 },
    /// The receiver got it after its job had finished.
    PostAfterFinish { message: String },
    /// It should be completed and is not.
    NotCompleted { job: String, kind: String, state: String },
    /// Its starts are not accounted for by attempts, crashes and clean stops.
    Miscounted { job: String, why: String },
    /// It was running at a kill and has not been started again.
    Abandoned { job: String },
    /// It was started again too late.
    SlowRecovery { job: String, ms: i64 },
    /// It runs, and nobody runs it.
    Limbo { job: String },
    /// A maintained number is not the counted one.
    WrongCounter { name: String, kept: i64, counted: i64 },
    /// A row without its parent, or a number that its rows do not add up to.
    BadTable { what: String },
    /// The mirror is not what the sender has.
    MirrorDiffers { id: String, kept: Option<String>, real: Option<String> },
    /// A file is damaged.
    Damaged { file: &'static str, what: String },
    /// Too little happened to show anything.
    Void { what: String },
}

/// What a run has shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) faults: Vec<Fault>,
    pub(super) acked: usize,
    /// Requests that the sender has made, and events that were accepted more than once.
    pub(super) posts: u32,
    pub(super) accepted_again: usize,
    pub(super) kills: usize,
    pub(super) kills_with_running: usize,
    /// Attempts that a kill has cut off.
    pub(super) cut_off: usize,
    /// POSTs beyond the first of a message, each after the death of its worker.
    pub(super) dup_crash: usize,
    /// From a kill to the next start, with no other kill in between; ms, sorted.
    pub(super) recovery: Vec<i64>,
    /// Jobs that other kills have kept from being started again, and the longest such wait in ms.
    pub(super) held_up: (usize, i64),
}

/// Judges a run.
pub(super) fn check(history: &History, at_least: AtLeast) -> Report {
    let mut report = Report {
        acked: history.sent.iter().filter(|sent| sent.acks > 0).count(),
        posts: history.sent.iter().map(|sent| sent.posts).sum(),
        accepted_again: history.sent.iter().filter(|sent| sent.acks > 1).count(),
        kills: history.kills.len(),
        kills_with_running: history.kills.iter().filter(|kill| kill.running().next().is_some()).count(),
        ..Report::default()
    };
    webhooks::check(history, &mut report);
    jobs::check(history, &mut report);
    faults::check(history, &mut report);
    tables::check(history, &mut report);
    let wanted = [
        ("acknowledged events", report.acked, at_least.acked),
        ("kills", report.kills, at_least.kills),
        ("kills with running jobs", report.kills_with_running, at_least.kills_with_running),
    ];
    for (what, n, min) in wanted.into_iter().filter(|(_, n, min)| n < min) {
        report.faults.push(Fault::Void { what: format!("{n} {what}, fewer than {min}") });
    }
    report
}

impl Report {
    /// How many different things a fault is about.
    fn count<'a>(&'a self, about: impl Fn(&'a Fault) -> Option<&'a str>) -> usize {
        self.faults.iter().filter_map(about).collect::<BTreeSet<_>>().len()
    }

    fn recovery_at(&self, percent: usize) -> i64 {
        let nth = (self.recovery.len() * percent).div_ceil(100);
        self.recovery.get(nth.saturating_sub(1)).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.count(|fault| match fault {
            Fault::Lost { event: what, .. } | Fault::Abandoned { job: what } => Some(what),
            _ => None,
        });
        let twice = self.count(|fault| match fault {
            Fault::FinishedTwice { job: what, .. }
            | Fault::Twice { event: what, .. }
            | Fault::PostAfterFinish { message: what } => Some(what),
            _ => None,
        });
        write!(
            f,
            "acked {} ({} of them again, {} requests), kills {} ({} with running jobs, {} attempts cut off), lost {lost}, finished twice {twice}, \
             dup_crash {}, recovery p50/p99/max {}/{}/{} ms of {}, held up by further kills {} (longest {} ms)",
            self.acked,
            self.accepted_again,
            self.posts,
            self.kills,
            self.kills_with_running,
            self.cut_off,
            self.dup_crash,
            self.recovery_at(50),
            self.recovery_at(99),
            self.recovery_at(100),
            self.recovery.len(),
            self.held_up.0,
            self.held_up.1,
        )
    }
}
