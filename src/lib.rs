//! Tidemill's engine: how work is kept, run, received, sent and seen.
#![warn(missing_docs)]

pub mod admin;
pub mod clock;
pub mod config;
pub mod data;
pub mod fanout;
pub mod ingress;
pub mod job;
pub mod listener;
pub mod metrics;
pub mod outbound;
pub mod problem;
pub mod queue;
pub mod schedule;
pub mod store;
pub mod telemetry;
pub mod upkeep;
pub mod worker;
