//! The few fields of a JSON body that somebody will look at; the rest is read past without being kept.
//!
//! What comes out is the body's own tree without what nobody asked for: a pointer that was asked for finds in it exactly what
//! it would find in the whole. A body that is no JSON gives nothing. What is passed over is not looked into: a lone surrogate there, or
//! an object whose key is one that `serde_json` keeps for its own numbers and raw values, is no error as it would be in a tree.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Which fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pick {
    /// The value here is wanted itself.
    whole: bool,
    below: BTreeMap<String, Pick>,
}

impl Pick {
    /// The fields at these JSON pointers.
    pub(super) fn of<'p>(pointers: impl IntoIterator<Item = &'p str>) -> Self {
        let mut root = Self::default();
        pointers.into_iter().for_each(|pointer| root.add(pointer));
        root
    }

    fn add(&mut self, pointer: &str) {
        // Anything else that does not begin with a slash points nowhere.
        let Some(tokens) = pointer.strip_prefix('/') else {
            self.whole |= pointer.is_empty();
            return;
        };
        let place = tokens
            .split('/')
            .fold(self, |place, token| place.below.entry(token.replace("~1", "/").replace("~0", "~")).or_default());
        place.whole = true;
    }

    /// Nobody looks at anything.
    pub(super) fn is_empty(&self) -> bool {
        !self.whole && self.below.is_empty()
    }

    /// Reads a body.
    pub(super) fn read(&self, body: &Bytes) -> Option<Value> {
        // What is read past is not looked at closely, so all of it is looked at here.
        let text = std::str::from_utf8(body).ok()?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = self.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(value)
    }
}

impl<'de> DeserializeSeed<'de> for &Pick {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.whole { serde::Deserialize::deserialize(deserializer) } else { deserializer.deserialize_any(self) }
    }
}

/// A scalar where something below it is wanted: nothing is there.
macro_rules! nothing {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Value, E> { Ok(Value::Null) })*
    };
}

impl<'de> Visitor<'de> for &Pick {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = map.next_key_seed(Name)? {
            match self.below.get_key_value(&*name) {
                // Of two of the same name the later one counts, as it does in the whole.
                Some((name, pick)) => drop(kept.insert(name.clone(), map.next_value_seed(pick)?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        // A pointer may count its elements.
        let mut all = Vec::new();
        while let Some(element) = seq.next_element()? {
            all.push(element);
        }
        Ok(Value::Array(all))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    nothing! { visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str }
}

/// A name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = std::borrow::Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = std::borrow::Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(name.into())
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(name.to_owned().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POINTERS: [&str; 8] = ["", "/id", "/a/b", "/a/0", "/a/b/0/c", "/x~1y", "/a~0", "nowhere"];

    fn found(pick: &[&str], text: &str) -> Option<Vec<Option<Value>>> {
        let value = Pick::of(pick.iter().copied()).read(&Bytes::from(text.to_owned()))?;
        Some(pick.iter().map(|pointer| scalar(value.pointer(pointer))).collect())
    }

    fn scalar(value: Option<&Value>) -> Option<Value> {
        value.filter(|value| value.is_string() || value.is_number()).cloned()
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a\u{e9}\"\\\\\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let name = prop_oneof![Just("id"), Just("a"), Just("b"), Just("c"), Just("0"), Just("x/y"), Just("a~")];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.prop_map(str::to_owned), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_pointer_finds_what_it_finds_in_the_whole(
            value in json(), mask in 1_u16..256, indented in any::<bool>(), tail in "[ \n,}]{0,1}",
        ) {
            let text = if indented { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.unwrap() + &tail;
            let pick: Vec<&str> = POINTERS.iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0).map(|(_, p)| *p).collect();
            let whole = serde_json::from_str::<Value>(&text).ok();
            let expected = whole.map(|whole| pick.iter().map(|p| scalar(whole.pointer(p))).collect::<Vec<_>>());
            prop_assert_eq!(found(&pick, &text), expected, "{}", text);
        }
    }

    #[test]
    fn the_later_of_two_equal_names_counts_and_escaped_names_are_names() {
        assert_eq!(found(&["/id"], r#"{"id": "a", "x": [{}], "\u0069d": "b"}"#).unwrap(), [Some("b".into())]);
        assert_eq!(found(&["/id"], r#"{"id": "a", "id": {}}"#).unwrap(), [None]);
    }

    #[test]
    fn a_number_keeps_its_digits() {
        let long = "123456789012345678901234567890.10";
        let value = Pick::of(["/id"]).read(&Bytes::from(format!("{{\"a\": 1e999, \"id\": {long}}}"))).unwrap();
        assert_eq!(value["id"].to_string(), long);
    }

    #[test]
    fn what_is_no_json_gives_nothing() {
        for bad in [
            &b"{\"id\": \"a\""[..],
            b"{\"id\": \"a\"} x",
            b"{\"x\": \"\xff\", \"id\": 1}",
            b"{\"x\": nul, \"id\": 1}",
            b"",
        ] {
            assert_eq!(Pick::of(["/id"]).read(&Bytes::copy_from_slice(bad)), None, "{bad:?}");
        }
    }
}
