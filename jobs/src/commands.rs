//! The operators' commands, one file each. They open nothing themselves: the binary hands them the desk.

mod check;
mod enqueue;
mod jobs;
mod keys;
mod migrate;
mod portal;
mod queues;
mod sandbox;
mod schedules;
mod secrets;
mod serve;
mod webhooks;

pub use check::{Check, Connection, Setting};
pub use enqueue::Enqueue;
pub use jobs::Jobs;
pub use keys::Keys;
pub use migrate::Migrate;
pub use portal::Portal;
pub use queues::Queues;
pub use sandbox::Sandbox;
pub use schedules::Schedules;
pub use secrets::Secrets;
pub use serve::Serve;
pub use webhooks::Webhooks;
