//! `tidemill sandbox`: see everything move, with nothing configured.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::sandbox::{self, SandboxOptions};

/// Try it: the whole service with a small fake world around it, on this machine only
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tidemill sandbox

Needs no configuration, no key and no network. Ctrl-C stops it cleanly; started again, it goes on where it was. To begin anew,
delete its folder.")]
pub struct Sandbox {
    /// Its port for webhooks; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Its port for operators; 0 takes a free one
    #[arg(long, default_value_t = 8081)]
    admin_port: u16,
    /// Its queue store, like redis://127.0.0.1/0?namespace=sandbox. Not taken from the environment: that may be production's
    #[arg(long, value_name = "URL")]
    queue_url: Option<String>,
}

impl Sandbox {
    /// Runs until a signal, in `data_dir` or in a folder of its own.
    ///
    /// # Errors
    /// When something can't start; says what.
    pub async fn run(self, data_dir: Option<PathBuf>) -> anyhow::Result<ExitCode> {
        let data_dir = data_dir.unwrap_or_else(|| "data/sandbox".into());
        let Self { port, admin_port, queue_url } = self;
        sandbox::run(SandboxOptions { data_dir, queue_url, port, admin_port }).await
    }
}
