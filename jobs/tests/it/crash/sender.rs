//! Posts as Stripe does: signed, at a steady rate over several connections, again and again until it is told 2xx, some
//! of it twice. Its log is what the service has promised.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill::clock::{Clock, Entropy};
use tidemill_jobs::fakes::stripe::{Account, SentEvent};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::history::Sent;
use super::rig::WEBHOOK_SECRET;

const CONNECTIONS: usize = 12;
/// Between two tries of one event.
const PAUSE: Duration = Duration::from_millis(50);
/// So many of a hundred events are posted once more after they were accepted.
const TWICE_PERCENT: u64 = 8;

pub(super) struct Sender {
    inner: Arc<Inner>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Inner {
    http: reqwest::Client,
    url: String,
    clock: Clock,
    entropy: Entropy,
    log: Mutex<BTreeMap<String, Sent>>,
    /// What comes next and when; whoever holds it waits for the tick.
    next: tokio::sync::Mutex<(Interval, Story)>,
}

impl Sender {
    /// Posts one new event each `every`, as far as the service keeps up.
    pub(super) fn start(url: String, account: Account, every: Duration, entropy: Entropy) -> Self {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let story = Story { account, entropy: entropy.clone(), subscriptions: Vec::new(), unpaid: Vec::new() };
        let inner = Arc::new(Inner {
            http: tidemill::outbound::client(Duration::from_secs(5)).unwrap(),
            url,
            clock: Clock::system(),
            entropy,
            log: Mutex::default(),
            next: tokio::sync::Mutex::new((ticks, story)),
        });
        let sender = Self { inner, stop: CancellationToken::new(), tasks: TaskTracker::new() };
        for _ in 0..CONNECTIONS {
            let (inner, stop) = (Arc::clone(&sender.inner), sender.stop.clone());
            sender.tasks.spawn(async move { inner.post_until(stop).await });
        }
        sender.tasks.close();
        sender
    }

    /// Makes no more events, and waits until all that were made have been accepted.
    pub(super) async fn stop(self, patience: Duration) -> Vec<Sent> {
        self.stop.cancel();
        let accepted = tokio::time::timeout(patience, self.tasks.wait()).await;
        assert!(accepted.is_ok(), "unknown: the service has not taken the last events within {patience:?}");
        self.inner.log().values().cloned().collect()
    }
}

impl Inner {
    async fn post_until(&self, stop: CancellationToken) {
        while let Some(event) = stop.run_until_cancelled(self.next()).await {
            self.post_until_accepted(&event).await;
            if self.entropy.below(100) < TWICE_PERCENT {
                self.post_until_accepted(&event).await;
            }
        }
    }

    async fn next(&self) -> SentEvent {
        let mut next = self.next.lock().await;
        next.0.tick().await;
        let event = next.1.go_on();
        let sent = Sent { event: event.id.clone(), object: event.object_id.clone(), ..Sent::default() };
        self.log().insert(event.id.clone(), sent);
        event
    }

    async fn post_until_accepted(&self, event: &SentEvent) {
        loop {
            let signature = event.signature(WEBHOOK_SECRET, self.clock.now());
            let request = self.http.post(&self.url).header("Stripe-Signature", signature).body(event.body.clone());
            let accepted = request.send().await.is_ok_and(|reply| reply.status().is_success());
            if let Some(sent) = self.log().get_mut(&event.id) {
                sent.posts += 1;
                sent.acks += u32::from(accepted);
            }
            if accepted {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Sent>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens in the account.
struct Story {
    account: Account,
    entropy: Entropy,
    subscriptions: Vec<String>,
    unpaid: Vec<String>,
}

impl Story {
    fn go_on(&mut self) -> SentEvent {
        let dice = self.entropy.below(100);
        if self.subscriptions.is_empty() || dice < 25 {
            let event = self.account.subscribe("cus_1", 1_000 + self.amount());
            self.subscriptions.push(event.object_id.clone());
            return event;
        }
        let subscription = self.subscriptions[self.one_of(self.subscriptions.len())].clone();
        match dice {
            25..45 => {
                let event = self.account.bill_in_vain(&subscription);
                self.unpaid.push(event.object_id.clone());
                event
            }
            45..60 if !self.unpaid.is_empty() => {
                let nth = self.one_of(self.unpaid.len());
                self.account.pay(&self.unpaid.swap_remove(nth))
            }
            60..80 => self.account.change_price(&subscription, 1_000 + self.amount()),
            80..85 => {
                self.subscriptions.retain(|id| *id != subscription);
                self.account.cancel(&subscription)
            }
            _ => self.account.bill_and_pay(&subscription),
        }
    }

    fn amount(&self) -> i64 {
        i64::try_from(self.entropy.below(9_000)).unwrap()
    }

    fn one_of(&self, n: usize) -> usize {
        usize::try_from(self.entropy.below(n as u64)).unwrap()
    }
}
