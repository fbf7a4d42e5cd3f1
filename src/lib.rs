//! Tidemill's engine: how work is kept, run, received, sent and seen.
#![warn(missing_docs)]

pub mod clock;
pub mod data;
pub mod job;
pub mod outbound;
pub mod queue;
pub mod store;
pub mod worker;
