//! A first attempt to an endpoint that was sent to before: vetted and opened in one transaction.
//!
//! Goes by what the last delivery has seen of the endpoint; the transaction that opens the line finds out whether it still
//! holds. Where it does not, nothing has happened, and the long way is taken.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::FanoutState;
use super::super::ledger::{Begun, Straight};
use super::{Deliver, Turn, admit, close, opening, outgoing, post, snooze, step_in};
use crate::job::{Done, JobError};
use crate::queue::Queue;
use crate::worker::Context;

/// `None`: it is not one of those.
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
) -> Option<Result<Done, JobError>> {
    // After a failure the next POST may be the breaker's one probe: it is not to be spent on what may have changed.
    if turn.number > 1 || turn.epoch > 1 || !state.gate.is_calm(&job.endpoint) {
        return None;
    }
    let (known, revision, ready) = state.wardrobe.known(&job.endpoint).filter(|(known, ..)| known.is_open())?;
    let target = ready.target.as_ref().ok()?;
    let pass = match admit(state, queue, job, &known.sending).await {
        Ok(pass) => pass,
        Err(error) => return Some(Err(error)),
    };
    let kept = state.contents.get(&job.message);
    let line = Arc::new(opening(state, job, delivery, &known.sending, &target.host, turn));
    let asked = Straight {
        message: job.message.clone(),
        known: Arc::clone(&known),
        revision,
        wants_content: kept.is_none(),
        opening: Arc::clone(&line),
    };
    let outside = place.is_some_and(Context::step_out);
    let begun = match state.db.together(asked).await {
        Ok(Begun::Opened { content, revision: now }) => {
            if now != revision {
                state.wardrobe.confirm(&job.endpoint, &known, now);
            }
            if let Some(content) = &content {
                state.contents.keep(&job.message, content.clone());
            }
            Ok(kept.or(content))
        }
        Ok(Begun::Busy) => Err(Some(snooze(state.gate.busy(&job.endpoint, line.now)))),
        Ok(Begun::Otherwise) => Err(None),
        Err(error) => Err(Some(error.into())),
    };
    let content = match begun {
        Ok(Some(content)) => content,
        // A delivery without its message: the tables don't allow it.
        Ok(None) => return Some(Err(JobError::retry(anyhow::anyhow!("the message {} can't be read", job.message)))),
        Err(why) => {
            pass.give_back(queue.store().as_ref()).await;
            if why.is_none() {
                step_in(place.filter(|_| outside)).await;
            }
            return why.map(Err);
        }
    };
    step_in(place.filter(|_| outside)).await;
    let out = outgoing(state, job, &content, target, &ready.dress, trace);
    let posted = post(state, stop, out, place).await;
    Some(close(state, queue, job, &known.sending, line, posted, Some(pass)).await)
}
