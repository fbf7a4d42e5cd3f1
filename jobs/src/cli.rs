//! What every command shares: how it answers, how it fails, and what its exit code means.
//!
//! Answers go to standard output, as tables for people or, with `--json`, as JSON for scripts; complaints and hints go
//! to standard error. An error says what to do next.

mod each;
mod exit;
mod json;
mod pages;
mod screen;
mod since;
mod span;

use clap::Args;
use tidemill::admin::{Admin, May};

pub use each::each;
pub use exit::{EXIT_CODES, Exit, Failure, conclude};
pub use json::read_json;
pub use pages::Pages;
pub use screen::{Align, Screen, Table};
pub use since::{InvalidSince, Since};
pub use span::{InvalidSpan, Span};

/// Options that every command has.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// Answer in JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,
    /// Your name, as the audit log shall show it
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true, global = true)]
    pub person: Option<String>,
}

impl Common {
    /// The right of whoever can open the store's files.
    pub fn may(&self) -> May<Admin> {
        May::local(self.person.as_deref().filter(|name| !name.is_empty()).unwrap_or("unknown"))
    }
}
