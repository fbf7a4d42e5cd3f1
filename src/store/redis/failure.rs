//! Redis' errors as the contract's errors.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

/// What an error means for the caller, and for the connection it came by.
pub(super) struct Failure {
    pub(super) error: StoreError,
    /// The connection, or the server behind it, must not be used again.
    pub(super) broken: bool,
    /// The server takes nobody's writes now, so nobody can beat either.
    pub(super) gap: bool,
}

/// `step` completes "while it tried to …".
pub(super) fn failure(step: &'static str, error: &RedisError) -> Failure {
    let detail = error.to_string();
    let unavailable = |broken| {
        let error = StoreError::Unavailable { step, detail: detail.clone() };
        Failure { error, broken, gap: true }
    };
    // Before 7.0 an error inside a script comes as a plain one with the word in its text.
    let says = |word: &str| error.code() == Some(word) || detail.contains(&format!("{word} "));
    match error.kind() {
        _ if says("MISCONF") => Failure { error: StoreError::Full { detail }, broken: false, gap: true },
        // Here beats still work.
        _ if says("OOM") => Failure { error: StoreError::Full { detail }, broken: false, gap: false },
        // The master of yesterday: the next connection asks who it is today.
        _ if says("READONLY") || says("UNBLOCKED") || says("NOREPLICAS") => unavailable(true),
        ErrorKind::Server(ServerErrorKind::BusyLoading) | ErrorKind::Server(ServerErrorKind::TryAgain) => {
            unavailable(false)
        }
        _ if says("BUSY") => unavailable(false),
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            Failure { error: StoreError::Corrupt { place: step.to_owned(), detail }, broken: false, gap: false }
        }
        // Rights and logins are mended at the server, and a new connection sees it.
        _ => unavailable(true),
    }
}

/// A reply of another shape than the script's.
pub(super) fn misread(step: &'static str, what: &str) -> StoreError {
    StoreError::Corrupt { place: step.to_owned(), detail: format!("the reply has no {what}") }
}
