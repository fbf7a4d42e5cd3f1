//! Which events an endpoint wants: dotted words in which `*` stands for a word.
//!
//! `invoice.paid` is that type alone, `invoice.*` everything below `invoice`, `*.created` every two-word type that ends
//! so, and `*` everything. A `*` inside a pattern stands for exactly one word; at the end, for one or more.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::event::{MAX_TYPE, is_word};

/// One pattern of event types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// Text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an event type pattern; allowed: words of a-z A-Z 0-9 _ - or * joined by dots, like invoice.*")]
pub struct InvalidPattern(String);

impl Pattern {
    /// Says whether it stands for `event_type`.
    pub fn matches(&self, event_type: &str) -> bool {
        let mut words = event_type.split('.');
        let mut pattern = self.0.split('.').peekable();
        while let Some(part) = pattern.next() {
            let Some(word) = words.next() else { return false };
            if part == "*" && pattern.peek().is_none() {
                return true;
            }
            if part != "*" && part != word {
                return false;
            }
        }
        words.next().is_none()
    }
}

impl Pattern {
    /// True when its first word stands for any.
    pub(super) fn begins_with_any(&self) -> bool {
        self.0.starts_with('*')
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() <= MAX_TYPE && text.split('.').all(|part| part == "*" || is_word(part)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPattern(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_exactly_the_types_of_this_table() {
        let table = [
            ("invoice.paid", "invoice.paid", true),
            ("invoice.paid", "invoice.paid.late", false),
            ("invoice.paid", "invoice", false),
            ("invoice.paid", "Invoice.paid", false),
            ("invoice.*", "invoice.paid", true),
            ("invoice.*", "invoice.payment.failed", true),
            ("invoice.*", "invoice", false),
            ("invoice.*", "invoices.paid", false),
            ("*", "invoice", true),
            ("*", "invoice.paid", true),
            ("*.created", "invoice.created", true),
            ("*.created", "customer.invoice.created", false),
            ("*.created", "created", false),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.b.c", false),
            ("a.*.c", "a.c", false),
            ("*.*", "a", false),
            ("*.*", "a.b", true),
            ("*.*", "a.b.c", true),
        ];
        for (pattern, event_type, expected) in table {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(event_type), expected, "{pattern} on {event_type}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", ".", "invoice.", ".paid", "inv*", "**", "invoice paid", "invoice/paid", &"a".repeat(129)] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Vec<Pattern>>(r#"["inv*"]"#).is_err());
    }
}
