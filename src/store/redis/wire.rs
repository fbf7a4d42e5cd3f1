//! The two records of a job as bytes: `head`, which scripts read and change (layout in `lua/head.lua`), and `body`, which is
//! written once and of which scripts read only the unique key at its front.
//!
//! Numbers are little-endian. Times are unsigned and six bytes long; later ones are kept as the year 10889.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::job::{DeadReason, Failure, Incarnation, JobId, JobRecord, JobState, Priority, Progress, QueueName, RunAt};
use crate::store::{Claimed, Lease, NewJob, StoreError};

/// What six bytes hold.
const TIME_MAX: u64 = (1 << 48) - 1;
/// The body's layout.
const VERSION: u8 = 1;
const NONE: u32 = u32::MAX;

/// A flag of a head: a person has asked to cancel it.
const STOP: u8 = 2;

/// A member's text: the job's number of arrival in 14 digits.
pub(super) fn member(slot: i64) -> [u8; 14] {
    let mut digits = [b'0'; 14];
    let mut rest = slot.unsigned_abs();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    digits
}

/// The number that [`member`] wrote.
pub(super) fn slot(member: &[u8]) -> Result<i64, StoreError> {
    let number = std::str::from_utf8(member).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| unreadable("a member", "it is no number"))
}

pub(super) fn put_six(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.min(TIME_MAX).to_le_bytes()[..6]);
}

/// A duration in whole milliseconds, bounded.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(TIME_MAX)
}

/// What a script needs to know of a new job: mode, value, keep_for, priority, no crashes, timeout, id, queue.
pub(super) fn meta(job: &NewJob) -> Vec<u8> {
    let spec = &job.spec;
    let mut out = Vec::with_capacity(38 + spec.queue.as_str().len());
    let (mode, value) = match spec.run_at {
        RunAt::Now => (0, 0),
        RunAt::After(delay) => (1, millis(delay)),
        RunAt::At(at) => (2, u64::try_from(at.as_ms()).unwrap_or(0)),
    };
    out.push(mode);
    put_six(&mut out, value);
    put_six(&mut out, spec.unique.as_ref().map_or(0, |unique| millis(unique.keep_for)));
    // From here on as a head ends.
    out.extend_from_slice(&[spec.priority.get(), 0, 0]);
    put_six(&mut out, millis(spec.timeout));
    out.extend_from_slice(job.id.as_bytes());
    out.extend_from_slice(spec.queue.as_str().as_bytes());
    out
}

/// What is written once.
pub(super) fn body(job: &NewJob) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::with_capacity(160 + job.spec.payload.len());
    put_body(&mut out, job)?;
    Ok(out)
}

/// The same behind what stands there.
pub(super) fn put_body(out: &mut Vec<u8>, job: &NewJob) -> Result<(), StoreError> {
    let spec = &job.spec;
    let key = spec.unique.as_ref().map_or("", |unique| &*unique.key);
    let Ok(key_len) = u16::try_from(key.len()) else {
        return Err(StoreError::TooMany { what: "the unique key (bytes)", len: key.len(), max: usize::from(u16::MAX) });
    };
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.push(VERSION);
    out.extend_from_slice(&spec.max_attempts.to_le_bytes());
    put_text(out, Some(&spec.kind));
    put_text(out, Some(&spec.payload));
    put_text(out, spec.tenant.as_deref());
    put_text(out, spec.correlation_id.as_deref());
    put_text(out, spec.traceparent.as_deref());
    put_text(out, Some(&spec.enqueued_by));
    for tag in &spec.tags {
        put_text(out, Some(tag));
    }
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    // A text of four gigabytes can't be: payloads are bounded far below.
    let len = text.map_or(NONE, |text| u32::try_from(text.len()).unwrap_or(NONE));
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.unwrap_or_default().as_bytes());
}

fn unreadable(place: &str, detail: &str) -> StoreError {
    StoreError::Corrupt { place: place.to_owned(), detail: detail.to_owned() }
}

/// Reads bytes from the front.
struct Reader<'a> {
    place: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(|| unreadable(self.place, "it is too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, StoreError> {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(u64::from_le_bytes(number))
    }

    fn small(&mut self, bytes: usize) -> Result<u32, StoreError> {
        let number = self.number(bytes)?;
        u32::try_from(number).map_err(|_| unreadable(self.place, "a number is too large"))
    }

    fn time(&mut self) -> Result<Timestamp, StoreError> {
        // Six bytes fit.
        Ok(Timestamp::from_ms(i64::try_from(self.number(6)?).unwrap_or(i64::MAX)))
    }

    fn id(&mut self) -> Result<[u8; 16], StoreError> {
        self.take(16)?.try_into().map_err(|_| unreadable(self.place, "an id is too short"))
    }

    /// How a body begins: unique key, attempts.
    fn beginning(&mut self) -> Result<(&'a str, u32), StoreError> {
        let key_len = usize::try_from(self.small(2)?).unwrap_or(usize::MAX);
        let key = std::str::from_utf8(self.take(key_len)?).map_err(|_| unreadable("body", "its key is not text"))?;
        if self.take(1)? != [VERSION] {
            return Err(unreadable("body", "it is of a newer version; run a newer Tidemill"));
        }
        Ok((key, self.small(4)?))
    }

    fn text(&mut self) -> Result<Option<&'a str>, StoreError> {
        let len = self.small(4)?;
        if len == NONE {
            return Ok(None);
        }
        let bytes = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| unreadable(self.place, "it is not text"))
    }
}

/// A job's head.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) state: JobState,
    pub(super) flags: u8,
    pub(super) reason: Option<DeadReason>,
    pub(super) attempt: u32,
    pub(super) epoch: u64,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) holder: Option<Incarnation>,
    pub(super) priority: Priority,
    pub(super) crashes: u32,
    pub(super) run_at: Timestamp,
    pub(super) created_at: Timestamp,
    pub(super) timeout_ms: u64,
    pub(super) id: JobId,
    pub(super) queue: QueueName,
}

impl Head {
    /// Reads what the scripts wrote.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader { place: "head", rest: bytes };
        let fixed = reader.take(3)?;
        let state = state_of(fixed[0])?;
        let (flags, reason) = (fixed[1], reason_of(fixed[2]));
        let (finished, _deadline) = (reader.time()?, reader.time()?);
        let some = |at: Timestamp| (at.as_ms() > 0).then_some(at);
        let holder = Some(reader.id()?).filter(|id| *id != [0; 16]).map(Incarnation::from_bytes);
        let (epoch, attempt, started) = (reader.number(4)?, reader.small(4)?, reader.time()?);
        let (run_at, created_at) = (reader.time()?, reader.time()?);
        let priority = u8::try_from(reader.small(1)?).unwrap_or(u8::MAX);
        let priority = Priority::try_from(priority).map_err(|e| unreadable("head", &e))?;
        Ok(Self {
            state,
            flags,
            reason,
            attempt,
            epoch,
            started_at: some(started),
            finished_at: some(finished),
            holder,
            priority,
            crashes: reader.small(2)?,
            run_at,
            created_at,
            timeout_ms: reader.number(6)?,
            id: JobId::from_bytes(reader.id()?),
            queue: queue_of(reader.rest)?,
        })
    }
}

fn queue_of(bytes: &[u8]) -> Result<QueueName, StoreError> {
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable("head", "its queue is not text"))?;
    text.parse().map_err(|_| unreadable("head", "its queue has a name that is none"))
}

/// The letter of a state.
pub(super) const fn letter(state: JobState) -> char {
    match state {
        JobState::Scheduled => 's',
        JobState::Ready => 'r',
        JobState::Running => 'u',
        JobState::Completed => 'c',
        JobState::Dead => 'd',
        JobState::Cancelled => 'x',
    }
}

/// The state that [`letter`] names.
pub(super) fn state_of(byte: u8) -> Result<JobState, StoreError> {
    JobState::ALL
        .into_iter()
        .find(|state| letter(*state) == char::from(byte))
        .ok_or_else(|| unreadable("head", "its state is none"))
}

/// A dead job's reason as a head keeps it; 0 is none.
pub(super) const fn reason_number(reason: DeadReason) -> u8 {
    match reason {
        DeadReason::Exhausted => 1,
        DeadReason::Permanent => 2,
        DeadReason::Crashed => 3,
        DeadReason::UnknownKind => 4,
        DeadReason::BadPayload => 5,
    }
}

fn reason_of(number: u8) -> Option<DeadReason> {
    use DeadReason::{BadPayload, Crashed, Exhausted, Permanent, UnknownKind};
    [Exhausted, Permanent, Crashed, UnknownKind, BadPayload].into_iter().find(|reason| reason_number(*reason) == number)
}

/// A job's body.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) unique_key: Option<Arc<str>>,
    pub(super) max_attempts: u32,
    pub(super) kind: Arc<str>,
    pub(super) payload: Arc<str>,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) correlation_id: Option<Arc<str>>,
    pub(super) traceparent: Option<Arc<str>>,
    pub(super) enqueued_by: Arc<str>,
    pub(super) tags: Vec<String>,
}

impl Body {
    /// Reads what [`body`] wrote.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader { place: "body", rest: bytes };
        let (key, max_attempts) = reader.beginning()?;
        let some = |text: Option<&str>| text.map(Arc::from);
        let must = |text: Option<&str>| text.map(Arc::from).ok_or_else(|| unreadable("body", "a text is missing"));
        let mut read = Self {
            unique_key: (!key.is_empty()).then(|| key.into()),
            max_attempts,
            kind: must(reader.text()?)?,
            payload: must(reader.text()?)?,
            tenant: some(reader.text()?),
            correlation_id: some(reader.text()?),
            traceparent: some(reader.text()?),
            enqueued_by: must(reader.text()?)?,
            tags: Vec::new(),
        };
        while !reader.rest.is_empty() {
            read.tags.extend(reader.text()?.map(str::to_owned));
        }
        Ok(read)
    }
}

/// Puts the front that jobs side by side have in common over the one that a head was born with. None: the head is whole.
pub(super) fn put_front(head: &mut [u8], front: &[u8]) {
    if let Some(own) = head.get_mut(..front.len()) {
        own.copy_from_slice(front);
    }
}

/// A claimed job out of its two records. `like`: one that was claimed before it; what the two have in common is kept once.
pub(super) fn claimed(
    slot: i64,
    head: &Head,
    body: &[u8],
    claim: (Incarnation, Timestamp),
    like: Option<&Claimed>,
) -> Result<Claimed, StoreError> {
    let (worker, claimed_at) = claim;
    let mut reader = Reader { place: "body", rest: body };
    let max_attempts = reader.beginning()?.1;
    let some = |text: Option<&str>| text.map(Arc::from);
    let must = |text: Option<&str>| text.map(Arc::from).ok_or_else(|| unreadable("body", "a text is missing"));
    let kind = match (reader.text()?, like) {
        (Some(kind), Some(like)) if *like.kind == *kind => Arc::clone(&like.kind),
        (kind, _) => must(kind)?,
    };
    Ok(Claimed {
        lease: Lease::new(head.id, head.epoch, worker, slot),
        queue: head.queue.clone(),
        kind,
        payload: must(reader.text()?)?,
        tenant: some(reader.text()?),
        priority: head.priority,
        attempt: head.attempt,
        max_attempts,
        crashes: head.crashes,
        timeout: Duration::from_millis(head.timeout_ms),
        correlation_id: some(reader.text()?),
        traceparent: some(reader.text()?),
        created_at: head.created_at,
        run_at: head.run_at,
        claimed_at,
    })
}

/// What a job has besides its two records.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) failures: Vec<Vec<u8>>,
    pub(super) progress: Option<Vec<u8>>,
    pub(super) result: Option<Vec<u8>>,
}

/// A whole job.
pub(super) fn record(head: Head, body: Body, extras: Extras) -> Result<JobRecord, StoreError> {
    let raw = |text: &str| {
        RawValue::from_string(text.to_owned()).map_err(|e| unreadable("body", &format!("its payload is not JSON: {e}")))
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| unreadable("more", "it is not text"));
    let progress = extras.progress.map(text).transpose()?;
    let progress = progress.map(|json| serde_json::from_str(&json)).transpose();
    Ok(JobRecord {
        id: head.id,
        queue: head.queue,
        kind: body.kind,
        state: head.state,
        payload: raw(&body.payload)?,
        tenant: body.tenant,
        priority: head.priority,
        run_at: head.run_at,
        attempt: head.attempt,
        max_attempts: body.max_attempts,
        crashes: head.crashes,
        epoch: head.epoch,
        timeout_ms: head.timeout_ms,
        unique_key: body.unique_key,
        correlation_id: body.correlation_id,
        traceparent: body.traceparent,
        enqueued_by: body.enqueued_by,
        tags: body.tags,
        created_at: head.created_at,
        started_at: head.started_at,
        finished_at: head.finished_at,
        holder: head.holder,
        cancel_requested: head.flags & STOP != 0,
        dead_reason: head.reason,
        failures: extras.failures.iter().map(|line| self::failure(line)).collect::<Result<_, _>>()?,
        progress: progress.map_err(|e| unreadable("more", &e.to_string()))?,
        result: extras.result.map(text).transpose()?.map(|json| raw(&json)).transpose()?,
    })
}

/// A line of a list, `<at>|<attempt>|<text>`: of failures, or of what a handler logged.
pub(super) fn line(bytes: &[u8]) -> Result<(Timestamp, u32, String), StoreError> {
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable("a line", "it is not text"))?;
    let mut parts = text.splitn(3, '|');
    let mut number = || parts.next().and_then(|part| part.parse::<i64>().ok());
    let (at, attempt) = (number(), number());
    match (at, attempt.and_then(|n| u32::try_from(n).ok()), parts.next()) {
        (Some(at), Some(attempt), Some(text)) => Ok((Timestamp::from_ms(at), attempt, text.to_owned())),
        _ => Err(unreadable("a line", "time or attempt is missing")),
    }
}

fn failure(bytes: &[u8]) -> Result<Failure, StoreError> {
    let (at, attempt, error) = line(bytes)?;
    Ok(Failure { at, attempt, error })
}

/// Bounds of what is kept with a job.
pub(super) const ERROR_MAX: usize = 2 * 1024;
const NOTE_MAX: usize = 200;

/// Progress as it is kept.
pub(super) fn progress(progress: &Progress) -> Result<String, StoreError> {
    let bounded = Progress { percent: progress.percent.min(100), note: cut(&progress.note, NOTE_MAX).to_owned() };
    serde_json::to_string(&bounded).map_err(|e| unreadable("a value to be kept", &e.to_string()))
}

/// At most `max` bytes of `text`, cut between characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
