//! Webhooks out: from `fan_out` to the receiver's socket.
#![expect(clippy::unwrap_used, reason = "a test that can't go on shall fail where it stands")]

mod counting;
mod delivering;
mod dressing;
mod fanning;
mod filtering;
mod guarding;
mod hostile;
mod knowing;
mod limiting;
mod logging;
mod noticing;
mod ordering;
mod proxying;
mod pruning;
mod receiver;
mod recovering;
mod registering;
mod sealing;
mod stage;
mod steering;
mod tls;
mod upgrading;
mod working;
