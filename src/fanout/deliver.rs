//! `webhook.deliver`: one attempt to bring one message to one endpoint.
//!
//! Asks whether the endpoint may be sent to now ([`gate`]), opens a line in the log, POSTs, closes the line, decides
//! ([`judge()`]). The line is durable before the POST begins and holds its outcome before the job is settled, so no POST is
//! missing from the log, whenever the process dies. No transaction is open while the POST is under way. A delivery that
//! has succeeded is not posted again.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::poll;
use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::FanoutState;
use super::endpoints::{Dress, Stamp, Target};
use super::fan_out::delivery_of;
use super::history::DeliveryState;
use super::ledger::{self, Addressee, Closing, Content, Due, Next, Opening, Said};
use super::post::{Answer, ErrorClass, Outgoing, Posted};
use crate::clock::Timestamp;
use crate::job::{Done, Incarnation, JobError, JobKind, RetryPolicy};
use crate::metrics::{DELIVERIES, DELIVERY_SECONDS};
use crate::queue::Queue;
use crate::worker::{Context, Handler};

mod gate;
mod judge;
mod settings;
mod straight;

use self::straight::Way;
pub(super) use gate::Gate;
use gate::{BreakerRule, NotNow, Pass};
use judge::{Judged, judge};
pub use settings::{Ordering, Rate, Sending, SendingChange, SendingError, sending, set_sending};
pub(super) use settings::{SendingRow, keep_sending};

/// What an attempt may take beyond its POST: reading and writing the database.
pub(super) const MARGIN: Duration = Duration::from_secs(30);
/// A POST that takes longer than this leaves its place in the pool to others.
const PROMPT: Duration = Duration::from_millis(250);
/// The queue's store can't be asked: come back after this.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// A delivery that waits for a former one looks again when that one is tried, but not sooner and not later than this: it is
/// also woken.
const IN_LINE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(600)];
const IN_LINE_APART: Duration = Duration::from_millis(10);

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
    /// Who makes it, for the log.
    pub node: Incarnation,
}

impl Turn {
    fn of(ctx: &Context) -> Self {
        let lease = ctx.lease();
        let epoch = i64::try_from(lease.epoch).unwrap_or(i64::MAX);
        Self { number: ctx.attempt(), is_last: ctx.is_last_attempt(), epoch, node: lease.holder }
    }
}

impl JobKind for Deliver {
    const KIND: &'static str = "webhook.deliver";
    const QUEUE: &'static str = "notifications";
    /// As many as the default schedule has; fan-out gives each job its endpoint's number.
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
        let delivery = delivery_of(ctx.job_id());
        let place = Some(&ctx);
        attempt(state, ctx.queue(), &self, &delivery, Turn::of(&ctx), ctx.traceparent(), ctx.cancelled(), place).await
    }
}

/// One attempt; `trace` is the W3C trace context that goes with the POST. When `stop` rings during the POST it soon ends,
/// is logged, and leaves the delivery as it was.
///
/// # Errors
/// Retry with the schedule's wait when the receiver did not answer 2xx; snooze when the endpoint may not be sent to now;
/// cancelled when the endpoint is gone, disabled or wants no more of it.
pub async fn deliver(
    state: &FanoutState,
    queue: &Queue,
    job: &Deliver,
    turn: Turn,
    trace: Option<&str>,
    stop: &CancellationToken,
) -> Result<Done, JobError> {
    let delivery = ledger::number_of(state, job).await?.unwrap_or_default();
    attempt(state, queue, job, &delivery, turn, trace, stop, None).await
}

/// The same in a worker's `place`, which it leaves when the receiver takes its time. `delivery` is the one that the job's number
/// names, if there is one.
#[expect(clippy::too_many_arguments, reason = "what a handler is given")]
async fn attempt(
    state: &FanoutState,
    queue: &Queue,
    job: &Deliver,
    delivery: &str,
    turn: Turn,
    trace: Option<&str>,
    stop: &CancellationToken,
    place: Option<&Context>,
) -> Result<Done, JobError> {
    state.gate.look(&job.endpoint, state.clock.now()).map_err(snooze)?;
    let mut admitted = match straight::deliver_straight(state, queue, job, delivery, turn, trace, stop, place).await {
        Way::Done(done) => return done,
        Way::Long(admitted) => admitted,
    };
    // Seldom gone: it is not to make every attempt larger.
    let done = Box::pin(attempt_anew(state, queue, job, turn, trace, stop, place, &mut admitted)).await;
    if let Some(unused) = admitted {
        unused.pass.give_back(queue.store().as_ref()).await;
    }
    done
}

/// An attempt that goes by nothing that was known before, but for what it was `admitted` with a moment ago.
#[expect(clippy::too_many_arguments, reason = "what a handler is given")]
async fn attempt_anew(
    state: &FanoutState,
    queue: &Queue,
    job: &Deliver,
    turn: Turn,
    trace: Option<&str>,
    stop: &CancellationToken,
    place: Option<&Context>,
    admitted: &mut Option<Admitted>,
) -> Result<Done, JobError> {
    let Some(due) = ledger::load(state, job).await? else {
        return Err(JobError::cancelled("the message is no longer kept"));
    };
    if due.state == DeliveryState::Succeeded.as_str() {
        return Ok(Done::with("it had been delivered before"));
    }
    if let Some(reason) = &due.to.pause_reason {
        // The delivery stays as it is; resuming the endpoint gives it a new job.
        return Err(JobError::cancelled(format!("the endpoint is paused: {reason}")));
    }
    let url = match wanted(&due) {
        Ok(url) => url,
        Err(why) => {
            let next = ledger::cancel(state, job, &due, &why, &turn).await?;
            wake(queue, next).await;
            return Err(JobError::cancelled(why));
        }
    };
    let ready = state.wardrobe.ready(state, &job.endpoint, url, &due.to, due.revision)?;
    let target = match &ready.target {
        Ok(target) => target,
        Err(refused) => {
            let line = open(state, job, &due, &"".into(), turn).await?;
            return close(state, queue, job, &due.to.sending, line, Posted::refused(refused), None).await;
        }
    };
    if due.sending().ordering == Ordering::Strict
        && let Some(former) = ledger::ahead(state, job, &due).await?
    {
        // Before the breaker is asked: its one probe must be the first one's.
        return Err(in_line(state, job, former.next_at()));
    }
    // A token of the endpoint's rate is taken once.
    let pass = match admitted.take() {
        Some(admitted) if admitted.to.sending == *due.sending() => admitted.pass,
        other => {
            if let Some(other) = other {
                other.pass.give_back(queue.store().as_ref()).await;
            }
            admit(state, queue, job, due.sending()).await?
        }
    };
    let outside = place.is_some_and(Context::step_out);
    let line = match open(state, job, &due, &target.host, turn).await {
        Ok(line) => line,
        Err(error) => {
            pass.give_back(queue.store().as_ref()).await;
            return Err(error);
        }
    };
    step_in(place.filter(|_| outside)).await;
    let out = outgoing(state, job, &due.content, target, &ready.dress, trace);
    let posted = post(state, stop, out, place).await;
    close(state, queue, job, &due.to.sending, line, posted, Some(pass)).await
}

/// Takes a place again for the POST: none is held while the line is being written, so that many lines share a commit.
async fn step_in(place: Option<&Context>) {
    if let Some(place) = place {
        place.step_in().await;
    }
}

/// The POST. It leaves its place in the pool when the receiver takes its time, so that those that hang hold nobody else up,
/// and else when it has ended: what is left is to wait for commits, with many others.
async fn post(state: &FanoutState, stop: &CancellationToken, out: Outgoing, place: Option<&Context>) -> Posted {
    let mut posting = pin!(state.courier.post(stop, out));
    let Some(place) = place else { return posting.await };
    let prompt = tokio::time::timeout(PROMPT, &mut posting).await;
    place.leave_place();
    match prompt {
        Ok(posted) => posted,
        Err(_) => posting.await,
    }
}

/// The endpoint's URL, or why nobody wants this delivery any more.
fn wanted(due: &Due) -> Result<&str, String> {
    match (&due.to.url, &due.to.reason) {
        (None, _) => Err("the endpoint was deleted".to_owned()),
        (Some(_), Some(reason)) => Err(format!("the endpoint is disabled: {reason}")),
        (Some(url), None) => Ok(url),
    }
}

/// The POST as it will be sent: body, signature, headers.
fn outgoing(
    state: &FanoutState,
    job: &Deliver,
    content: &Content,
    target: &Target,
    dress: &Dress,
    trace: Option<&str>,
) -> Outgoing {
    let timestamp_s = state.clock.now().as_ms().div_euclid(1_000);
    let (message, event_type) = (job.message.as_str(), &*content.event_type);
    let mut headers = dress.headers(Stamp { message, event_type, timestamp_s, body: &content.body });
    // Outside of the signature: it says what caused this, and nothing that a receiver could rely on. One that is no header's
    // value is left out.
    if let Some(trace) = trace.and_then(|trace| HeaderValue::from_str(trace).ok()) {
        headers.insert("traceparent", trace);
    }
    Outgoing { uri: target.uri.clone(), headers, body: content.body.clone() }
}

/// Through the gate, by what was known of the endpoint then.
struct Admitted {
    pass: Pass,
    to: Arc<Addressee>,
}

/// Goes through the gate: a place, a token, the breaker.
async fn admit(state: &FanoutState, queue: &Queue, job: &Deliver, sending: &Sending) -> Result<Pass, JobError> {
    let (now, store) = (state.clock.now(), queue.store().as_ref());
    let mut pass = state.gate.enter(&job.endpoint, max_concurrency(state, sending), now).map_err(snooze)?;
    let asked = async {
        if let Some(rate) = sending.rate
            && let Some(not_now) = pass.take(store, rate, now).await?
        {
            return Ok(Some(not_now));
        }
        pass.breaker(store, now).await
    };
    match asked.await {
        Ok(None) => Ok(pass),
        Ok(Some(not_now)) => Err(snooze(not_now)),
        Err(error) => Err(unanswered(&error)),
    }
}

fn max_concurrency(state: &FanoutState, sending: &Sending) -> u32 {
    sending.max_concurrency.unwrap_or(state.config.max_concurrency)
}

/// Opens the line in the log, which is also the endpoint's lease for this POST.
async fn open(
    state: &FanoutState,
    job: &Deliver,
    due: &Due,
    host: &Arc<str>,
    turn: Turn,
) -> Result<Arc<Opening>, JobError> {
    let line = Arc::new(opening(state, job, &due.id, due.sending(), host, turn));
    match state.db.together(Arc::clone(&line)).await? {
        Said::Opened => Ok(line),
        Said::Busy => Err(snooze(state.gate.busy(&job.endpoint, line.now))),
        Said::InLine { until } => Err(in_line(state, job, until)),
    }
}

fn opening(
    state: &FanoutState,
    job: &Deliver,
    delivery: &str,
    sending: &Sending,
    host: &Arc<str>,
    turn: Turn,
) -> Opening {
    let now = state.clock.now();
    Opening {
        attempt: state.new_id("att_", now),
        delivery: delivery.to_owned(),
        endpoint: job.endpoint.clone(),
        host: Arc::clone(host),
        turn,
        now,
        expires_at: now.after(state.config.timeout() + MARGIN),
        max_concurrency: max_concurrency(state, sending),
        strict: sending.ordering == Ordering::Strict,
    }
}

/// Put off until the former delivery, which is tried again at `until`, may have settled.
fn in_line(state: &FanoutState, job: &Deliver, until: Option<Timestamp>) -> JobError {
    let now = state.clock.now();
    let base = until.map_or(IN_LINE[0], |until| until.since(now)).clamp(IN_LINE[0], IN_LINE[1]);
    let wait = state.gate.later(&job.endpoint, now, base, IN_LINE_APART);
    snooze(NotNow { wait, why: "an earlier delivery to the endpoint has not settled" })
}

/// Closes the line, moves the delivery on, and says what becomes of the job.
async fn close(
    state: &FanoutState,
    queue: &Queue,
    job: &Deliver,
    sending: &Sending,
    line: Arc<Opening>,
    posted: Posted,
    pass: Option<Pass>,
) -> Result<Done, JobError> {
    let turn = line.turn;
    let Judged { next, wait, disable, shown } = judge(state, sending, &posted, turn);
    let (posted, disable_after, now) = (Arc::new(posted), state.config.disable_after(), state.clock.now());
    let closing = Closing { line, posted: Arc::clone(&posted), next, disable, disable_after, now };
    let mut writing = pin!(state.db.together(closing));
    // Polled once it stands in line: whoever takes its place opens a line behind it.
    let written = poll!(writing.as_mut());
    let pass = pass.map(|mut pass| {
        pass.leave();
        pass
    });
    let closed = match written {
        Poll::Ready(closed) => closed?,
        Poll::Pending => writing.await?,
    };
    if let Some(pass) = pass {
        let rule = BreakerRule { failures: state.config.breaker_failures, cooldown: state.config.breaker_cooldown() };
        if let Err(error) = pass.report(queue.store().as_ref(), shown, posted.duration, rule).await {
            tracing::warn!(endpoint = job.endpoint, %error, "the endpoint's breaker was not told of a POST");
        }
    }
    if closed.next_in_line.is_some() {
        wake(queue, closed.next_in_line).await;
    }
    if let Some(reason) = &closed.disabled {
        tracing::warn!(endpoint = job.endpoint, reason, "the endpoint is disabled; what waits for it is kept");
    }
    if closed.noticed
        && let Err(error) = Box::pin(super::tell(state, queue)).await
    {
        tracing::warn!(%error, "what happened to an endpoint is told later");
    }
    report(job, &posted, turn, closed.moved);
    decide(&posted.answer, next, wait)
}

/// Brings the next delivery of an endpoint with strict order forward. One that is not woken comes by itself.
async fn wake(queue: &Queue, delivery: Option<String>) {
    let Some(id) = delivery.as_deref().and_then(super::fan_out::job_of) else { return };
    // Refused when it is not waiting: it runs already, or an operator has ended it.
    if let Err(error) = queue.store().retry(id).await {
        tracing::debug!(job = %id, %error, "the next delivery in line was not brought forward");
    }
}

fn snooze(not_now: NotNow) -> JobError {
    JobError::snooze(not_now.wait, not_now.why)
}

fn unanswered(error: &crate::store::StoreError) -> JobError {
    JobError::snooze(STORE_PAUSE, format!("the endpoint's limits can't be looked up: {error}"))
}

fn report(job: &Deliver, posted: &Posted, turn: Turn, moved: bool) {
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
    tracing::debug!(message, endpoint, attempt, outcome, duration_ms, "delivery attempt");
    if !moved && !matches!(&posted.answer, Answer::Nothing { class: ErrorClass::Stopped, .. }) {
        tracing::warn!(message, endpoint, attempt, outcome, "a late delivery attempt was logged and changed nothing");
    }
}

fn decide(answer: &Answer, next: Next, wait: Duration) -> Result<Done, JobError> {
    let what = || match answer {
        Answer::Status { status, .. } => anyhow!("the receiver answered {status}"),
        Answer::Nothing { class, error } => anyhow!("{}: {error}", class.as_str()),
    };
    match next {
        // The log says what came back: kept with the job too, it would be one more write for each delivery.
        Next::Succeeded => Ok(Done::default()),
        Next::Cancelled(why) => Err(JobError::cancelled(why)),
        // The wait counts only for `Again`: after the last attempt, or a stop, the worker decides.
        Next::Exhausted | Next::Again(_) | Next::Unchanged => Err(JobError::retry_after(what(), wait)),
    }
}
