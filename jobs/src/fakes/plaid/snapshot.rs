//! The items' state as JSON, so that a sandbox that starts again goes on where it was.

use serde_json::{Value, json};

use super::{Bank, Entry, Item};

impl Bank {
    /// All items with their accounts and bookings.
    pub fn snapshot(&self) -> Value {
        let entry = |entry: &Entry| match entry {
            Entry::Added(booking) => json!({ "added": booking }),
            Entry::Modified(booking) => json!({ "modified": booking }),
            Entry::Removed(id) => json!({ "removed": id }),
        };
        self.with(|b| {
            let item = |(token, item): (&String, &Item)| {
                let log: Vec<Value> = item.log.iter().map(entry).collect();
                (token.clone(), json!({ "item_id": item.item_id, "accounts": item.accounts, "log": log }))
            };
            Value::Object(b.items.iter().map(item).collect())
        })
    }

    /// Goes on from a snapshot. Cursors that were given out after it was taken stand at its end.
    pub fn restore(&self, snapshot: &Value) {
        let entry = |entry: &Value| match (entry.get("added"), entry.get("modified"), entry.get("removed")) {
            (Some(booking), _, _) => Some(Entry::Added(booking.clone())),
            (_, Some(booking), _) => Some(Entry::Modified(booking.clone())),
            (_, _, Some(id)) => Some(Entry::Removed(id.as_str()?.to_owned())),
            _ => None,
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        self.with(|b| {
            for (token, kept) in snapshot.as_object().into_iter().flatten() {
                let item = Item {
                    item_id: kept["item_id"].as_str().unwrap_or_default().to_owned(),
                    accounts: list(&kept["accounts"]),
                    log: list(&kept["log"]).iter().filter_map(entry).collect(),
                    restored: true,
                    ..Item::default()
                };
                b.items.insert(token.clone(), item);
            }
        });
    }
}
