//! Lengths of time as people write them: a whole number and one unit, `500ms`, `2s`, `15m`, `1h`, `1d`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The length that `text` names; `None` when it names none.
pub(super) fn read(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*ms).map(Duration::from_millis)
}

/// The shortest text that [`read`] takes for `length`, in whole milliseconds.
pub(super) fn write(length: Duration) -> String {
    let total = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, ms): &&(&str, u64)| total >= *ms && total.is_multiple_of(*ms);
    match UNITS.iter().find(fits) {
        Some((unit, ms)) => format!("{}{unit}", total / ms),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["0s", "1ms", "500ms", "2s", "90s", "15m", "1h", "36h", "1d", "366d"] {
            let length = read(text).unwrap();
            assert_eq!(read(&write(length)), Some(length), "{text}");
        }
        assert_eq!(write(Duration::from_secs(86_400)), "1d");
        assert_eq!(write(Duration::from_secs(5400)), "90m");
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in
            ["", "5", "s", "-1s", "+1s", "1.5s", "1 s", "1S", "1w", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
