//! SQLite's error codes as the contract's errors.

use rusqlite::ffi::{self, ErrorCode};

use crate::store::StoreError;

/// What a driver error means for the caller.
pub(super) fn store_error(step: &'static str, error: &rusqlite::Error) -> StoreError {
    let detail = error.to_string();
    let rusqlite::Error::SqliteFailure(code, _) = error else {
        return StoreError::Corrupt { place: step.to_owned(), detail };
    };
    // After a failed fsync the kernel may have dropped the pages: what is on disk is unknown, so trying again would lie.
    if matches!(code.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) {
        return StoreError::Fatal { detail: format!("fsync failed while it tried to {step}: {detail}") };
    }
    match code.code {
        ErrorCode::DiskFull => StoreError::Full { detail },
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::ReadOnly { detail },
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            StoreError::Fatal { detail: format!("the file is damaged ({detail}); restore a backup") }
        }
        // The same values will break the same rule for ever: this must not look like something to try again.
        ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => {
            StoreError::Corrupt { place: step.to_owned(), detail }
        }
        _ => StoreError::Unavailable { step, detail },
    }
}

/// Gives driver errors the name of the step that failed.
pub(super) trait During<T> {
    /// Maps the error; `step` completes "while it tried to …".
    fn during(self, step: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for Result<T, rusqlite::Error> {
    fn during(self, step: &'static str) -> Result<T, StoreError> {
        self.map_err(|e| store_error(step, &e))
    }
}
