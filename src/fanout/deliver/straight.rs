//! A first attempt to an endpoint that was sent to before: read, vetted and opened in one transaction.
//!
//! Goes by what the last delivery has seen of the endpoint; the transaction that opens the line finds out whether it still
//! holds. Where it does not, nothing has happened, and the long way is taken.

use tokio_util::sync::CancellationToken;

use super::super::FanoutState;
use super::super::ledger::{Begun, Straight};
use super::{Deliver, Turn, admit, close, opening, outgoing, post, snooze};
use crate::job::{Done, JobError};
use crate::queue::Queue;
use crate::worker::Context;

/// `None`: it is not one of those.
pub(super) async fn deliver_straight(
    state: &FanoutState,
    queue: &Queue,
    job: &Deliver,
    turn: Turn,
    trace: Option<&str>,
    stop: &CancellationToken,
    place: Option<&Context>,
) -> Option<Result<Done, JobError>> {
    // After a failure the next POST may be the breaker's one probe: it is not to be spent on what may have changed.
    if turn.number > 1 || turn.epoch > 1 || !state.gate.is_calm(&job.endpoint) {
        return None;
    }
    let (known, ready) = state.wardrobe.known(&job.endpoint).filter(|(known, _)| known.is_open())?;
    let target = ready.target.as_ref().ok()?;
    let pass = match admit(state, queue, job, &known.sending).await {
        Ok(pass) => pass,
        Err(error) => return Some(Err(error)),
    };
    let opening = opening(state, job, "", &known.sending, &target.host, turn);
    let (attempt, now) = (opening.attempt.clone(), opening.now);
    let begun = state.db.together(Straight { job: job.clone(), known, opening }).await;
    let due = match begun {
        Ok(Begun::Opened(due)) => due,
        other => {
            pass.give_back(queue.store().as_ref()).await;
            drop(pass);
            return match other {
                Ok(Begun::Busy) => Some(Err(snooze(state.gate.busy(&job.endpoint, now)))),
                Err(error) => Some(Err(error.into())),
                Ok(Begun::Opened(_) | Begun::Otherwise) => None,
            };
        }
    };
    let out = outgoing(state, job, &due, target, &ready.dress, trace);
    let posted = post(state, stop, out, place).await;
    Some(close(state, queue, job, &due, &attempt, posted, turn, Some(pass)).await)
}
