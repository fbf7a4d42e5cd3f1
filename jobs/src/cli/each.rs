//! The same done to several things, one after the other.

use std::fmt::Display;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;
use tidemill::admin::Refusal;

use super::{Exit, Failure, Screen};

#[derive(Debug, Serialize)]
struct Outcome<'a, I> {
    id: &'a I,
    done: bool,
    says: String,
}

/// Does the same to all of them and says of each what came of it; the exit code is the worst of theirs.
///
/// # Errors
/// When the only one is refused, or the answer can't be written.
pub async fn each<I: Display + Serialize>(
    ids: &[I],
    screen: &mut Screen<'_>,
    act: impl AsyncFn(&I) -> Result<String, Refusal>,
) -> Result<ExitCode, Failure> {
    let (mut outcomes, mut worst) = (Vec::new(), Exit::Done);
    for id in ids {
        let outcome = match act(id).await {
            Ok(says) => Outcome { id, done: true, says },
            // One alone fails as itself, on standard error.
            Err(refusal) if ids.len() == 1 => return Err(refusal.into()),
            Err(refusal) => {
                let failure = Failure::from(refusal);
                worst = worst.max(failure.exit());
                Outcome { id, done: false, says: failure.to_string() }
            }
        };
        if !screen.is_json() {
            screen.line(format!("{id}  {}", outcome.says))?;
        }
        outcomes.push(outcome);
    }
    if screen.is_json() {
        screen.json(&json!({ "items": outcomes }))?;
    }
    Ok(worst.into())
}
