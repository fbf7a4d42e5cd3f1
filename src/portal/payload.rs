//! A message's body for reading: every token as it is sent, on lines of its own, and no more of it than a page can bear.

/// So much of a body stands on a page; the rest is in the download.
pub(super) const SHOWN: usize = 32 * 1024;
/// Deeper levels are not moved further right.
const MAX_INDENT: usize = 20;

/// JSON text with line breaks; only white space outside of strings is changed, so numbers, order and repeated names
/// stand as they were. Cut after [`SHOWN`] bytes.
pub(super) fn readable(body: &str) -> String {
    let mut out = String::with_capacity(body.len().min(SHOWN) * 2);
    let (mut depth, mut in_string, mut escaped, mut opened) = (0_usize, false, false, false);
    for c in body.chars() {
        if out.len() >= SHOWN {
            break;
        }
        if in_string {
            out.push(c);
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        // An empty object or list stays on its line.
        if opened && !closes {
            line(&mut out, depth);
        }
        if closes {
            depth = depth.saturating_sub(1);
            if !opened {
                line(&mut out, depth);
            }
        }
        opened = matches!(c, '{' | '[');
        out.push(c);
        match c {
            '{' | '[' => depth += 1,
            '"' => in_string = true,
            ',' => line(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    (0..depth.min(MAX_INDENT)).for_each(|_| out.push_str("  "));
}

/// A size as people read it.
pub(super) fn size(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} bytes") } else { format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_body_is_laid_out_and_keeps_every_token() {
        let body = r#"{"a":[],"n":1.10,"n":2,"s":"x, {\"y\": [1]} \\","o":{},"l":[1,{"z":null}]}"#;
        let expected = r#"{
  "a": [],
  "n": 1.10,
  "n": 2,
  "s": "x, {\"y\": [1]} \\",
  "o": {},
  "l": [
    1,
    {
      "z": null
    }
  ]
}"#;
        assert_eq!(readable(body), expected);
        assert_eq!(readable(r#"{ "a" : 1 }"#), "{\n  \"a\": 1\n}");
    }

    #[test]
    fn what_is_long_or_deep_stays_bounded() {
        assert!(readable(&format!("\"{}\"", "x".repeat(1_000_000))).len() <= SHOWN + 4);
        assert!(readable(&"[".repeat(1_000_000)).len() <= SHOWN + 2 * MAX_INDENT + 2);
        assert!(readable(&format!("[{}]", "1,".repeat(500_000))).len() <= SHOWN + 4);
        assert_eq!((size(12), size(1024), size(34_567)), ("12 bytes".into(), "1.0 KiB".into(), "33.7 KiB".into()));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn laid_out_json_means_the_same(value in json()) {
            let text = value.to_string();
            let again: Value = serde_json::from_str(&readable(&text)).unwrap();
            prop_assert_eq!(again, value);
        }
    }
}
