//! What an [`Expression`] says of a payload.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::number;
use super::parse::{Comparison, Expression, Step};

impl Expression {
    pub(super) fn holds(&self, payload: &Value) -> bool {
        match self {
            Self::Any(terms) => terms.iter().any(|term| term.holds(payload)),
            Self::All(terms) => terms.iter().all(|term| term.holds(payload)),
            Self::Not(term) => !term.holds(payload),
            Self::Exists(path) => find(path, payload).is_some(),
            Self::In(path, values) => {
                let found = find(path, payload).unwrap_or(&Value::Null);
                values.iter().any(|value| equal(found, value))
            }
            Self::Compare(path, comparison, value) => {
                compare(find(path, payload).unwrap_or(&Value::Null), *comparison, value)
            }
        }
    }
}

fn find<'a>(path: &[Step], payload: &'a Value) -> Option<&'a Value> {
    path.iter().try_fold(payload, |value, step| match step {
        Step::Field(name) => value.as_object()?.get(name),
        Step::Item(place) => value.as_array()?.get(*place),
    })
}

fn compare(found: &Value, comparison: Comparison, value: &Value) -> bool {
    match comparison {
        Comparison::Equal => equal(found, value),
        Comparison::Unequal => !equal(found, value),
        Comparison::Less => order(found, value) == Some(Ordering::Less),
        Comparison::LessOrEqual => order(found, value).is_some_and(Ordering::is_le),
        Comparison::Greater => order(found, value) == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order(found, value).is_some_and(Ordering::is_ge),
    }
}

fn equal(found: &Value, value: &Value) -> bool {
    match (found, value) {
        (Value::Number(left), Value::Number(right)) => number::compare(left, right) == Ordering::Equal,
        // A literal is never a list or an object, so those are equal to nothing.
        (left, right) => left == right,
    }
}

fn order(found: &Value, value: &Value) -> Option<Ordering> {
    match (found, value) {
        (Value::Number(left), Value::Number(right)) => Some(number::compare(left, right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}
