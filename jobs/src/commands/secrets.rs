//! `tidemill secrets`: a new data key, and what older ones have sealed brought under it.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use tidemill::admin::Desk;
use tidemill::clock::{Entropy, Timestamp};

use crate::cli::{Common, EXIT_CODES, Exit, Failure, Screen};
use crate::data_key;

/// Change the key that seals the secrets of endpoints
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill secrets new-key && systemctl restart tidemill && tidemill secrets rotate

With the key in TIDEMILL_DATA_KEY: put a new one there (`openssl rand -base64 32`) and the old one into
TIDEMILL_DATA_KEY_PREVIOUS, restart every process, run `tidemill secrets rotate` with the same variables, and then take the
old one away. Processes that were not restarted can't open what `rotate` has sealed.

{EXIT_CODES}"))]
pub struct Secrets {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Put a new key before those in the data directory's key file; processes use it from their next start on
    NewKey,
    /// Seal every secret with the current key; safe to repeat
    Rotate,
}

impl Secrets {
    /// Does what was asked; `variable` looks up the environment.
    ///
    /// # Errors
    /// When the key file can't be written, or a secret can't be opened with the keys at hand.
    pub async fn run(
        self,
        desk: &Desk,
        data_dir: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
        now: Timestamp,
        out: &mut dyn Write,
    ) -> Result<ExitCode, Failure> {
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::NewKey => {
                let file = data_key::renew(data_dir, variable, &Entropy::system())?;
                if screen.is_json() {
                    screen.json(&json!({ "key_file": file }))?;
                } else {
                    screen.line(format!("{} begins with a new key", file.display()))?;
                    screen.line("restart every process, then run `tidemill secrets rotate`")?;
                }
            }
            What::Rotate => {
                let sealed = desk.reseal_secrets(&self.common.may()).await?;
                if screen.is_json() {
                    screen.json(&json!({ "sealed": sealed }))?;
                } else {
                    screen.line(format!("{sealed} secrets sealed with the current key; the others were already"))?;
                }
            }
        }
        Ok(Exit::Done.into())
    }
}
