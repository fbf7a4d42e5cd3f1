//! Cron text as people write it in a crontab, read into the `cron` crate's patterns.
//!
//! The crate numbers weekdays from 1 = Sunday and wants both day fields to fit; a crontab numbers them from 0 = Sunday
//! (7 too) and, when both are restricted, takes a day that fits either. So the weekdays are read here and handed over as
//! the crate's numbers, and such a text becomes two patterns of which one must fit. As in Vixie cron a day field that
//! begins with `*` (`*/2` too) does not count as restricted.

use std::str::FromStr;

use super::InvalidPlan;

const MAX_BYTES: usize = 255;
const EXAMPLES: &str = "five fields (minute, hour, day of month, month, weekday) or six with seconds first, like \
                        `*/15 9-17 * * mon-fri` or `0 30 2 1 * *`, or one of @hourly, @daily, @weekly, @monthly, @yearly";

const FIELDS: [(&str, &str); 6] = [
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of month", "1 to 31"),
    ("month", "1 to 12 or jan to dec"),
    ("weekday", "0 to 7 (0 and 7 are Sunday) or sun to sat"),
];
const DAY_OF_MONTH: usize = 3;
const WEEKDAY: usize = 5;

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The one or two patterns of which one must fit.
pub(super) fn parse(text: &str) -> Result<Vec<cron::Schedule>, InvalidPlan> {
    let invalid = |allowed: String| InvalidPlan::new("cron", text, allowed);
    if text.len() > MAX_BYTES {
        return Err(invalid(format!("at most {MAX_BYTES} bytes: {EXAMPLES}")));
    }
    let text_or_nickname = text.trim();
    let plain = NICKNAMES.iter().find(|(name, _)| *name == text_or_nickname).map_or(text, |(_, fields)| fields);
    let mut given: Vec<&str> = plain.split_ascii_whitespace().collect();
    if given.len() == 5 {
        given.insert(0, "0");
    }
    let Ok(given) = <[&str; 6]>::try_from(given) else {
        return Err(invalid(EXAMPLES.to_owned()));
    };

    let mut fields = given.map(str::to_owned);
    for (n, (name, range)) in FIELDS.into_iter().enumerate() {
        let fit = if n == WEEKDAY { weekdays(given[n]) } else { Some(given[n].to_owned()) };
        let fit = fit.filter(|field| alone(n, field).is_some());
        fields[n] = fit.ok_or_else(|| {
            let shapes = "each as `*`, `5`, `1-5`, `*/2`, `1-5/2`, or several with commas";
            invalid(format!("its {name} is `{}`, which is not {range}, {shapes}; a good one is {EXAMPLES}", given[n]))
        })?;
    }

    let either = [DAY_OF_MONTH, WEEKDAY].iter().all(|n| !given[*n].starts_with(['*', '?']));
    let patterns = if either {
        vec![with(&fields, WEEKDAY, "*"), with(&fields, DAY_OF_MONTH, "*")]
    } else {
        vec![pattern(&fields)]
    };
    patterns.into_iter().collect::<Option<_>>().ok_or_else(|| invalid(EXAMPLES.to_owned()))
}

/// The crate's pattern in which only field `n` is restricted: says which of the fields is the wrong one.
fn alone(n: usize, field: &str) -> Option<cron::Schedule> {
    with(&std::array::from_fn(|_| "*".to_owned()), n, field)
}

fn with(fields: &[String; 6], n: usize, field: &str) -> Option<cron::Schedule> {
    let mut fields = fields.clone();
    fields[n] = field.to_owned();
    pattern(&fields)
}

fn pattern(fields: &[String; 6]) -> Option<cron::Schedule> {
    cron::Schedule::from_str(&fields.join(" ")).ok()
}

/// A crontab's weekday field as the crate's: `mon-fri` and `1-5` become `2,3,4,5,6`.
fn weekdays(text: &str) -> Option<String> {
    if matches!(text, "*" | "?") {
        return Some("*".to_owned());
    }
    let mut fits = [false; 7];
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|s| (1..=7).contains(s))?),
            None => (item, 1),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (weekday(first)?, weekday(last)?);
                // Sunday ends the week when it ends a range: `fri-sun` is three days.
                (first, if last == 0 && first > 0 { 7 } else { last })
            }
            None if range == "*" => (0, 6),
            None if range.len() < item.len() => (weekday(range)?, 6),
            None => (weekday(range)?, weekday(range)?),
        };
        if first > last {
            return None;
        }
        for day in (first..=last).step_by(step) {
            fits[day % 7] = true;
        }
    }
    let days: Vec<String> = (0..7).filter(|day| fits[*day]).map(|day| (day + 1).to_string()).collect();
    Some(days.join(","))
}

fn weekday(text: &str) -> Option<usize> {
    const NAMES: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let lower = text.to_ascii_lowercase();
    let named = NAMES.iter().position(|name| *name == lower || name[..3] == *lower);
    named.or_else(|| number(text).filter(|day| *day <= 7))
}

/// Only digits: `usize::from_str` alone would take `+2` as well.
fn number(text: &str) -> Option<usize> {
    if text.is_empty() || text.len() > 2 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weekdays_are_a_crontabs_and_not_the_crates() {
        let cases = [
            ("0", "1"),
            ("7", "1"),
            ("sun", "1"),
            ("SAT", "7"),
            ("monday", "2"),
            ("1-5", "2,3,4,5,6"),
            ("mon-fri", "2,3,4,5,6"),
            ("5-7", "1,6,7"),
            ("fri-sun", "1,6,7"),
            ("0-7", "1,2,3,4,5,6,7"),
            ("*/2", "1,3,5,7"),
            ("1/2", "2,4,6"),
            ("1-7/3", "1,2,5"),
            ("mon,wed,fri", "2,4,6"),
            ("?", "*"),
        ];
        for (ours, crates) in cases {
            assert_eq!(weekdays(ours).as_deref(), Some(crates), "{ours}");
        }
    }

    #[test]
    fn a_weekday_that_is_none_is_refused() {
        for wrong in ["8", "-1", "", "mon-", "tue-mon", "6-1", "*/0", "*/8", "1/+2", "+1", "mo", "L", "mon#2", "1,,2"] {
            assert_eq!(weekdays(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bad_text_names_the_field_the_value_and_what_is_allowed() {
        let cases = [
            ("61 * * * *", "its minute is `61`, which is not 0 to 59"),
            ("* 24 * * *", "its hour is `24`"),
            ("* * 0 * *", "its day of month is `0`, which is not 1 to 31"),
            ("* * 32 * *", "its day of month is `32`"),
            ("* * * foo *", "its month is `foo`, which is not 1 to 12 or jan to dec"),
            ("* * * * 8", "its weekday is `8`, which is not 0 to 7"),
            ("60 * * * * *", "its second is `60`"),
            ("*/0 * * * *", "its minute is `*/0`"),
            ("5-1 * * * *", "its minute is `5-1`"),
            ("? * * * *", "its minute is `?`"),
            ("* * L * *", "its day of month is `L`"),
        ];
        for (text, says) in cases {
            let error = parse(text).unwrap_err();
            assert_eq!((error.field.as_str(), error.value.as_str()), ("cron", text));
            assert!(error.allowed.contains(says), "{text}: {error}");
            assert!(error.allowed.contains("`*/15 9-17 * * mon-fri`"), "{text}: {error}");
        }
    }

    #[test]
    fn a_wrong_number_of_fields_is_refused() {
        let long = "*,".repeat(200);
        for text in ["", "*", "* * * *", "* * * * * * *", "@reboot", "@daily 5", long.as_str()] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn either_day_field_may_fit_only_when_both_are_restricted() {
        for (text, patterns) in
            [("0 0 13 * fri", 2), ("0 0 */2 * fri", 1), ("0 0 13 * *", 1), ("0 0 ? * fri", 1), ("0 0 1-31 * fri", 2)]
        {
            assert_eq!(parse(text).unwrap().len(), patterns, "{text}");
        }
    }
}
