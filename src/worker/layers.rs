//! The tower layers between apalis and a handler: a span around it, and what stops it.
//!
//! From the outside in: settle (its own file), [`SpanLayer`], [`StopLayer`], apalis' panic layer, the handler.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use tower::{Layer, Service};
use tracing::Instrument;

use super::attempt::{Interruption, Stop, StopReason, Ticket};
use super::registry::Registry;
use crate::clock::{Clock, Entropy};
use crate::job::{DeadReason, Done, JobError};
use crate::queue::Queue;
use std::sync::Arc;

/// A handler that was asked to stop gets so long to do it by itself.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What a handler decided, or how it was interrupted (as an [`Interruption`]).
pub(super) type Decided = Result<Result<Done, JobError>, BoxDynError>;
type Running = Pin<Box<dyn Future<Output = Decided> + Send>>;

/// Puts each attempt into a span, so that all it logs can be found by job.
#[derive(Clone, Debug)]
pub(super) struct SpanLayer;

#[derive(Clone, Debug)]
pub(super) struct Spanned<S>(S);

impl<S> Layer<S> for SpanLayer {
    type Service = Spanned<S>;

    fn layer(&self, inner: S) -> Spanned<S> {
        Spanned(inner)
    }
}

impl<S> Service<Task<Ticket>> for Spanned<S>
where
    S: Service<Task<Ticket>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = tracing::instrument::Instrumented<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Ticket>) -> Self::Future {
        let info = &task.args.info;
        let span = tracing::info_span!(
            "job",
            job.id = %info.lease.job,
            job.kind = %info.kind,
            queue = %info.queue,
            attempt = info.number,
            correlation_id = info.correlation_id.as_deref(),
            traceparent = info.traceparent.as_deref(),
            tenant = info.tenant.as_deref(),
        );
        self.0.call(task).instrument(span)
    }
}

/// Ends an attempt that takes too long or shall stop.
#[derive(Clone, Debug)]
pub(super) struct StopLayer;

#[derive(Clone, Debug)]
pub(super) struct Stopping<S>(S);

impl<S> Layer<S> for StopLayer {
    type Service = Stopping<S>;

    fn layer(&self, inner: S) -> Stopping<S> {
        Stopping(inner)
    }
}

impl<S> Service<Task<Ticket>> for Stopping<S>
where
    S: Service<Task<Ticket>, Response = Result<Done, JobError>, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = Result<Done, JobError>;
    type Error = BoxDynError;
    type Future = Running;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Ticket>) -> Running {
        let (stop, timeout) = (task.args.stop.clone(), task.args.timeout);
        let running = self.0.call(task);
        Box::pin(async move {
            tokio::select! {
                biased;
                decided = running => decided,
                () = tokio::time::sleep(timeout) => Err(Interruption::TimedOut(timeout).into()),
                reason = stopped(stop) => Err(Interruption::Stopped(reason).into()),
            }
        })
    }
}

/// Resolves when an attempt was asked to stop and has not done so in time.
async fn stopped(stop: Stop) -> StopReason {
    stop.token().cancelled().await;
    let reason = stop.reason().unwrap_or(StopReason::Shutdown);
    if reason == StopReason::Cancelled {
        tokio::time::sleep(STOP_GRACE).await;
    }
    reason
}

/// The innermost service: decodes the payload and runs the handler.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) registry: Arc<Registry>,
    pub(super) queue: Queue,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
}

impl Service<Task<Ticket>> for Run {
    type Response = Result<Done, JobError>;
    type Error = BoxDynError;
    type Future = Running;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Ticket>) -> Running {
        let ticket = task.args;
        let Some(entry) = self.registry.get(&ticket.info.kind) else {
            let text = format!("no handler of the kind `{}` is known to this program", ticket.info.kind);
            return refuse(DeadReason::UnknownKind, text);
        };
        let ctx = super::Context {
            attempt: Arc::clone(&ticket.info),
            queue: self.queue.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            stop: ticket.stop.clone(),
            place: ticket.place.clone(),
        };
        match entry.prepare(&ticket.payload, ctx) {
            Ok(prepared) => Box::pin(async move { Ok(prepared.await) }),
            Err(e) => {
                refuse(DeadReason::BadPayload, format!("the payload does not decode as `{}`: {e}", ticket.info.kind))
            }
        }
    }
}

fn refuse(reason: DeadReason, text: String) -> Running {
    Box::pin(std::future::ready(Err(Interruption::Refused(reason, text).into())))
}
