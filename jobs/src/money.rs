//! Money as integer minor units with a currency, and decimals read from JSON number text.
//!
//! Nothing here or above it goes through a binary float: a JSON number is kept as its digits until it is a
//! [`Decimal`]. What does not fit exactly is an error, except where a caller asks for a rounded reading.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize};

/// Decimal places of a currency that no standard lists (Plaid's `unofficial_currency_code`, crypto mostly).
const UNOFFICIAL_EXPONENT: u32 = 8;

/// An amount or currency that can't be taken as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The code is none.
    #[error("`{0}` is not a currency code: three letters for an official one, 1 to 12 letters or digits otherwise")]
    Currency(String),
    /// The number is no decimal this program can hold.
    #[error("`{0}` is not a decimal number of at most 28 digits")]
    Number(String),
    /// It has more decimal places than the currency.
    #[error("{amount} {currency} has more than {places} decimal places")]
    TooFine {
        /// The amount.
        amount: Decimal,
        /// The currency's code.
        currency: String,
        /// The places it has.
        places: u32,
    },
    /// It does not fit into 64 bits of minor units.
    #[error("{amount} {currency} is too large")]
    TooLarge {
        /// The amount.
        amount: Decimal,
        /// The currency's code.
        currency: String,
    },
}

/// A currency: an upper-case code and how many decimal places its minor unit has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Currency {
    code: String,
    places: u32,
}

impl Currency {
    /// A currency of ISO 4217, in either case.
    ///
    /// # Errors
    /// When it is not three letters.
    pub fn official(code: &str) -> Result<Self, MoneyError> {
        if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(MoneyError::Currency(code.chars().take(20).collect()));
        }
        let code = code.to_ascii_uppercase();
        let places = iso_places(&code);
        Ok(Self { code, places })
    }

    /// A code outside ISO 4217; it is kept to eight decimal places.
    ///
    /// # Errors
    /// When it is not 1 to 12 letters or digits.
    pub fn unofficial(code: &str) -> Result<Self, MoneyError> {
        if !(1..=12).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(MoneyError::Currency(code.chars().take(20).collect()));
        }
        Ok(Self { code: code.to_ascii_uppercase(), places: UNOFFICIAL_EXPONENT })
    }

    /// The code, upper case.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Decimal places between the major and the minor unit.
    pub fn places(&self) -> u32 {
        self.places
    }

    /// `amount` major units as minor units, exactly.
    ///
    /// # Errors
    /// When it has more decimal places than the currency, or is too large.
    pub fn minor(&self, amount: Decimal) -> Result<i64, MoneyError> {
        if amount.normalize().scale() > self.places {
            return Err(MoneyError::TooFine { amount, currency: self.code.clone(), places: self.places });
        }
        self.minor_rounded(amount)
    }

    /// `amount` major units as minor units, rounded half to even: for readings (balances), never for bookings.
    ///
    /// # Errors
    /// When it is too large.
    pub fn minor_rounded(&self, amount: Decimal) -> Result<i64, MoneyError> {
        let rounded = amount.round_dp_with_strategy(self.places, RoundingStrategy::MidpointNearestEven);
        rounded
            .checked_mul(Decimal::from(10_i64.pow(self.places)))
            .and_then(|scaled| i64::try_from(scaled).ok())
            .ok_or_else(|| MoneyError::TooLarge { amount, currency: self.code.clone() })
    }
}

/// ISO 4217's minor units where they are not two.
fn iso_places(code: &str) -> u32 {
    match code {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

/// An amount in a currency's minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    /// Minor units; negative is allowed.
    pub minor: i64,
    /// Of what.
    pub currency: Currency,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = Decimal::from_i128_with_scale(i128::from(self.minor), self.currency.places());
        write!(f, "{amount} {}", self.currency.code())
    }
}

/// A decimal that arrived as a JSON number and never was a float; written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exact(pub Decimal);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        decimal(number.as_str()).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Exact {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Reads a decimal, scientific notation allowed; nothing is rounded away.
///
/// # Errors
/// When it is no number or has too many digits.
pub fn decimal(text: &str) -> Result<Decimal, MoneyError> {
    let bad = || MoneyError::Number(text.chars().take(40).collect());
    if text.len() > 64 {
        return Err(bad());
    }
    if text.contains(['e', 'E']) {
        return Decimal::from_scientific(text).map_err(|_| bad());
    }
    let exact = text.strip_prefix('+').unwrap_or(text);
    Decimal::from_str_exact(exact).or_else(|_| {
        // `from_str_exact` refuses nothing but too many digits here; trailing zeros alone are harmless.
        let value = Decimal::from_str(exact).map_err(|_| bad())?;
        let trimmed = if exact.contains('.') { exact.trim_end_matches('0').trim_end_matches('.') } else { exact };
        if value.normalize().to_string() == trimmed { Ok(value) } else { Err(bad()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_become_minor_units_exactly_or_not_at_all() {
        let usd = Currency::official("usd").unwrap();
        assert_eq!(usd.minor(decimal("72.1").unwrap()), Ok(7_210));
        assert_eq!(usd.minor(decimal("-0.01").unwrap()), Ok(-1));
        assert_eq!(usd.minor(decimal("10.000").unwrap()), Ok(1_000));
        assert!(matches!(usd.minor(decimal("72.105").unwrap()), Err(MoneyError::TooFine { .. })));
        assert!(matches!(usd.minor(decimal("1e20").unwrap()), Err(MoneyError::TooLarge { .. })));
    }

    #[test]
    fn readings_are_rounded_half_to_even() {
        let usd = Currency::official("USD").unwrap();
        assert_eq!(usd.minor_rounded(decimal("23631.9805").unwrap()), Ok(2_363_198));
        assert_eq!(usd.minor_rounded(decimal("0.125").unwrap()), Ok(12));
        assert_eq!(usd.minor_rounded(decimal("0.135").unwrap()), Ok(14));
    }

    #[test]
    fn currencies_know_their_places() {
        assert_eq!(Currency::official("jpy").unwrap().minor(decimal("500").unwrap()), Ok(500));
        assert_eq!(Currency::official("KWD").unwrap().minor(decimal("1.234").unwrap()), Ok(1_234));
        assert_eq!(Currency::unofficial("BTC").unwrap().minor(decimal("0.00000001").unwrap()), Ok(1));
        assert!(Currency::official("US").is_err());
        let money = Money { minor: -5, currency: Currency::official("USD").unwrap() };
        assert_eq!(money.to_string(), "-0.05 USD");
    }

    #[test]
    fn a_json_number_keeps_its_digits() {
        let Exact(value) = serde_json::from_str("0.1000000000000000055").unwrap();
        assert_eq!(value.to_string(), "0.1000000000000000055");
        let Exact(value) = serde_json::from_str("3e-1").unwrap();
        assert_eq!(value, decimal("0.3").unwrap());
        assert!(serde_json::from_str::<Exact>("0.12345678901234567890123456789012345").is_err());
        assert!(serde_json::from_str::<Exact>("\"1\"").is_err(), "text is not a number");
    }
}
