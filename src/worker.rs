//! Runs jobs: claim, decode, run under a timeout, settle.

mod context;
mod handler;
mod registry;

pub use context::Context;
pub use handler::Handler;
pub use registry::{Entry, Prepared, Registry, RegistryError};
