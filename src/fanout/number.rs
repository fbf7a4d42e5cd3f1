//! JSON numbers compared exactly: by their decimal digits, never as binary floats, and never by writing them out.
//!
//! `1`, `1.0` and `10e-1` are equal, `0.1 + nothing` is `0.1`, and `1e999999999` costs no more than its text is long.

use std::cmp::Ordering;

use serde_json::Number;

/// A number as sign, digits without zeros at either end, and the power of ten that the first digit stands for.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    magnitude: i128,
}

/// Which of the two is the larger.
pub(super) fn compare(left: &Number, right: &Number) -> Ordering {
    let (left, right) = (Decimal::of(left), Decimal::of(right));
    let sign = |d: &Decimal| match (d.digits.is_empty(), d.negative) {
        (true, _) => 0,
        (false, true) => -1,
        (false, false) => 1,
    };
    let (left_sign, right_sign) = (sign(&left), sign(&right));
    if left_sign != right_sign || left_sign == 0 {
        return left_sign.cmp(&right_sign);
    }
    let size = left.magnitude.cmp(&right.magnitude).then_with(|| left.digits.cmp(&right.digits));
    if left_sign < 0 { size.reverse() } else { size }
}

impl Decimal {
    fn of(number: &Number) -> Self {
        let text = number.to_string();
        let (negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let zeros = all.iter().take_while(|d| **d == b'0').count();
        let end = all.iter().rposition(|d| *d != b'0').map_or(zeros, |last| last + 1);
        let digits = all.get(zeros..end).unwrap_or_default().to_vec();
        let place = |n: usize| i128::try_from(n).unwrap_or(i128::MAX);
        let magnitude = power(exponent).saturating_add(place(whole.len())).saturating_sub(place(zeros));
        Self { negative, digits, magnitude }
    }
}

/// An exponent with more digits than a number can have is as good as the largest.
fn power(text: &str) -> i128 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = digits.parse::<i128>().unwrap_or(i128::MAX / 4).min(i128::MAX / 4);
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn one_value_in_several_spellings_is_equal() {
        for (left, right) in [("1", "1.0"), ("1", "10e-1"), ("0", "-0"), ("0.0", "0e9"), ("1200", "1.2E+3")] {
            assert_eq!(compare(&number(left), &number(right)), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn digits_that_a_float_would_lose_count() {
        let ascending = [
            "-1e999999999999999999999999999999999999999999",
            "-9007199254740993",
            "-9007199254740992",
            "-0.1",
            "0",
            "1e-400",
            "0.1",
            "0.10000000000000000001",
            "9007199254740992",
            "9007199254740993",
            "1e400",
            "1e999999999999999999999999999999999999999999",
        ];
        for (at, low) in ascending.iter().enumerate() {
            for high in &ascending[at + 1..] {
                assert_eq!(compare(&number(low), &number(high)), Ordering::Less, "{low} {high}");
                assert_eq!(compare(&number(high), &number(low)), Ordering::Greater, "{high} {low}");
            }
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_and_cents_compare_as_they_do_in_integers(left in -20_000_i64..20_000, right in -20_000_i64..20_000) {
            let cents = |n: i64| {
                let sign = if n < 0 { "-" } else { "" };
                number(&format!("{sign}{}.{:02}", n.abs() / 100, n.abs() % 100))
            };
            prop_assert_eq!(compare(&cents(left), &cents(right)), left.cmp(&right));
            prop_assert_eq!(compare(&Number::from(left), &Number::from(right)), left.cmp(&right));
        }
    }
}
