//! What happens in a sandbox: customers subscribe, pay, fail to pay and leave; each time the payment provider posts a signed
//! webhook, sometimes twice, and tries again when it is not answered well. Somebody else posts forged ones.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidemill::clock::{Clock, Entropy};
use tidemill::outbound;
use tokio_util::sync::CancellationToken;

use super::world::{TOKEN, World};
use crate::fakes::plaid::Bank;
use crate::fakes::stripe::{Account, SentEvent};

/// Between two things that happen.
const PACE: Duration = Duration::from_millis(150);
/// The story has so many customers; then they only pay and leave.
const SUBSCRIPTIONS_MAX: usize = 200;
/// A sender's tries for one event.
const TRIES: u32 = 20;

/// Tells the story and counts.
#[derive(Debug)]
pub(super) struct Story {
    account: Account,
    bank: Bank,
    secret: String,
    url: String,
    client: reqwest::Client,
    clock: Clock,
    entropy: Entropy,
    /// Answered 2xx.
    pub(super) accepted: AtomicU64,
    /// Posted once more though accepted.
    pub(super) repeated: AtomicU64,
    /// Forged and refused with 401.
    pub(super) forged: AtomicU64,
    /// Not answered 2xx at first.
    pub(super) again: AtomicU64,
}

impl Story {
    pub(super) fn new(world: &World, public: SocketAddr, clock: Clock, entropy: Entropy) -> anyhow::Result<Self> {
        Ok(Self {
            account: world.stripe.state.clone(),
            bank: world.bank.state.clone(),
            secret: world.stripe_secret.clone(),
            url: format!("http://{public}/webhooks/stripe"),
            client: outbound::client(Duration::from_secs(10))?,
            clock,
            entropy,
            accepted: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            forged: AtomicU64::new(0),
            again: AtomicU64::new(0),
        })
    }

    /// Goes on until `stop`.
    pub(super) async fn tell(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(PACE)).await.is_some() {
            let event = self.happen();
            self.send(&event, &stop).await;
            match self.entropy.below(100) {
                0..5 => {
                    self.post(&event, &self.secret).await;
                    self.repeated.fetch_add(1, Ordering::Relaxed);
                }
                5..8 => self.forge(&event).await,
                8..20 => self.spend(),
                _ => {}
            }
        }
    }

    /// The next thing that happens.
    fn happen(&self) -> SentEvent {
        let active = self.account.active_subscriptions();
        let cents = 900 + i64::try_from(self.entropy.below(9)).unwrap_or(0) * 1_000;
        let subscribe = || self.account.subscribe(&format!("cus_{:06}", self.entropy.below(1_000_000)), cents);
        let nth = usize::try_from(self.entropy.below(active.len() as u64)).unwrap_or(0);
        let Some(subscription) = active.get(nth) else { return subscribe() };
        match self.entropy.below(100) {
            0..30 if active.len() < SUBSCRIPTIONS_MAX => subscribe(),
            0..75 => self.account.bill_and_pay(subscription),
            75..85 => self.account.bill_in_vain(subscription),
            85..95 => self.account.change_price(subscription, cents),
            _ => self.account.cancel(subscription),
        }
    }

    /// Somebody without the secret posts it.
    async fn forge(&self, event: &SentEvent) {
        if self.post(event, "whsec_somebody_else").await == Some(401) {
            self.forged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something is bought with the account at the bank.
    fn spend(&self) {
        let id = format!("tx-{}", self.entropy.uuid().simple());
        let amount = format!("{}.{:02}", self.entropy.below(200), self.entropy.below(100));
        self.bank.book(TOKEN, &id, &amount);
    }

    /// Posts until it is answered well, as the real sender does, only faster.
    async fn send(&self, event: &SentEvent, stop: &CancellationToken) {
        for _ in 0..TRIES {
            if self.post(event, &self.secret).await.is_some_and(|status| (200..300).contains(&status)) {
                self.accepted.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.again.fetch_add(1, Ordering::Relaxed);
            if stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(500))).await.is_none() {
                return;
            }
        }
    }

    async fn post(&self, event: &SentEvent, secret: &str) -> Option<u16> {
        let signature = event.signature(secret, self.clock.now());
        let request = self.client.post(&self.url).header("stripe-signature", signature);
        let reply = request.header("content-type", "application/json").body(event.body.clone()).send().await.ok()?;
        Some(reply.status().as_u16())
    }
}
