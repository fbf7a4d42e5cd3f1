//! What an answer makes of its delivery and of its endpoint: pure rules, apart from the jitter.

use std::time::Duration;

use super::super::FanoutState;
use super::super::endpoints::{ASKED_TO_STOP, GONE};
use super::super::ledger::Next;
use super::super::post::{Answer, ErrorClass, Posted, Steer};
use super::gate::Shown;
use super::{Sending, Turn};
use crate::job::parse_retry_after;

/// A receiver that says 429 and names no time is left alone for so long. (A 503 without a time is what any broken proxy
/// says: a failure like others.)
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// One that names a time with 429 or 503 is left alone for so long, at least and at most. The delivery that was refused
/// may wait longer.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3600)];

/// The sentence.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) next: Next,
    /// Before the next attempt, if there is one.
    pub(super) wait: Duration,
    /// The endpoint is to be disabled, for this reason.
    pub(super) disable: Option<&'static str>,
    /// What it says of the endpoint.
    pub(super) shown: Shown,
}

/// Of one POST.
pub(super) fn judge(state: &FanoutState, sending: &Sending, posted: &Posted, turn: Turn) -> Judged {
    let now = state.clock.now();
    let steer = match &posted.answer {
        Answer::Status { steer, .. } => *steer,
        Answer::Nothing { .. } => None,
    };
    let disable = (steer == Some(Steer::Disable)).then_some(ASKED_TO_STOP);
    let judged = |next, shown| Judged { next, wait: Duration::ZERO, disable, shown };
    match &posted.answer {
        Answer::Status { status: 200..=299, .. } => return judged(Next::Succeeded, Shown::Works),
        Answer::Status { status: 410, .. } => {
            return Judged { disable: disable.or(Some(GONE)), ..judged(Next::Cancelled(GONE), Shown::Nothing) };
        }
        // The worker settles it by the reason of the stop, not by the schedule.
        Answer::Nothing { class: ErrorClass::Stopped, .. } => return judged(Next::Unchanged, Shown::Nothing),
        Answer::Status { .. } | Answer::Nothing { .. } => {}
    }
    let named = named(state, &posted.answer);
    let shown = match &posted.answer {
        Answer::Status { status: 429 | 503, .. } if named.is_some() => {
            Shown::Pause(named.unwrap_or_default().clamp(PAUSES[0], PAUSES[1]))
        }
        Answer::Status { status: 429, .. } => Shown::Pause(SLOW_DOWN),
        Answer::Nothing { class: ErrorClass::Refused, .. } => Shown::Nothing,
        Answer::Status { .. } | Answer::Nothing { .. } => Shown::Fails,
    };
    match steer {
        Some(Steer::Disable) => judged(Next::Cancelled(ASKED_TO_STOP), shown),
        Some(Steer::Abort) => judged(Next::Cancelled("the receiver answered `webhook-delivery: abort-message`"), shown),
        None if turn.is_last => judged(Next::Exhausted, shown),
        None => {
            let delays = sending.retry_delays_ms.as_deref().unwrap_or(&state.config.retry_delays_ms);
            let scheduled = state.config.delay_in(delays, turn.number, &state.entropy);
            // Never a shorter wait: the schedule spends its attempts over days, and a receiver that says "in a second" ten
            // times would use them up in ten.
            let wait = scheduled.max(named.unwrap_or_default());
            Judged { wait, ..judged(Next::Again(now.after(wait)), shown) }
        }
    }
}

/// The wait that a 429 or 503 named, up to the cap.
fn named(state: &FanoutState, answer: &Answer) -> Option<Duration> {
    let cap = Duration::from_millis(state.config.retry_after_cap_ms);
    match answer {
        Answer::Status { status: 429 | 503, retry_after: Some(value), .. } => {
            parse_retry_after(value, state.clock.now(), cap)
        }
        _ => None,
    }
}
