//! Text into words: names, literals and marks, each with the byte where it begins.

use serde_json::Value;

use super::InvalidFilter;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// A field, or one of the language's own words.
    Name(String),
    /// A string or a number.
    Literal(Value),
    /// `==`, `<`, `(`, `.` and so on.
    Mark(&'static str),
}

/// The longer ones first, so that `<=` is not `<`.
const MARKS: [&str; 12] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", "."];

pub(super) fn lex(text: &str) -> Result<Vec<(usize, Word)>, InvalidFilter> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (len, word) = one(rest, first).map_err(|problem| InvalidFilter { at, problem })?;
        words.push((at, word));
        at += len;
    }
    Ok(words)
}

fn one(rest: &str, first: char) -> Result<(usize, Word), String> {
    if let Some(mark) = MARKS.into_iter().find(|mark| rest.starts_with(mark)) {
        return Ok((mark.len(), Word::Mark(mark)));
    }
    let length = |fits: fn(char) -> bool| rest.find(|c| !fits(c)).unwrap_or(rest.len());
    match first {
        '"' => {
            let len = closing(rest).ok_or("this string has no end")?;
            let text = serde_json::from_str(&rest[..len]).map_err(|e| format!("not a JSON string: {e}"))?;
            Ok((len, Word::Literal(Value::String(text))))
        }
        '-' | '0'..='9' => {
            let len = length(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
            let number = serde_json::from_str(&rest[..len]);
            Ok((len, Word::Literal(Value::Number(number.map_err(|_| format!("`{}` is not a number", &rest[..len]))?))))
        }
        'a'..='z' | 'A'..='Z' | '_' => {
            let len = length(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
            Ok((len, Word::Name(rest[..len].to_owned())))
        }
        '=' => Err("`=` alone compares nothing; write `==`".to_owned()),
        other => Err(format!("`{}` has no place here", other.escape_default())),
    }
}

/// How long the string is that `rest` begins with, with both its quotes.
fn closing(rest: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}
