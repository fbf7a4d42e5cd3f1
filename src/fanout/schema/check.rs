//! Whether a value fits a schema; the first misfit is told, with its place.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::super::number::compare;
use super::{Misfit, Place, keywords, shown, sort};

pub(super) fn check(schema: &Value, value: &Value, place: &mut Place) -> Result<(), Misfit> {
    if schema == &Value::Bool(false) {
        return place.wrong("is not allowed here");
    }
    let Some(keywords) = keywords(schema) else { return Ok(()) };
    keywords.iter().try_for_each(|(name, rule)| keyword(name, rule, schema, value, place))
}

fn keyword(name: &str, rule: &Value, schema: &Value, value: &Value, place: &mut Place) -> Result<(), Misfit> {
    match (name, value) {
        ("type", _) => of_sort(rule, value, place),
        ("enum", _) if !rule.as_array().is_some_and(|all| all.iter().any(|one| equal(one, value))) => {
            place.wrong(format!("is {}; allowed: {}", shown(value), shown(rule)))
        }
        ("const", _) if !equal(rule, value) => place.wrong(format!("is {}; allowed: {}", shown(value), shown(rule))),
        ("anyOf", _) => any_of(rule, value, place),
        ("required", Value::Object(fields)) => {
            let missing = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
            match missing.into_iter().find(|name| !fields.contains_key(*name)) {
                Some(name) => place.wrong(format!("`{name}` is missing")),
                None => Ok(()),
            }
        }
        ("properties", Value::Object(fields)) => {
            rule.as_object().into_iter().flatten().try_for_each(|(name, schema)| {
                let found = fields.get(name);
                found.map_or(Ok(()), |value| place.inside(name, |place| check(schema, value, place)))
            })
        }
        ("additionalProperties", Value::Object(fields)) => {
            let known = |name: &str| schema["properties"].get(name).is_some();
            fields
                .iter()
                .filter(|(name, _)| !known(name))
                .try_for_each(|(name, value)| place.inside(name, |place| check(rule, value, place)))
        }
        ("items", Value::Array(items)) => {
            items.iter().enumerate().try_for_each(|(n, item)| place.inside(n, |place| check(rule, item, place)))
        }
        ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", Value::Number(number)) => {
            bounded(name, rule, number, place)
        }
        ("minLength" | "maxLength", Value::String(text)) => counted(name, rule, text.chars().count(), place),
        ("minItems" | "maxItems", Value::Array(items)) => counted(name, rule, items.len(), place),
        _ => Ok(()),
    }
}

fn of_sort(rule: &Value, value: &Value, place: &Place) -> Result<(), Misfit> {
    let fits = |wanted: &Value| match wanted.as_str() {
        Some("integer") => value.as_number().is_some_and(is_whole),
        wanted => wanted == Some(sort(value)),
    };
    let any = rule.as_array().map_or_else(|| fits(rule), |all| all.iter().any(fits));
    if any { Ok(()) } else { place.wrong(format!("is {} ({}); needed: {}", sort(value), shown(value), shown(rule))) }
}

fn any_of(rule: &Value, value: &Value, place: &mut Place) -> Result<(), Misfit> {
    let all = rule.as_array().map(Vec::as_slice).unwrap_or_default();
    if all.iter().any(|schema| check(schema, value, place).is_ok()) {
        return Ok(());
    }
    place.wrong(format!("{} fits none of the {} that are allowed", shown(value), all.len()))
}

fn bounded(name: &str, rule: &Value, number: &Number, place: &Place) -> Result<(), Misfit> {
    let Some(bound) = rule.as_number() else { return Ok(()) };
    let order = compare(number, bound);
    let fits = match name {
        "minimum" => order.is_ge(),
        "maximum" => order.is_le(),
        "exclusiveMinimum" => order == Ordering::Greater,
        _ => order == Ordering::Less,
    };
    if fits { Ok(()) } else { place.wrong(format!("is {number}; {name} is {bound}")) }
}

fn counted(name: &str, rule: &Value, count: usize, place: &Place) -> Result<(), Misfit> {
    let bound = rule.as_u64().unwrap_or_default();
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    let fits = if name.starts_with("min") { count >= bound } else { count <= bound };
    if fits { Ok(()) } else { place.wrong(format!("has {count}; {name} is {bound}")) }
}

/// `1.0` and `10e-1` are whole as JSON Schema sees it.
fn is_whole(number: &Number) -> bool {
    let text = number.to_string();
    if !text.contains(['.', 'e', 'E']) {
        return true;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let fraction = mantissa.split_once('.').map_or("", |(_, fraction)| fraction);
    let nonzero = mantissa.bytes().rev().filter(u8::is_ascii_digit);
    let zeros = nonzero.clone().take_while(|d| *d == b'0').count();
    // So many digits stand behind the point, once the zeros at the end are gone.
    let behind = i64::try_from(fraction.len()).unwrap_or(i64::MAX) - i64::try_from(zeros).unwrap_or(0);
    let zero = nonzero.clone().all(|d| d == b'0');
    let power = exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
    zero || power >= behind
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare(left, right) == Ordering::Equal,
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len() && left.iter().all(|(k, l)| right.get(k).is_some_and(|r| equal(l, r)))
        }
        (left, right) => left == right,
    }
}
