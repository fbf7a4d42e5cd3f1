//! Plaid's objects, the parts that are used.

use chrono::NaiveDate;
use serde::Deserialize;

use crate::money::{Currency, Exact, MoneyError};

/// An account at an institution.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Account {
    /// Plaid's id for it.
    pub account_id: String,
    /// What it holds.
    pub balances: Balances,
    /// The last digits of its number.
    pub mask: Option<String>,
    /// Its name.
    pub name: String,
    /// `depository`, `credit`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `checking`, …
    pub subtype: Option<String>,
}

/// Balances in major units; for credit, a positive `current` is owed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Balances {
    /// May be spent.
    pub available: Option<Exact>,
    /// Is there.
    pub current: Option<Exact>,
    /// Credit limit.
    pub limit: Option<Exact>,
    iso_currency_code: Option<String>,
    unofficial_currency_code: Option<String>,
}

impl Balances {
    /// The currency of all three.
    ///
    /// # Errors
    /// When there is none or it is no code.
    pub fn currency(&self) -> Result<Currency, MoneyError> {
        currency(self.iso_currency_code.as_deref(), self.unofficial_currency_code.as_deref())
    }
}

/// One booking; a positive amount is money out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Transaction {
    /// Plaid's id for it.
    pub transaction_id: String,
    /// The account it is on.
    pub account_id: String,
    /// Major units.
    pub amount: Exact,
    iso_currency_code: Option<String>,
    unofficial_currency_code: Option<String>,
    /// When it was booked, or happened while pending.
    pub date: NaiveDate,
    /// When it was authorised.
    pub authorized_date: Option<NaiveDate>,
    /// As the institution describes it.
    pub name: String,
    /// The merchant, cleaned up by Plaid.
    pub merchant_name: Option<String>,
    /// Not booked yet.
    pub pending: bool,
    /// The pending one that became this.
    pub pending_transaction_id: Option<String>,
    personal_finance_category: Option<Category>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Category {
    detailed: String,
}

impl Transaction {
    /// The amount's currency.
    ///
    /// # Errors
    /// When there is none or it is no code.
    pub fn currency(&self) -> Result<Currency, MoneyError> {
        currency(self.iso_currency_code.as_deref(), self.unofficial_currency_code.as_deref())
    }

    /// Plaid's detailed category.
    pub fn category(&self) -> Option<&str> {
        self.personal_finance_category.as_ref().map(|c| c.detailed.as_str())
    }
}

/// A transaction that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Removed {
    /// Which.
    pub transaction_id: String,
}

/// One page of `/transactions/sync`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SyncPage {
    /// New ones.
    pub added: Vec<Transaction>,
    /// Changed ones, whole.
    pub modified: Vec<Transaction>,
    /// Gone ones.
    pub removed: Vec<Removed>,
    /// Where the next page, or the next sync, begins; empty: not ready, not to be kept.
    pub next_cursor: String,
    /// There is another page.
    pub has_more: bool,
}

fn currency(official: Option<&str>, unofficial: Option<&str>) -> Result<Currency, MoneyError> {
    match (official, unofficial) {
        (Some(code), _) => Currency::official(code),
        (None, Some(code)) => Currency::unofficial(code),
        (None, None) => Err(MoneyError::Currency(String::new())),
    }
}
