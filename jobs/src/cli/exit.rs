//! Exit codes, and the errors that end with one.

use std::process::ExitCode;

use tidemill::admin::{Refusal, Sort};
use tidemill::data::DataError;
use tidemill::fanout::history::HistoryError;
use tidemill::fanout::recovery::RecoveryError;
use tidemill::store::StoreError;

/// What the exit codes mean, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: something is broken, the message says what
  2  wrong usage: an argument or option is not allowed
  3  not found: nothing has this id or name
  4  refused: its present state does not allow this
  5  unavailable: the store or the database did not answer; try again";

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// Something is broken.
    Failed = 1,
    /// An argument or option is not allowed.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// Its present state does not allow this.
    Refused = 4,
    /// The store or the database did not answer.
    Unavailable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The desk refused.
    #[error("{}", with_advice(.0))]
    Refused(#[from] Refusal),
    /// The store can't be opened or asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database can't be opened or migrated.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An argument that only shows itself as wrong when it is used.
    #[error("{0}")]
    Usage(String),
    /// The answer can't be written.
    #[error("the answer can't be written: {0}")]
    Output(#[from] std::io::Error),
    /// Anything else.
    #[error("{}", told(.0))]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// The exit code that says it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused(refusal) => exit_of(refusal.sort()),
            Self::Store(error) => exit_of_store(error),
            Self::Data(DataError::Sql { .. }) => Exit::Unavailable,
            Self::Data(DataError::Migrate { .. } | DataError::TooOld { .. }) | Self::Output(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
            Self::Other(error) => exit_of_other(error),
        }
    }
}

/// Ends a command: the complaint, if there is one, goes to standard error.
pub fn conclude<E: Into<anyhow::Error>>(result: Result<ExitCode, E>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error.into(),
    };
    let failure = error.downcast_ref::<Failure>();
    let exit = failure.map_or_else(|| exit_of_other(&error), Failure::exit);
    // A reader that went away (`tidemill jobs list | head`) has had what it wanted.
    if let Some(Failure::Output(io)) = failure
        && io.kind() == std::io::ErrorKind::BrokenPipe
    {
        return Exit::Done.into();
    }
    // A failure's own words hold those of its causes already.
    match failure {
        Some(failure) => eprintln!("error: {failure}"),
        None => eprintln!("error: {}", told(&error)),
    }
    exit.into()
}

fn exit_of(sort: Sort) -> Exit {
    match sort {
        Sort::Invalid => Exit::Usage,
        Sort::NotFound => Exit::NotFound,
        Sort::Conflict => Exit::Refused,
        Sort::Unavailable => Exit::Unavailable,
        Sort::Broken => Exit::Failed,
    }
}

fn exit_of_store(error: &StoreError) -> Exit {
    match error {
        // Trying again does not help; somebody must change the server or the configuration.
        StoreError::TooWeak { .. } => Exit::Failed,
        error if error.is_temporary() => Exit::Unavailable,
        _ => Exit::Failed,
    }
}

fn exit_of_other(error: &anyhow::Error) -> Exit {
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return exit_of_store(error);
    }
    match error.downcast_ref::<DataError>() {
        Some(DataError::Sql { .. }) => Exit::Unavailable,
        _ => Exit::Failed,
    }
}

/// The error with its causes, without those whose words stand in it already.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match () {
        () if told.is_empty() => cause,
        () if told.ends_with(&cause) => told,
        () => format!("{told}: {cause}"),
    })
}

fn with_advice(refusal: &Refusal) -> String {
    let advice = match refusal.sort() {
        Sort::NotFound => match refusal {
            Refusal::Store(StoreError::NoSuchJob(_)) => "`tidemill jobs list` shows the jobs that are kept",
            Refusal::Store(StoreError::NoSuchQueue(_)) => "`tidemill queues list` shows all queues",
            Refusal::Store(StoreError::NoSuchSchedule(_)) => "`tidemill schedules list` shows all schedules",
            Refusal::Key(_) => "`tidemill keys list` shows all keys",
            Refusal::Endpoint(_) | Refusal::Recovery(RecoveryError::Endpoint(_)) => {
                "`tidemill endpoints list` shows all endpoints"
            }
            Refusal::Recovery(RecoveryError::NoSuchRecovery(_)) => "`tidemill recoveries list` shows them",
            Refusal::Recovery(_) | Refusal::History(HistoryError::NoSuch("delivery", _)) => {
                "`tidemill deliveries list` shows those that are kept"
            }
            Refusal::History(_) => "`tidemill messages list` shows those that are kept",
            Refusal::EventType(_) => "`tidemill event-types list` shows all types",
            _ => return refusal.to_string(),
        },
        Sort::Unavailable => "nothing was changed; try again, and see `tidemill check` if it stays so",
        Sort::Invalid | Sort::Conflict | Sort::Broken => return refusal.to_string(),
    };
    format!("{refusal}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let io = || std::io::Error::other("the port is taken");
        let error = anyhow::Error::new(io()).context("can't listen: the port is taken").context("no sandbox");
        assert_eq!(told(&error), "no sandbox: can't listen: the port is taken");
        let error = anyhow::Error::new(io()).context("can't listen");
        assert_eq!(Failure::Other(error).to_string(), "can't listen: the port is taken");
    }
}
