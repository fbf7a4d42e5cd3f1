//! The outside systems as stateful servers on loopback, for tests and for `tidemill sandbox`.
//!
//! One fake a system: it checks credentials, pages, limits and conditions as the real one does, keeps state that a
//! test (or the sandbox's story) changes, and can be told to fail. They hold no data worth keeping: everything is in
//! memory and bounded by what is put in.

pub mod gpu_market;
pub mod plaid;
pub mod receiver;
mod server;
pub mod stripe;
mod trouble;

pub use server::{Fake, FakeError};
pub use trouble::{Moods, Trouble};
