//! `webhook.deliver`: one attempt to bring one message to one endpoint.
//!
//! Loads, signs, POSTs, logs, decides. The log is written before the decision returns; no transaction is open while
//! the POST is under way. A delivery that has succeeded is not posted again.

use std::time::Duration;

use anyhow::anyhow;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::endpoints::Stamp;
use super::history::DeliveryState;
use super::ledger::{self, Due, Next};
use super::post::{Answer, ErrorClass, Outgoing, Posted, post};
use super::{FanoutState, endpoints};
use crate::clock::Timestamp;
use crate::job::{Done, JobError, JobKind, RetryPolicy, parse_retry_after};
use crate::metrics::{DELIVERIES, DELIVERY_SECONDS};
use crate::worker::{Context, Handler};

/// What an attempt may take beyond its POST: reading and writing the database.
pub(super) const MARGIN: Duration = Duration::from_secs(30);

/// The payload of `webhook.deliver`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// `msg_…`.
    pub message: String,
    /// `ep_…`.
    pub endpoint: String,
}

/// Which attempt of the job this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// From 1.
    pub number: u32,
    /// A failure now is the end.
    pub is_last: bool,
    /// The lease's epoch; an older one than the delivery has seen changes nothing.
    pub epoch: i64,
}

impl Turn {
    fn of(ctx: &Context) -> Self {
        let epoch = i64::try_from(ctx.lease().epoch).unwrap_or(i64::MAX);
        Self { number: ctx.attempt(), is_last: ctx.is_last_attempt(), epoch }
    }
}

impl JobKind for Deliver {
    const KIND: &'static str = "webhook.deliver";
    const QUEUE: &'static str = "notifications";
    /// As many as the default schedule has; fan-out gives each job the configured number.
    const MAX_ATTEMPTS: u32 = 10;

    /// For attempts that end before the schedule is asked: a database that does not answer, a crash.
    fn retry_policy() -> RetryPolicy {
        let delays = [5, 300, 1_800, 7_200].map(Duration::from_secs).to_vec();
        RetryPolicy::List { delays, jitter: 0.2 }
    }
}

impl Handler for Deliver {
    type State = FanoutState;

    async fn run(self, ctx: Context, state: &FanoutState) -> Result<Done, JobError> {
        if ctx.cancelled().is_cancelled() {
            return Err(JobError::retry(anyhow!("it was stopped before the POST")));
        }
        let trace = ctx.traceparent().map(str::to_owned);
        deliver(state, &self, Turn::of(&ctx), trace, ctx.cancelled()).await
    }
}

/// One attempt; `trace` is the W3C trace context that goes with the POST. When `stop` rings during the POST it soon ends, is logged, and leaves the delivery as it was.
///
/// # Errors
/// Retry with the schedule's wait when the receiver did not answer 2xx, cancelled when the endpoint is gone, disabled
/// or answered 410.
pub async fn deliver(
    state: &FanoutState,
    job: &Deliver,
    turn: Turn,
    trace: Option<String>,
    stop: &CancellationToken,
) -> Result<Done, JobError> {
    let Some(due) = ledger::load(state, job).await? else {
        return Err(JobError::cancelled("the message is no longer kept"));
    };
    if due.state == DeliveryState::Succeeded.as_str() {
        return Ok(Done::with("it had been delivered before"));
    }
    if let Some(reason) = &due.pause_reason {
        // The delivery stays as it is; resuming the endpoint gives it a new job.
        return Err(JobError::cancelled(format!("the endpoint is paused: {reason}")));
    }
    let url = match wanted(&due) {
        Ok(url) => url,
        Err(why) => {
            ledger::cancel(state, &due.id, &why, &turn).await?;
            return Err(JobError::cancelled(why));
        }
    };
    let (host, posted) = send(state, job, &due, (url, trace), stop).await?;
    let (next, wait) = judge(state, &posted.answer, turn);
    let moved = ledger::record(state, job, &due.id, &host, &posted, &turn, next).await?;
    report(job, &host, &posted, turn, moved);
    decide(&posted.answer, next, wait)
}

/// The endpoint's URL, or why nobody wants this delivery any more.
fn wanted(due: &Due) -> Result<&str, String> {
    match (&due.url, &due.reason) {
        (None, _) => Err("the endpoint was deleted".to_owned()),
        (Some(_), Some(reason)) => Err(format!("the endpoint is disabled: {reason}")),
        (Some(url), None) => Ok(url),
    }
}

/// Signs and POSTs, unless the guard refuses the URL as it stands now. Also gives the host, for the log.
async fn send(
    state: &FanoutState,
    job: &Deliver,
    due: &Due,
    (url, trace): (&str, Option<String>),
    stop: &CancellationToken,
) -> Result<(String, Posted), JobError> {
    let url = match state.guard.check(url) {
        Ok(url) => url,
        Err(refused) => return Ok((String::new(), Posted::refused(&refused))),
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    let now = state.clock.now();
    let dress = endpoints::dress(state, &job.endpoint, now).await?;
    let timestamp_s = now.as_ms().div_euclid(1_000);
    let (event_type, body) = (&due.event_type, due.body.as_bytes());
    let mut headers = dress.headers(Stamp { message: &job.message, event_type, timestamp_s, body });
    // Outside of the signature: it says what caused this, and nothing that a receiver could rely on.
    if let Some(trace) = trace.and_then(|trace| HeaderValue::from_str(&trace).ok()) {
        headers.insert("traceparent", trace);
    }
    let out = Outgoing { url, headers, body: due.body.clone() };
    Ok((host, post(&state.client, state.config.timeout(), stop, out).await))
}

/// What the answer makes of the delivery, and the wait before the next attempt.
fn judge(state: &FanoutState, answer: &Answer, turn: Turn) -> (Next, Duration) {
    let now = state.clock.now();
    match answer {
        Answer::Status { status: 200..=299, .. } => (Next::Succeeded, Duration::ZERO),
        Answer::Status { status: 410, .. } => (Next::Gone, Duration::ZERO),
        // The worker settles it by the reason of the stop, not by the schedule.
        Answer::Nothing { class: ErrorClass::Stopped, .. } => (Next::Unchanged, Duration::ZERO),
        _ if turn.is_last => (Next::Exhausted, Duration::ZERO),
        _ => {
            let wait = wait_after(state, answer, turn.number, now);
            (Next::Again(now.after(wait)), wait)
        }
    }
}

/// The schedule's wait, or the longer one that a 429 or 503 named. Never a shorter one: the schedule spends its
/// attempts over days, and a receiver that says "in a second" ten times would use them up in ten.
fn wait_after(state: &FanoutState, answer: &Answer, attempt: u32, now: Timestamp) -> Duration {
    let scheduled = state.config.delay_after(attempt, &state.entropy);
    let cap = Duration::from_millis(state.config.retry_after_cap_ms);
    let named = match answer {
        Answer::Status { status: 429 | 503, retry_after: Some(value) } => parse_retry_after(value, now, cap),
        _ => None,
    };
    scheduled.max(named.unwrap_or_default())
}

fn report(job: &Deliver, host: &str, posted: &Posted, turn: Turn, moved: bool) {
    let outcome = match &posted.answer {
        Answer::Status { status: 200..=299, .. } => "succeeded",
        Answer::Nothing { class: ErrorClass::Timeout, .. } => "timeout",
        Answer::Nothing { class: ErrorClass::Refused, .. } => "refused",
        Answer::Status { .. } | Answer::Nothing { .. } => "failed",
    };
    metrics::counter!(DELIVERIES, "outcome" => outcome).increment(1);
    metrics::histogram!(DELIVERY_SECONDS).record(posted.duration.as_secs_f64());
    let duration_ms = posted.duration.as_millis();
    let (message, endpoint, attempt) = (&job.message, &job.endpoint, turn.number);
    tracing::debug!(message, endpoint, host, attempt, outcome, duration_ms, "delivery attempt");
    if !moved && !matches!(&posted.answer, Answer::Nothing { class: ErrorClass::Stopped, .. }) {
        tracing::warn!(message, endpoint, attempt, outcome, "a late delivery attempt was logged and changed nothing");
    }
}

fn decide(answer: &Answer, next: Next, wait: Duration) -> Result<Done, JobError> {
    let what = match answer {
        Answer::Status { status, .. } => format!("the receiver answered {status}"),
        Answer::Nothing { class, error } => format!("{}: {error}", class.as_str()),
    };
    match next {
        Next::Succeeded => Ok(Done::with(what)),
        Next::Gone => Err(JobError::cancelled(format!("{what}; the endpoint is disabled now"))),
        // The wait counts only for `Again`: after the last attempt, or a stop, the worker decides.
        Next::Exhausted | Next::Again(_) | Next::Unchanged => Err(JobError::retry_after(anyhow!(what), wait)),
    }
}
