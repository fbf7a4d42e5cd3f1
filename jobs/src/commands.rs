//! The operators' commands, one file each. They open nothing themselves: the binary hands them the desk.

mod check;
mod deliveries;
mod endpoints;
mod enqueue;
mod event_types;
mod events;
mod jobs;
mod keys;
mod messages;
mod migrate;
mod portal;
mod queues;
mod recoveries;
mod sandbox;
mod schedules;
mod secrets;
mod serve;
mod webhooks;

pub use check::{Check, Connection, Setting};
pub use deliveries::Deliveries;
pub use endpoints::Endpoints;
pub use enqueue::Enqueue;
pub use event_types::EventTypes;
pub use events::Events;
pub use jobs::Jobs;
pub use keys::Keys;
pub use messages::Messages;
pub use migrate::Migrate;
pub use portal::Portal;
pub use queues::Queues;
pub use recoveries::Recoveries;
pub use sandbox::Sandbox;
pub use schedules::Schedules;
pub use secrets::Secrets;
pub use serve::Serve;
pub use webhooks::Webhooks;
