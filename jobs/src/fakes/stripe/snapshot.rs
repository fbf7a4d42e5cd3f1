//! The account's state as JSON, so that a sandbox that starts again goes on where it was.

use serde_json::{Value, json};

use super::Account;

/// A state may be older than the last events that were sent: ids go on far above it, so that none is given out twice.
const GAP: u64 = 10_000;

impl Account {
    /// All objects, and how many ids were given out.
    pub fn snapshot(&self) -> Value {
        self.with(|a| json!({ "subscriptions": a.subscriptions, "invoices": a.invoices, "made": a.made }))
    }

    /// Goes on from a snapshot.
    pub fn restore(&self, snapshot: &Value) {
        self.with(|a| {
            for (kept, name) in [(&mut a.subscriptions, "subscriptions"), (&mut a.invoices, "invoices")] {
                if let Some(objects) = snapshot[name].as_object() {
                    kept.extend(objects.iter().map(|(id, object)| (id.clone(), object.clone())));
                }
            }
            a.made = snapshot["made"].as_u64().unwrap_or(0) + GAP;
        });
    }

    /// The ids of the subscriptions that have not ended, oldest first.
    pub fn active_subscriptions(&self) -> Vec<String> {
        self.with(|a| {
            let active = a.subscriptions.iter().filter(|(_, subscription)| subscription["status"] == "active");
            active.map(|(id, _)| id.clone()).collect()
        })
    }
}
