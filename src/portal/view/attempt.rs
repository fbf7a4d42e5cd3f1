//! One POST: what became of it, how long each part of it took, and what came back.

use super::super::words;
use crate::clock::Timestamp;
use crate::fanout::history::DeliveryAttempt;
use crate::pages::{Moment, visible};

/// An attempt, ready to be written.
#[derive(Debug)]
pub(in crate::portal) struct AttemptView {
    pub(super) number: u32,
    pub(super) at: Moment,
    pub(super) outcome: (String, &'static str),
    pub(super) detail: Option<String>,
    pub(super) address: Option<String>,
    /// Names and durations, in the order in which they happen.
    pub(super) phases: Vec<(&'static str, String)>,
    pub(super) next: Option<Moment>,
    /// A status came back.
    pub(super) answered: bool,
    pub(super) reply: String,
}

impl AttemptView {
    pub(super) fn new(attempt: &DeliveryAttempt, now: Timestamp) -> Self {
        let ms = |ms: u64| format!("{ms} ms");
        let phases = [
            ("DNS", attempt.dns_ms),
            ("connect", attempt.connect_ms),
            ("TLS", attempt.tls_ms),
            ("first byte after", attempt.first_byte_ms),
            ("whole", attempt.duration_ms),
        ];
        let mut phases: Vec<_> = phases.into_iter().filter_map(|(name, took)| Some((name, ms(took?)))).collect();
        if attempt.reused == Some(true) {
            phases.insert(0, ("connection", "used before".to_owned()));
        }
        Self {
            number: attempt.attempt,
            at: Moment { at: attempt.at, now },
            outcome: words::attempt(attempt),
            detail: words::detail(attempt).map(visible),
            address: attempt.address.as_deref().map(visible),
            phases,
            // What lies behind is the next attempt in the list.
            next: attempt.next_at.filter(|at| *at > now).map(|at| Moment { at, now }),
            answered: attempt.status.is_some(),
            reply: visible(&attempt.reply),
        }
    }
}
