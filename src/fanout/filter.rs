//! Payload filters: a small expression on the fields of an event, like `amount_minor >= 10000 and currency == "EUR"`.
//!
//! ```text
//! either  = both ("or" both)*
//! both    = term ("and" term)*
//! term    = "not" term | "(" either ")" | "exists" path | path op literal | path "in" "[" literal ("," literal)* "]"
//! op      = "==" | "!=" | "<" | "<=" | ">" | ">="
//! path    = name ("." name | "[" number "]")*        below the event's payload
//! literal = a JSON string, number, true, false or null
//! ```
//!
//! A field that is not there is `null`. `==` wants the same sort and value, `!=` is its opposite; numbers compare by
//! their exact decimal value, strings by their code points, and an order between other sorts is false. Nothing loops,
//! nothing is called: an expression has at most 1,024 bytes, nests at most 16 deep, and costs no more than reading it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod evaluate;
mod lex;
mod parse;

use parse::Expression;

pub(super) const MAX_BYTES: usize = 1_024;
pub(super) const MAX_DEPTH: usize = 16;

/// A filter that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter {
    text: String,
    expression: Expression,
}

/// Text that is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {problem}")]
pub struct InvalidFilter {
    /// Where it goes wrong.
    pub at: usize,
    /// How.
    pub problem: String,
}

impl Filter {
    /// Says whether an event with this payload fits.
    pub fn fits(&self, payload: &Value) -> bool {
        self.expression.holds(payload)
    }
}

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        if text.len() > MAX_BYTES {
            let problem = format!("a filter has at most {MAX_BYTES} bytes, this one has {}", text.len());
            return Err(InvalidFilter { at: MAX_BYTES, problem });
        }
        Ok(Self { text: text.to_owned(), expression: parse::parse(lex::lex(text)?, text.len())? })
    }
}

impl TryFrom<String> for Filter {
    type Error = InvalidFilter;

    fn try_from(text: String) -> Result<Self, InvalidFilter> {
        text.parse()
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.text
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
