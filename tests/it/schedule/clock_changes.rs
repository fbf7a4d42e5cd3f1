//! Due times where clocks are changed, each written down by hand, and the calendar's other corners.

use std::time::Duration;

use tidemill::clock::Timestamp;
use tidemill::schedule::Cadence;

fn at(text: &str) -> Timestamp {
    serde_json::from_value(text.into()).unwrap()
}

/// Due times in (`from`, `until`], as UTC without the parts that say nothing.
fn due(cron: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let cadence = Cadence::cron(cron, zone).unwrap();
    let next = |last: &Timestamp| cadence.next_after(*last).filter(|due| *due <= at(until));
    let due = std::iter::successors(next(&at(from)), next);
    due.map(|due| due.to_string().replace(":00.000Z", "").replace(".000Z", "").replace('T', " ")).collect()
}

#[test]
fn berlin_in_spring_a_time_in_the_gap_runs_at_three() {
    // 2026-03-29: 01:59:59 CET is followed by 03:00:00 CEST, which is 01:00 UTC.
    assert_eq!(
        due("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z"),
        ["2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"]
    );
}

#[test]
fn berlin_in_spring_several_times_in_the_gap_are_one_run() {
    assert_eq!(
        due("*/20 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
        ["2026-03-29 01:00", "2026-03-29 01:20", "2026-03-29 01:40"]
    );
}

#[test]
fn berlin_in_autumn_a_time_that_exists_twice_runs_the_first_time() {
    // 2026-10-25: 02:59:59 CEST is followed by 02:00:00 CET, which is 01:00 UTC.
    assert_eq!(
        due("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", "2026-10-26T12:00:00Z"),
        ["2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"]
    );
    assert_eq!(
        due("*/30 2,3 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
        ["2026-10-25 00:00", "2026-10-25 00:30", "2026-10-25 02:00", "2026-10-25 02:30"]
    );
}

#[test]
fn asked_within_the_repeated_hour_the_answer_is_after_it() {
    for asked in ["2026-10-25T01:00:00Z", "2026-10-25T01:29:59.999Z", "2026-10-25T01:59:59.999Z"] {
        let cadence = Cadence::cron("* * * * * *", "Europe/Berlin").unwrap();
        assert_eq!(cadence.next_after(at(asked)), Some(at("2026-10-25T02:00:00Z")), "{asked}");
    }
}

#[test]
fn new_york_follows_the_same_rule() {
    // 2026-03-08: 02:00 EST becomes 03:00 EDT at 07:00 UTC. 2026-11-01: 02:00 EDT becomes 01:00 EST at 06:00 UTC.
    assert_eq!(
        due("15 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z"),
        ["2026-03-08 07:00", "2026-03-09 06:15"]
    );
    assert_eq!(
        due("15 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z"),
        ["2026-11-01 05:15", "2026-11-02 06:15"]
    );
}

#[test]
fn lord_howe_moves_its_clocks_by_half_an_hour() {
    // 2026-04-05: 02:00 +11 becomes 01:30 +10:30 at 15:00 UTC the day before.
    assert_eq!(
        due("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", "2026-04-05T12:00:00Z"),
        ["2026-04-04 14:00", "2026-04-04 14:15", "2026-04-04 14:30", "2026-04-04 14:45"]
    );
    // 2026-10-04: 02:00 +10:30 becomes 02:30 +11 at 15:30 UTC the day before.
    assert_eq!(
        due("*/15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-04T12:00:00Z"),
        ["2026-10-03 15:30", "2026-10-03 15:45"]
    );
}

#[test]
fn casablanca_changes_its_clocks_around_ramadan() {
    // 2025-02-23: 03:00 +01 becomes 02:00 +00 at 02:00 UTC. 2025-04-06: 02:00 +00 becomes 03:00 +01 at 02:00 UTC.
    assert_eq!(
        due("30 2 * * *", "Africa/Casablanca", "2025-02-22T12:00:00Z", "2025-02-24T12:00:00Z"),
        ["2025-02-23 01:30", "2025-02-24 02:30"]
    );
    assert_eq!(
        due("30 2 * * *", "Africa/Casablanca", "2025-04-05T12:00:00Z", "2025-04-07T12:00:00Z"),
        ["2025-04-06 02:00", "2025-04-07 01:30"]
    );
}

#[test]
fn apia_left_a_whole_day_out_and_its_times_ran_once_after_it() {
    // 2011-12-29 24:00 -10 was followed by 2011-12-31 00:00 +14, at 10:00 UTC on the 30th.
    assert_eq!(
        due("0 9,17 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z"),
        ["2011-12-29 19:00", "2011-12-30 03:00", "2011-12-30 10:00", "2011-12-30 19:00", "2011-12-31 03:00"]
    );
    assert_eq!(
        due("0 0 30 12 *", "Pacific/Apia", "2011-01-01T00:00:00Z", "2012-12-31T00:00:00Z"),
        ["2011-12-30 10:00", "2012-12-29 10:00"]
    );
}

#[test]
fn the_leap_day_is_due_in_leap_years_only() {
    assert_eq!(
        due("0 12 29 2 *", "UTC", "2023-01-01T00:00:00Z", "2033-01-01T00:00:00Z"),
        ["2024-02-29 12:00", "2028-02-29 12:00", "2032-02-29 12:00"]
    );
}

#[test]
fn the_last_day_of_a_short_month_is_no_thirty_first() {
    assert_eq!(
        due("0 0 31 * *", "UTC", "2026-01-01T00:00:00Z", "2026-08-01T00:00:00Z"),
        ["2026-01-31 00:00", "2026-03-31 00:00", "2026-05-31 00:00", "2026-07-31 00:00"]
    );
}

#[test]
fn a_day_that_never_comes_is_never_due() {
    for cron in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        assert_eq!(
            Cadence::cron(cron, "Europe/Berlin").unwrap().next_after(at("2026-01-01T00:00:00Z")),
            None,
            "{cron}"
        );
    }
}

#[test]
fn day_of_month_and_weekday_may_fit_either_as_in_a_crontab() {
    // November 2026: the 13th is a Friday, the 1st a Sunday.
    assert_eq!(
        due("0 0 13 * sun", "UTC", "2026-11-01T12:00:00Z", "2026-11-16T00:00:00Z"),
        ["2026-11-08 00:00", "2026-11-13 00:00", "2026-11-15 00:00"]
    );
    assert_eq!(due("0 0 */13 * sun", "UTC", "2026-10-31T12:00:00Z", "2026-12-01T00:00:00Z"), ["2026-11-01 00:00"]);
}

#[test]
fn zero_and_seven_are_sunday_and_one_to_five_are_working_days() {
    for cron in ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "@weekly"] {
        assert_eq!(due(cron, "UTC", "2026-11-01T00:00:00Z", "2026-11-10T00:00:00Z"), ["2026-11-08 00:00"], "{cron}");
    }
    assert_eq!(
        due("0 9 * * 1-5", "UTC", "2026-11-06T00:00:00Z", "2026-11-10T00:00:00Z"),
        ["2026-11-06 09:00", "2026-11-09 09:00"]
    );
}

#[test]
fn six_fields_begin_with_seconds() {
    assert_eq!(
        due("*/20 59 23 * * *", "UTC", "2026-11-06T00:00:00Z", "2026-11-06T23:59:59Z"),
        ["2026-11-06 23:59", "2026-11-06 23:59:20", "2026-11-06 23:59:40"]
    );
}

#[test]
fn an_interval_is_counted_from_the_epoch_whoever_asks_and_when() {
    let every = |ms| Cadence::every(Duration::from_millis(ms)).unwrap();
    for (interval, asked, next) in [
        (2_000, 10_000, 12_000),
        (2_000, 10_001, 12_000),
        (2_000, 11_999, 12_000),
        (250, 10_000, 10_250),
        (7_000, -1, 0),
        (7_000, 0, 7_000),
    ] {
        assert_eq!(every(interval).next_after(Timestamp::from_ms(asked)), Some(Timestamp::from_ms(next)), "{asked}");
    }
    assert_eq!(every(1_000).next_after(Timestamp::from_ms(i64::MAX)), None);
}

#[test]
fn no_instant_makes_it_panic_or_go_back() {
    let cadences = ["* * * * * *", "0 0 29 2 *", "30 2 * * sun"].map(|c| Cadence::cron(c, "Europe/Berlin").unwrap());
    for ms in [i64::MIN, -1, 0, 1, 4_102_444_799_999, 4_133_980_799_999, 4_134_067_200_000, i64::MAX] {
        for cadence in &cadences {
            let next = cadence.next_after(Timestamp::from_ms(ms));
            assert!(next.is_none_or(|next| next.as_ms() > ms), "{cadence} after {ms}: {next:?}");
        }
    }
}

#[test]
fn a_zone_that_is_none_is_refused_with_an_example() {
    for zone in ["Europe/Berln", "CET+1", "", "berlin"] {
        let error = Cadence::cron("* * * * *", zone).unwrap_err();
        assert_eq!((error.field.as_str(), error.value.as_str()), ("time_zone", zone));
        assert!(error.allowed.contains("`Europe/Berlin`"), "{error}");
    }
}
