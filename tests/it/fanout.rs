//! Webhooks out: from `fan_out` to the receiver's socket.

mod delivering;
mod fanning;
mod hostile;
mod pruning;
mod receiver;
mod registering;
mod stage;
