//! What an outside observer knows of a run: the sender's log, the receiver's log, and the files (or the Redis) as each kill and the
//! end have left them. Plain data, so that the checker is a function and its own tests can falsify it.

use std::collections::BTreeMap;

/// One run.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// The sender's log: every event it has posted.
    pub(super) sent: Vec<Sent>,
    /// The receiver's log: every POST with a right signature, in the order of arrival.
    pub(super) received: Vec<Post>,
    /// In the order in which they happened.
    pub(super) kills: Vec<Kill>,
    /// Clean stops while jobs ran; each may hand a job back without charging the attempt.
    pub(super) stops: u64,
    /// The sender's own books.
    pub(super) books: Books,
    /// The files at the end.
    pub(super) dump: Dump,
}

/// An event as its sender remembers it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub(super) event: String,
    /// The subscription or invoice it is about.
    pub(super) object: String,
    /// Requests made for it.
    pub(super) posts: u32,
    /// Of them answered 2xx.
    pub(super) acks: u32,
}

/// A webhook as its receiver remembers it. Times are milliseconds of the one clock that all processes here share.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) message: String,
    /// The Stripe event in its body.
    pub(super) event: String,
    pub(super) at: i64,
}

/// A `kill -9`, and the jobs in the files right after it: all unfinished ones, and those finished since the last kill.
#[derive(Clone, Debug)]
pub(super) struct Kill {
    pub(super) at: i64,
    pub(super) seen: Vec<Job>,
}

impl Kill {
    pub(super) fn running(&self) -> impl Iterator<Item = &Job> {
        self.seen.iter().filter(|job| job.state == "running")
    }
}

/// Subscriptions and invoices by id, the compared fields as one text.
pub(super) type Books = BTreeMap<String, String>;

/// Both files at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Dump {
    pub(super) jobs: Vec<Job>,
    /// The maintained counters by queue and state.
    pub(super) counts: BTreeMap<(String, String), i64>,
    /// The maintained totals of completions by queue.
    pub(super) completed: BTreeMap<String, i64>,
    /// Incarnations that count as alive.
    pub(super) alive: Vec<String>,
    /// `webhook_events`: id and outcome.
    pub(super) events: Vec<(String, String)>,
    pub(super) endpoints: Vec<String>,
    /// `messages`: id and event id.
    pub(super) messages: Vec<(String, String)>,
    pub(super) deliveries: Vec<Delivery>,
    /// `delivery_attempts`: the delivery, and whether the answer was 2xx.
    pub(super) attempts: Vec<(String, bool)>,
    pub(super) mirror: Books,
    /// What `pragma integrity_check` says of each file.
    pub(super) integrity: Vec<(&'static str, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) queue: String,
    pub(super) kind: String,
    pub(super) state: String,
    pub(super) attempt: i64,
    pub(super) crashes: i64,
    pub(super) epoch: i64,
    pub(super) holder: Option<String>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    /// The event it handles, or the message it delivers.
    pub(super) about: String,
}

#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) id: String,
    pub(super) message: String,
    pub(super) endpoint: String,
    pub(super) state: String,
    pub(super) attempts: i64,
}
