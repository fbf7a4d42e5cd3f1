//! A lively account, for the sandbox: something happens each time it is asked.

use serde_json::Value;
use tidemill::clock::Entropy;

use super::{Account, SentEvent};

/// With so many subscriptions somebody leaves before the next one comes.
const MAX_ACTIVE: usize = 50;
/// With so many invoices nobody is billed any more: the fake keeps all of them in memory.
const MAX_INVOICES: usize = 5_000;

/// What one subscriber does next.
enum Step {
    Subscribe,
    ChangePrice(String),
    BillAndPay(String),
    BillInVain(String),
    Pay(String),
    Cancel(String),
}

impl Account {
    /// Somebody subscribes, changes the price, pays, fails to, pays late, or leaves.
    pub fn live(&self, entropy: &Entropy) -> SentEvent {
        let cents = 500 + 100 * i64::try_from(entropy.below(100)).unwrap_or(0);
        match self.choose(entropy) {
            Step::Subscribe => self.subscribe(&format!("cus_{}", entropy.below(1_000_000)), cents),
            Step::ChangePrice(subscription) => self.change_price(&subscription, cents),
            Step::BillAndPay(subscription) => self.bill_and_pay(&subscription),
            Step::BillInVain(subscription) => self.bill_in_vain(&subscription),
            Step::Pay(invoice) => self.pay(&invoice),
            Step::Cancel(subscription) => self.cancel(&subscription),
        }
    }

    fn choose(&self, entropy: &Entropy) -> Step {
        let (active, open, invoices) = self.with(|a| {
            let having = |objects: &std::collections::BTreeMap<String, Value>, status: &str| -> Vec<String> {
                objects.iter().filter(|(_, o)| o["status"] == status).map(|(id, _)| id.clone()).collect()
            };
            (having(&a.subscriptions, "active"), having(&a.invoices, "open"), a.invoices.len())
        });
        let one_of = |ids: &[String]| {
            let nth = usize::try_from(entropy.below(ids.len() as u64)).unwrap_or(0);
            ids.get(nth).cloned()
        };
        let Some(subscriber) = one_of(&active) else { return Step::Subscribe };
        if active.len() >= MAX_ACTIVE {
            return Step::Cancel(subscriber);
        }
        match entropy.below(10) {
            0..=2 if invoices < MAX_INVOICES => Step::BillAndPay(subscriber),
            3 if invoices < MAX_INVOICES => Step::BillInVain(subscriber),
            4..=5 => one_of(&open).map_or(Step::ChangePrice(subscriber), Step::Pay),
            6 => Step::Cancel(subscriber),
            7..=8 if invoices < MAX_INVOICES => Step::Subscribe,
            _ => Step::ChangePrice(subscriber),
        }
    }
}
