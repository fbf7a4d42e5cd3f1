//! A first attempt to an endpoint that was sent to before: vetted and opened in one transaction.
//!
//! Goes by what the last delivery has seen of the endpoint; the transaction that opens the line finds out whether it still
//! holds. Where it does not, nothing has happened but that the endpoint's gate was passed; the long way goes on from there.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::FanoutState;
use super::super::ledger::{Begun, Straight};
use super::{Admitted, Deliver, Turn, admit, close, opening, outgoing, post, snooze, step_in};
use crate::job::{Done, JobError};
use crate::queue::Queue;
use crate::worker::Context;

/// What becomes of an attempt.
pub(super) enum Way {
    Done(Result<Done, JobError>),
    /// It is not one of those; what it was admitted with, if it got so far.
    Long(Option<Admitted>),
}

#[expect(clippy::too_many_arguments, reason = "what a handler is given")]
pub(super) async fn deliver_straight(
    state: &FanoutState,
    queue: &Queue,
    job: &Deliver,
    delivery: &str,
    turn: Turn,
    trace: Option<&str>,
    stop: &CancellationToken,
    place: Option<&Context>,
) -> Way {
    // After a failure the next POST may be the breaker's one probe: it is not to be spent on what may have changed.
    if turn.number > 1 || turn.epoch > 1 || !state.gate.is_calm(&job.endpoint) {
        return Way::Long(None);
    }
    let known = state.wardrobe.known(&job.endpoint).filter(|(known, ..)| known.is_open());
    let Some((known, revision, ready)) = known else { return Way::Long(None) };
    let Ok(target) = &ready.target else { return Way::Long(None) };
    let pass = match admit(state, queue, job, &known.sending).await {
        Ok(pass) => pass,
        Err(error) => return Way::Done(Err(error)),
    };
    let kept = state.contents.get(&job.message);
    let was_kept = kept.is_some();
    let line = Arc::new(opening(state, job, delivery, &known.sending, &target.host, turn));
    let asked = Straight {
        message: job.message.clone(),
        known: Arc::clone(&known),
        revision,
        content: kept,
        opening: Arc::clone(&line),
    };
    let outside = place.is_some_and(Context::step_out);
    let (content, now) = match state.db.together(asked).await {
        Ok(Begun::Opened { content, revision }) => (content, revision),
        Ok(Begun::Otherwise) => {
            step_in(place.filter(|_| outside)).await;
            return Way::Long(Some(Admitted { pass, to: known }));
        }
        Ok(Begun::Busy) => {
            pass.give_back(queue.store().as_ref()).await;
            return Way::Done(Err(snooze(state.gate.busy(&job.endpoint, line.now))));
        }
        Err(error) => {
            pass.give_back(queue.store().as_ref()).await;
            return Way::Done(Err(error.into()));
        }
    };
    if now != revision {
        state.wardrobe.confirm(&job.endpoint, &known, now);
    }
    if !was_kept {
        state.contents.keep(&job.message, content.clone());
    }
    step_in(place.filter(|_| outside)).await;
    let out = outgoing(state, job, &content, target, &ready.dress, trace);
    let posted = post(state, stop, out, place).await;
    Way::Done(close(state, queue, job, &known.sending, line, posted, Some(pass)).await)
}
