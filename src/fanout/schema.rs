//! JSON Schema, the part that describes an event: checked when it is declared, and against every event of its type.
//!
//! Known keywords: `type`, `properties`, `required`, `additionalProperties`, `items`, `enum`, `const`, `minimum`, `maximum`,
//! `exclusiveMinimum`, `exclusiveMaximum`, `minLength`, `maxLength`, `minItems`, `maxItems`, `anyOf`, and the notes
//! (`title`, `description`, `examples`, `default`, `format`, `deprecated`, `$schema`, `$id`, `$comment`) that check
//! nothing. Any other keyword is refused with the schema: a rule that is not kept must not look as if it were. There are no
//! references, so nothing is fetched and nothing goes round in circles, and no regular expressions. Numbers compare by
//! their exact decimal value.

use std::fmt;

use serde_json::{Map, Value};

mod check;
mod declared;

/// As long as a schema may be, as JSON text.
pub(super) const MAX_BYTES: usize = 32 * 1024;
const MAX_DEPTH: usize = 16;

/// A schema whose keywords are all known and well formed.
#[derive(Clone, Debug)]
pub(super) struct Schema(Value);

/// Where and how a schema or an event goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Misfit {
    /// The place, like `/customer/country`; empty for the whole.
    pub at: String,
    /// What is wrong there.
    pub problem: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.at.is_empty() { "the whole" } else { &self.at };
        write!(f, "{place}: {}", self.problem)
    }
}

impl Schema {
    /// Reads a schema.
    pub(super) fn read(value: Value) -> Result<Self, Misfit> {
        declared::check(&value, &mut Place::default())?;
        Ok(Self(value))
    }

    /// Says whether `payload` fits.
    pub(super) fn check(&self, payload: &Value) -> Result<(), Misfit> {
        check::check(&self.0, payload, &mut Place::default())
    }
}

/// The way to where we are.
#[derive(Debug, Default)]
struct Place(Vec<String>);

impl Place {
    fn inside<T>(&mut self, step: impl fmt::Display, look: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(step.to_string());
        let found = look(self);
        self.0.pop();
        found
    }

    fn wrong<T>(&self, problem: impl Into<String>) -> Result<T, Misfit> {
        let at: String = self.0.iter().flat_map(|step| ["/", step]).collect();
        Err(Misfit { at: at.chars().take(200).collect(), problem: problem.into() })
    }
}

/// A schema's own keywords; `true` and `false` have none.
fn keywords(schema: &Value) -> Option<&Map<String, Value>> {
    schema.as_object()
}

/// What a value is called in messages and in `type`.
fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
