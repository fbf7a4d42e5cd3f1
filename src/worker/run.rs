//! One attempt from its first poll to its decision: in a span, under its timeout, behind a panic guard.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tracing::{Instrument as _, Span};

use super::attempt::{Interruption, Stop, StopReason, Ticket};
use super::context::{AttemptInfo, Surroundings};
use super::registry::Registry;
use crate::job::{DeadReason, Done, JobError};

/// A handler that was asked to stop gets so long to do it by itself.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What a handler decided, or how it was interrupted.
pub(super) type Decided = Result<Result<Done, JobError>, Interruption>;

/// Runs attempts; shared by all of a process.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) registry: Arc<Registry>,
    pub(super) around: Arc<Surroundings>,
}

impl Run {
    /// Runs an attempt to its decision.
    pub(super) async fn decide(&self, ticket: &Ticket) -> Decided {
        let handling = pin!(AssertUnwindSafe(self.handle(ticket)).catch_unwind());
        // What is made in an async block costs nothing where the handler ends at once.
        let deciding = pin!(async {
            tokio::select! {
                biased;
                decided = handling => decided.unwrap_or_else(|panic| Err(panicked(&panic))),
                () = async { tokio::time::sleep(ticket.timeout).await } => Err(Interruption::TimedOut(ticket.timeout)),
                reason = stopped(&ticket.stop) => Err(Interruption::Stopped(reason)),
            }
        });
        deciding.instrument(span(&ticket.info)).await
    }

    /// Decodes the payload and runs the handler.
    async fn handle(&self, ticket: &Ticket) -> Decided {
        let Some(entry) = self.registry.get(&ticket.info.kind) else {
            let text = format!("no handler of the kind `{}` is known to this program", ticket.info.kind);
            return Err(Interruption::Refused(DeadReason::UnknownKind, text));
        };
        let (attempt, around) = (Arc::clone(&ticket.info), Arc::clone(&self.around));
        let ctx = super::Context { attempt, around, stop: ticket.stop.clone(), place: ticket.place.clone() };
        match entry.prepare(&ticket.payload, ctx) {
            Ok(prepared) => Ok(prepared.await),
            Err(e) => {
                let text = format!("the payload does not decode as `{}`: {e}", ticket.info.kind);
                Err(Interruption::Refused(DeadReason::BadPayload, text))
            }
        }
    }
}

/// So that all that an attempt logs can be found by job.
fn span(info: &AttemptInfo) -> Span {
    tracing::info_span!(
        "job",
        job.id = %info.lease.job,
        job.kind = %info.kind,
        queue = %info.queue,
        attempt = info.number,
        correlation_id = info.correlation_id.as_deref(),
        traceparent = info.traceparent.as_deref(),
        tenant = info.tenant.as_deref(),
    )
}

/// Resolves when an attempt was asked to stop and has not done so in time.
async fn stopped(stop: &Stop) -> StopReason {
    stop.token().cancelled().await;
    let reason = stop.reason().unwrap_or(StopReason::Shutdown);
    if reason == StopReason::Cancelled {
        tokio::time::sleep(STOP_GRACE).await;
    }
    reason
}

pub(super) fn panicked(panic: &Box<dyn Any + Send>) -> Interruption {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Interruption::Panicked(
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into()),
    )
}
