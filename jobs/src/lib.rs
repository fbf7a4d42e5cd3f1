//! The finance back office's jobs on [`tidemill`]: handlers, the clients they use, their tables, their schedules.
//!
//! To add a job: write `handlers/<kind>.rs` (dots become underscores), name it in [`handlers::register`], and, if it
//! runs by the clock, give it a line in [`schedules`]. A test fails when a handler file is not registered.
//!
//! ```text
//! handlers ─► clients   outside systems, typed errors       fakes   the same systems on loopback, for tests and sandbox
//!          ─► store     the application's tables, all SQL   events  what is published to the outside
//! ```

pub mod app;
pub mod cli;
pub mod clients;
pub mod commands;
pub mod config;
pub mod data_key;
pub mod events;
pub mod fakes;
pub mod handlers;
pub mod inbox;
pub mod inspection;
pub mod money;
pub mod reconciliation;
pub mod sandbox;
pub mod schedules;
pub mod serve;
pub mod service;
pub mod store;
pub mod wiring;
