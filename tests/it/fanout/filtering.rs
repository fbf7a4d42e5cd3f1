//! The filter language: what it says, what it refuses, and that it says the same as an evaluator of its own.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidemill::fanout::Filter;

fn fits(filter: &str, payload: &Value) -> bool {
    filter.parse::<Filter>().unwrap_or_else(|e| panic!("{filter}: {e}")).fits(payload)
}

#[test]
fn a_filter_says_what_it_reads_like() {
    let paid = json!({
        "amount_minor": 12_000, "currency": "EUR", "rate": 0.1, "test": false, "note": null,
        "customer": { "country": "DE", "and": 1 }, "lines": [{ "sku": "a-1" }, { "sku": "b-2" }],
    });
    let yes = [
        r#"amount_minor >= 10000 and currency == "EUR""#,
        r#"customer.country in ["DE", "AT", "CH"]"#,
        r#"lines[1].sku == "b-2""#,
        r#"not (currency == "USD" or amount_minor < 100)"#,
        "not test == true and rate == 0.10 and rate < 0.1000000000000000000001",
        "exists note and note == null and missing == null and not exists missing",
        r#"currency != "USD" and missing != 3"#,
        "customer.and == 1.0e0",
        r#"currency > "EU" and currency <= "EUR""#,
        "amount_minor == 1 and amount_minor == 2 or amount_minor == 12000",
    ];
    let no = [
        "amount_minor > 12000",
        r#"amount_minor == "12000""#,
        "currency > 5",
        "currency < 5",
        "missing < 5",
        "missing >= 0",
        "lines == null",
        "lines[2].sku == null and false_ == 1",
        "customer in [1, 2, null]",
        "exists lines[2]",
        "amount_minor == 12000 and (amount_minor == 1 or amount_minor == 2)",
    ];
    for filter in yes {
        assert!(fits(filter, &paid), "{filter}");
    }
    for filter in no {
        assert!(!fits(filter, &paid), "{filter}");
    }
}

#[test]
fn what_is_no_filter_is_refused_where_it_goes_wrong() {
    let deep = format!("{}a == 1{}", "(".repeat(17), ")".repeat(17));
    let nots = format!("{}a == 1", "not ".repeat(17));
    let long = format!("a == \"{}\"", "x".repeat(1_024));
    let cases = [
        ("", 0),
        ("   ", 3),
        ("amount", 6),
        ("amount = 5", 7),
        ("amount == ", 10),
        ("amount == five", 10),
        ("5 == amount", 0),
        ("a == 1 b == 2", 7),
        ("a == 1 and", 10),
        ("(a == 1", 7),
        ("a == \"x", 5),
        ("a == 1x", 5),
        ("a == 01", 5),
        ("a[x] == 1", 2),
        ("a in []", 6),
        ("a in 5", 5),
        ("a.$b == 1", 2),
        ("and == 1", 0),
        ("a == {}", 5),
        ("a == 'x'", 5),
        ("a; drop table endpoints", 1),
        (&long, 1_024),
        (&deep, 16),
        (&nots, 64),
    ];
    for (text, at) in cases {
        let error = text.parse::<Filter>().unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
    }
    format!("{}a == 1{}", "(".repeat(15), ")".repeat(15)).parse::<Filter>().unwrap();
}

/// The language again, as a tree of its own with its own meaning: amounts are thousandths in an integer here.
#[derive(Clone, Debug)]
enum Said {
    And(Box<Said>, Box<Said>),
    Or(Box<Said>, Box<Said>),
    Not(Box<Said>),
    Exists(&'static str),
    Is(&'static str, &'static str, Atom),
    OneOf(&'static str, Vec<Atom>),
}

#[derive(Clone, Debug, PartialEq)]
enum Atom {
    Null,
    Bool(bool),
    Thousandths(i64),
    Text(String),
}

const FIELDS: [&str; 4] = ["a", "b.c", "b.list[0]", "b.list[1].d"];

impl Atom {
    fn written(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(b) => b.to_string(),
            Self::Thousandths(n) if n % 1_000 == 0 => (n / 1_000).to_string(),
            Self::Thousandths(n) => format!("{n}e-3"),
            Self::Text(text) => serde_json::to_string(text).unwrap(),
        }
    }
}

impl Said {
    fn written(&self) -> String {
        match self {
            Self::And(l, r) => format!("({}) and ({})", l.written(), r.written()),
            Self::Or(l, r) => format!("({}) or\n({})", l.written(), r.written()),
            Self::Not(inner) => format!("not({})", inner.written()),
            Self::Exists(path) => format!("exists {path}"),
            Self::Is(path, op, atom) => format!("{path}{op} {}", atom.written()),
            Self::OneOf(path, atoms) => {
                format!("{path} in [{}]", atoms.iter().map(Atom::written).collect::<Vec<_>>().join(","))
            }
        }
    }

    fn holds(&self, of: &dyn Fn(&str) -> Option<Atom>) -> bool {
        match self {
            Self::And(l, r) => [l, r].iter().all(|s| s.holds(of)),
            Self::Or(l, r) => [l, r].iter().any(|s| s.holds(of)),
            Self::Not(inner) => !inner.holds(of),
            Self::Exists(path) => of(path).is_some(),
            Self::OneOf(path, atoms) => atoms.contains(&of(path).unwrap_or(Atom::Null)),
            Self::Is(path, op, atom) => {
                let found = of(path).unwrap_or(Atom::Null);
                let (less, more) = match (&found, atom) {
                    (Atom::Thousandths(l), Atom::Thousandths(r)) => (l < r, l > r),
                    (Atom::Text(l), Atom::Text(r)) => (l.chars().lt(r.chars()), l.chars().gt(r.chars())),
                    _ => (false, false),
                };
                let same = found == *atom;
                let ordered = matches!(
                    (&found, atom),
                    (Atom::Thousandths(_), Atom::Thousandths(_)) | (Atom::Text(_), Atom::Text(_))
                );
                match *op {
                    "==" => same,
                    "!=" => !same,
                    "<" => less,
                    "<=" => less || (same && ordered),
                    ">" => more,
                    _ => more || (same && ordered),
                }
            }
        }
    }
}

fn atom() -> impl Strategy<Value = Atom> {
    prop_oneof![
        Just(Atom::Null),
        any::<bool>().prop_map(Atom::Bool),
        prop_oneof![-5_i64..5, (-3_i64..3).prop_map(|n| n * 1_000)].prop_map(Atom::Thousandths),
        prop_oneof![Just(String::new()), "[a-c\"\\\\é ]{0,3}"].prop_map(Atom::Text),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let field = prop::sample::select(&FIELDS[..]);
    let op = prop::sample::select(&["==", "!=", "<", "<=", ">", ">="][..]);
    let leaf = prop_oneof![
        field.clone().prop_map(Said::Exists),
        (field.clone(), op, atom()).prop_map(|(f, o, a)| Said::Is(f, o, a)),
        (field, prop::collection::vec(atom(), 1..4)).prop_map(|(f, a)| Said::OneOf(f, a)),
    ];
    leaf.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(l, r)| Said::And(l.into(), r.into())),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| Said::Or(l.into(), r.into())),
            inner.prop_map(|s| Said::Not(s.into())),
        ]
    })
}

/// A payload with these values at the four fields; a list can't lack its first item and have its second.
fn payload(values: &[Option<Atom>; 4]) -> Value {
    let json = |atom: &Option<Atom>| atom.as_ref().map(|a| serde_json::from_str::<Value>(&a.written()).unwrap());
    let mut root = json!({ "b": {} });
    if let Some(a) = json(&values[0]) {
        root["a"] = a;
    }
    if let Some(c) = json(&values[1]) {
        root["b"]["c"] = c;
    }
    if let Some(first) = json(&values[2]) {
        root["b"]["list"] = json!([first]);
        if let Some(d) = json(&values[3]) {
            root["b"]["list"] = json!([first, { "d": d }]);
        }
    }
    root
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    #[test]
    fn a_filter_says_the_same_as_an_evaluator_of_its_own(
        said in said(),
        values in [prop::option::of(atom()), prop::option::of(atom()), prop::option::of(atom()), prop::option::of(atom())],
    ) {
        let text = said.written();
        prop_assume!(text.len() <= 1_024);
        let of = |path: &str| {
            let place = FIELDS.iter().position(|f| *f == path).unwrap();
            if place == 3 && values[2].is_none() { None } else { values[place].clone() }
        };
        prop_assert_eq!(fits(&text, &payload(&values)), said.holds(&of), "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[ab\\[\\]().,<>=!\"\\\\ 0-9eé\u{0}-]{0,60}|(not |\\(|and |or |a == 1 |in ){0,40}") {
        if let Ok(filter) = text.parse::<Filter>() {
            prop_assert_eq!(filter.to_string(), text);
            filter.fits(&json!({ "a": [1, { "b": "x" }] }));
        }
    }
}
