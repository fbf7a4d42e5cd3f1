//! Whether a schema is one: each keyword known, each with a value that it can have.

use serde_json::Value;

use super::{MAX_DEPTH, Misfit, Place, keywords, shown, sort};

const NOTES: [&str; 9] =
    ["title", "description", "examples", "default", "format", "deprecated", "$schema", "$id", "$comment"];
const SORTS: [&str; 7] = ["null", "boolean", "number", "integer", "string", "array", "object"];

pub(super) fn check(schema: &Value, place: &mut Place) -> Result<(), Misfit> {
    if schema.is_boolean() {
        return Ok(());
    }
    let Some(keywords) = keywords(schema) else {
        return place.wrong(format!("a schema is an object, true or false, and not {}", shown(schema)));
    };
    if place.0.len() > MAX_DEPTH * 2 {
        return place.wrong(format!("nests deeper than {MAX_DEPTH}"));
    }
    keywords.iter().try_for_each(|(name, value)| place.inside(name, |place| keyword(name, value, place)))
}

fn keyword(name: &str, value: &Value, place: &mut Place) -> Result<(), Misfit> {
    let text = |value: &Value| value.as_str().is_some_and(|text| SORTS.contains(&text));
    match name {
        _ if NOTES.contains(&name) => Ok(()),
        "const" => Ok(()),
        "type" if text(value) => Ok(()),
        "type" => match value.as_array() {
            Some(sorts) if !sorts.is_empty() && sorts.iter().all(text) => Ok(()),
            _ => place.wrong(format!("not one of, or a list of, {}", SORTS.join(", "))),
        },
        "properties" => match value.as_object() {
            Some(all) => all.iter().try_for_each(|(name, schema)| place.inside(name, |place| check(schema, place))),
            None => place.wrong("an object of schemas is needed"),
        },
        "required" => match value.as_array() {
            Some(names) if names.iter().all(Value::is_string) => Ok(()),
            _ => place.wrong("a list of names is needed"),
        },
        "additionalProperties" | "items" => check(value, place),
        "anyOf" => match value.as_array() {
            Some(all) if !all.is_empty() => {
                all.iter().enumerate().try_for_each(|(n, schema)| place.inside(n, |place| check(schema, place)))
            }
            _ => place.wrong("a list of schemas is needed"),
        },
        "enum" if value.as_array().is_some_and(|all| !all.is_empty()) => Ok(()),
        "enum" => place.wrong("a list of values is needed"),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if value.is_number() => Ok(()),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => place.wrong("a number is needed"),
        "minLength" | "maxLength" | "minItems" | "maxItems" if value.as_u64().is_some() => Ok(()),
        "minLength" | "maxLength" | "minItems" | "maxItems" => {
            place.wrong(format!("a whole number from 0 is needed, and not a {}", sort(value)))
        }
        _ => place.wrong("this keyword is not known here, so it could not be kept; see docs/api.md for those that are"),
    }
}
