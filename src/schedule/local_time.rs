//! From a zone's local time to the one instant at which it counts, and back. The whole rule for clocks that are changed
//! stands here: a local time that does not exist counts at the first instant after the gap; one that exists twice counts
//! the first time.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::clock::Timestamp;

/// Zones lie within a day of UTC, so the instant of a local time lies within this of the same digits read as UTC.
const REACH: TimeDelta = TimeDelta::hours(26);

/// What clocks in `zone` show at `at`; `None` only outside chrono's range.
pub(super) fn shown(zone: Tz, at: Timestamp) -> Option<NaiveDateTime> {
    Some(local(zone, at.to_datetime()?))
}

/// The instant at which `shown` counts.
pub(super) fn instant(zone: Tz, shown: NaiveDateTime) -> Timestamp {
    let at = match zone.from_local_datetime(&shown) {
        LocalResult::Single(at) => at.to_utc(),
        LocalResult::Ambiguous(one, other) => one.min(other).to_utc(),
        LocalResult::None => after_gap(zone, shown),
    };
    Timestamp::from(at)
}

/// The first second at which clocks show more than `skipped`, which they never show. Clocks are changed at whole seconds.
fn after_gap(zone: Tz, skipped: NaiveDateTime) -> DateTime<Utc> {
    let mut before = skipped.and_utc() - REACH;
    let mut after = skipped.and_utc() + REACH;
    while after - before > TimeDelta::seconds(1) {
        let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
        if local(zone, middle) > skipped {
            after = middle;
        } else {
            before = middle;
        }
    }
    after
}

fn local(zone: Tz, at: DateTime<Utc>) -> NaiveDateTime {
    zone.from_utc_datetime(&at.naive_utc()).naive_local()
}
