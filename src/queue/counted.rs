//! How many jobs came in, by queue and by what became of them: `tidemill_enqueued_total`.
//!
//! Counted where this process is told, so both stores count alike. The queues are those of the configuration, which bounds the
//! labels. Counters are looked up once: enqueueing is what everything waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use ::metrics::Counter;

use crate::job::QueueName;
use crate::metrics;
use crate::store::{Enqueued, NewJob};

/// What may become of a job on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Inserted,
    Duplicate,
    /// It followed another one's completion; the store does not say whether its unique key was taken.
    Child,
}

/// The counters of each queue.
#[derive(Debug)]
pub(super) struct CountedQueues(BTreeMap<QueueName, [OnceLock<Counter>; 3]>);

impl CountedQueues {
    pub(super) fn of(names: &BTreeSet<QueueName>) -> Self {
        Self(names.iter().map(|name| (name.clone(), Default::default())).collect())
    }

    /// What the store has said of a batch.
    pub(super) fn kept<'a>(&self, queues: impl IntoIterator<Item = &'a QueueName>, done: &[Enqueued]) {
        for (queue, enqueued) in queues.into_iter().zip(done) {
            self.count(queue, if enqueued.is_new() { Outcome::Inserted } else { Outcome::Duplicate });
        }
    }

    /// Jobs that were kept with the completion of the one before them.
    pub(super) fn followed(&self, children: &[NewJob]) {
        children.iter().for_each(|child| self.count(&child.spec.queue, Outcome::Child));
    }

    /// One that a schedule has made.
    pub(super) fn made(&self, queue: &QueueName) {
        self.count(queue, Outcome::Inserted);
    }

    fn count(&self, queue: &QueueName, outcome: Outcome) {
        // Whatever is enqueued was admitted to one of the names.
        let Some(counters) = self.0.get(queue) else { return };
        let (place, word) = match outcome {
            Outcome::Inserted => (0, "inserted"),
            Outcome::Duplicate => (1, "duplicate"),
            Outcome::Child => (2, "child"),
        };
        let counter = counters[place]
            .get_or_init(|| ::metrics::counter!(metrics::ENQUEUED, "queue" => queue.to_string(), "outcome" => word));
        counter.increment(1);
    }
}
