//! A time that has passed, as people say it: so long ago (`2h`), or a time of the calendar (`2026-01-02T03:04:05Z`).

use std::str::FromStr;

use tidemill::clock::Timestamp;

use super::Span;

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Span),
    /// This time.
    At(Timestamp),
}

/// Text that is neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time; allowed: so long ago, like 30m, 2h or 7d, or an RFC 3339 time like 2026-01-02T03:04:05Z")]
pub struct InvalidSince(String);

impl Since {
    /// The time it means.
    pub fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.before(span.0),
            Self::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = InvalidSince;

    fn from_str(text: &str) -> Result<Self, InvalidSince> {
        if let Ok(span) = text.parse() {
            return Ok(Self::Ago(span));
        }
        let at = serde_json::from_value(serde_json::Value::from(text));
        at.map(Self::At).map_err(|_| InvalidSince(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_saying_it_mean_the_same() {
        let now = Timestamp::from_ms(1_767_323_045_000);
        let time = |text: &str| text.parse::<Since>().map(|since| since.time(now).as_ms()).ok();
        assert_eq!(time("2h"), Some(1_767_315_845_000));
        assert_eq!(time("2026-01-02T01:04:05Z"), Some(1_767_315_845_000));
        for wrong in ["", "yesterday", "2026-01-02", "-2h"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }
}
