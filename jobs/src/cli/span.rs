//! Lengths of time as people write them: `500ms`, `30s`, `15m`, `2h`, `90d`.

use std::str::FromStr;
use std::time::Duration;

/// A length of time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Text that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time; allowed: a whole number and ms, s, m, h or d, like 30s")]
pub struct InvalidSpan(String);

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let invalid = || InvalidSpan(text.chars().take(80).collect());
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (number, unit) = text.split_at(unit_at);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(invalid()),
        };
        let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms)).ok_or_else(invalid)?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Span>().map(|s| s.0.as_millis()).ok();
        assert_eq!(read("500ms"), Some(500));
        assert_eq!(read("30s"), Some(30_000));
        assert_eq!(read("15m"), Some(900_000));
        assert_eq!(read("2h"), Some(7_200_000));
        assert_eq!(read("90d"), Some(7_776_000_000));
        for wrong in ["", "s", "5", "-5s", "1.5h", "5 s", "5w", "99999999999999999999d", "999999999999999d"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
