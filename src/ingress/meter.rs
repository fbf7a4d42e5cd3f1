//! What a source's requests are counted by. A metric's place is looked up once for what comes all the time, by its name and
//! labels for the rest.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::metrics::{WEBHOOK_SECONDS, WEBHOOKS};

/// One source's.
#[derive(Default)]
pub(super) struct Meter {
    accepted: OnceLock<Counter>,
    seconds: OnceLock<Histogram>,
}

impl Meter {
    /// Counts one request that was read.
    pub(super) fn count(&self, source: &str, outcome: &'static str, took: Duration) {
        let count = || counter!(WEBHOOKS, "source" => source.to_owned(), "outcome" => outcome);
        if outcome == ACCEPTED {
            self.accepted.get_or_init(count).increment(1)
        } else {
            count().increment(1)
        }
        let seconds = || histogram!(WEBHOOK_SECONDS, "source" => source.to_owned());
        self.seconds.get_or_init(seconds).record(took.as_secs_f64());
    }
}

/// The outcome of an event that is new.
pub(super) const ACCEPTED: &str = "accepted";

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meter")
    }
}
