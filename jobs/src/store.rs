//! The application's own tables: all of its SQL, one statement a function, and nothing else.
//!
//! The statements keep to what SQLite and Postgres both speak. What must happen together takes a
//! [`Tx`](tidemill::data::Tx); everything else takes the [`Database`](tidemill::data::Database).

pub mod accounts;
pub mod billing;
pub mod events;
pub mod inbox;
pub mod market;
pub mod reconciliation;

use rust_decimal::Decimal;
use sqlx::migrate::Migrator;
use tidemill::clock::Timestamp;

/// The application's migrations, for [`Database::migrate`](tidemill::data::Database::migrate).
pub fn migrations() -> Migrator {
    sqlx::migrate!("migrations/sqlite")
}

fn at(ms: Option<i64>) -> Option<Timestamp> {
    ms.map(Timestamp::from_ms)
}

fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_ms)
}

/// A column that holds what this program did not write.
fn unreadable(place: &'static str, what: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(format!("{place} holds something unreadable: {what}").into())
}

fn decimal_column(place: &'static str, text: Option<String>) -> Result<Option<Decimal>, sqlx::Error> {
    text.map(|t| crate::money::decimal(&t).map_err(|e| unreadable(place, e))).transpose()
}
