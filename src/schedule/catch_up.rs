//! What becomes of the due times between a schedule's cursor and now. Pure.
//!
//! A due time that is decided within [`ON_TIME`] always fires; what is older was missed (nobody ran the scheduler, or the
//! store was away) and the policy decides. The answer is bounded: what does not fit is left for the next round.

use std::time::Duration;

use super::{Cadence, Plan};
use crate::clock::Timestamp;

/// Decided within this it is not late: a few wakes, a store hiccup, a restart.
pub const ON_TIME: Duration = Duration::from_secs(10);
/// Missed due times counted in one round; cron text must be walked one by one.
const COUNT_MAX: u32 = 10_000;
const MS: Duration = Duration::from_millis(1);

/// What happens to due times that passed while nobody ran the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CatchUp {
    /// Leave them out: a late run is useless.
    Skip,
    /// The newest one runs, unless a later one is on time.
    #[default]
    Latest,
    /// All that are no older than this run, oldest first.
    All {
        /// What is older is left out.
        within: Duration,
    },
}

impl CatchUp {
    /// The window of `all` where none is given.
    pub const WINDOW: Duration = Duration::from_secs(24 * 3600);
    /// No window is longer.
    pub const WINDOW_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
}

/// What to do about a schedule now: first leave out, then fire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// Leave out all due times up to here: so many.
    pub(super) leave_out: Option<(Timestamp, u32)>,
    /// Fire these, in this order.
    pub(super) fire: Vec<Timestamp>,
    /// There is more to decide: ask again at once.
    pub(super) more: bool,
}

/// Decides the due times of `plan` in (`cursor`, `now`], firing at most `limit`.
pub(super) fn decide(plan: &Plan, cursor: Timestamp, now: Timestamp, limit: usize) -> Decision {
    let on_time_from = now.before(ON_TIME);
    let lost_until = match plan.catch_up {
        CatchUp::Skip | CatchUp::Latest => on_time_from,
        CatchUp::All { within } => now.before(within.max(ON_TIME)),
    };
    let Some(lost) = plan.cadence.count(cursor, lost_until.before(MS), COUNT_MAX) else {
        let (fire, more) = due_times(&plan.cadence, cursor, now, limit);
        return Decision { leave_out: None, fire, more };
    };
    if !lost.complete {
        return Decision { leave_out: Some((lost.last, lost.count)), fire: Vec::new(), more: true };
    }
    let (fire, more) = due_times(&plan.cadence, lost.last, now, limit);
    if plan.catch_up != CatchUp::Latest || !fire.is_empty() {
        return Decision { leave_out: Some((lost.last, lost.count)), fire, more };
    }
    // Nothing is on time, so the newest of the missed ones runs and only those before it are left out.
    let leave_out = (lost.count > 1).then(|| (lost.last.before(MS), lost.count - 1));
    Decision { leave_out, fire: vec![lost.last], more }
}

fn due_times(cadence: &Cadence, after: Timestamp, until: Timestamp, limit: usize) -> (Vec<Timestamp>, bool) {
    let next = |at: &Timestamp| cadence.next_after(*at).filter(|due| *due <= until);
    let mut due: Vec<Timestamp> = std::iter::successors(next(&after), next).take(limit + 1).collect();
    let more = due.len() > limit;
    due.truncate(limit);
    (due, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const CURSOR: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn hourly(catch_up: CatchUp) -> Plan {
        Plan::every(HOUR).unwrap().catch_up(catch_up)
    }

    fn hours(n: u32) -> Timestamp {
        CURSOR.after(HOUR * n)
    }

    #[test]
    fn what_is_on_time_fires_under_every_policy() {
        for catch_up in [CatchUp::Skip, CatchUp::Latest, CatchUp::All { within: HOUR }] {
            let decision = decide(&hourly(catch_up), CURSOR, hours(1).after(ON_TIME), 100);
            assert_eq!(decision, Decision { leave_out: None, fire: vec![hours(1)], more: false }, "{catch_up:?}");
        }
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        assert_eq!(decide(&hourly(CatchUp::Latest), CURSOR, hours(1).before(MS), 100), Decision::default());
    }

    #[test]
    fn skip_leaves_all_missed_ones_out() {
        let decision = decide(&hourly(CatchUp::Skip), CURSOR, hours(24).after(HOUR / 2), 100);
        assert_eq!(decision, Decision { leave_out: Some((hours(24), 24)), fire: vec![], more: false });
    }

    #[test]
    fn skip_still_fires_the_one_that_is_on_time() {
        let decision = decide(&hourly(CatchUp::Skip), CURSOR, hours(24), 100);
        assert_eq!(decision, Decision { leave_out: Some((hours(23), 23)), fire: vec![hours(24)], more: false });
    }

    #[test]
    fn latest_runs_the_newest_missed_one() {
        let decision = decide(&hourly(CatchUp::Latest), CURSOR, hours(24).after(HOUR / 2), 100);
        let leave_out = Some((hours(24).before(MS), 23));
        assert_eq!(decision, Decision { leave_out, fire: vec![hours(24)], more: false });
    }

    #[test]
    fn latest_leaves_nothing_out_when_only_one_was_missed() {
        let decision = decide(&hourly(CatchUp::Latest), CURSOR, hours(1).after(HOUR / 2), 100);
        assert_eq!(decision, Decision { leave_out: None, fire: vec![hours(1)], more: false });
    }

    #[test]
    fn latest_prefers_the_one_that_is_on_time() {
        let decision = decide(&hourly(CatchUp::Latest), CURSOR, hours(24), 100);
        assert_eq!(decision, Decision { leave_out: Some((hours(23), 23)), fire: vec![hours(24)], more: false });
    }

    #[test]
    fn all_runs_what_lies_in_the_window_and_leaves_the_rest_out() {
        let plan = hourly(CatchUp::All { within: HOUR * 6 });
        let decision = decide(&plan, CURSOR, hours(24).after(HOUR / 2), 100);
        let fire = (19..=24).map(hours).collect();
        assert_eq!(decision, Decision { leave_out: Some((hours(18), 18)), fire, more: false });
    }

    #[test]
    fn what_is_exactly_as_old_as_the_window_runs() {
        let plan = hourly(CatchUp::All { within: HOUR * 6 });
        assert_eq!(decide(&plan, CURSOR, hours(24), 100).fire, (18..=24).map(hours).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_list_is_fired_in_bounded_rounds_that_lose_nothing() {
        let plan = hourly(CatchUp::All { within: HOUR * 48 });
        let (mut cursor, mut fired, mut rounds) = (CURSOR, Vec::new(), 0);
        loop {
            let decision = decide(&plan, cursor, hours(24), 10);
            assert!(decision.fire.len() <= 10 && decision.leave_out.is_none());
            cursor = decision.fire.last().copied().unwrap_or(cursor);
            fired.extend(decision.fire);
            rounds += 1;
            if !decision.more {
                break;
            }
        }
        assert_eq!((fired, rounds), ((1..=24).map(hours).collect(), 3));
    }

    #[test]
    fn a_year_of_missed_seconds_is_counted_in_bounded_rounds() {
        let plan = Plan::cron("* * * * * *", "UTC").unwrap();
        let decision = decide(&plan, CURSOR, CURSOR.after(HOUR * 24 * 366), 10);
        let first = CURSOR.after(Duration::from_secs(u64::from(COUNT_MAX)));
        assert_eq!(decision, Decision { leave_out: Some((first, COUNT_MAX)), fire: vec![], more: true });
    }

    #[test]
    fn ten_missed_years_of_an_interval_are_counted_at_once() {
        let plan = Plan::every(Duration::from_millis(100)).unwrap().catch_up(CatchUp::Skip);
        let decision = decide(&plan, CURSOR, CURSOR.after(HOUR * 24 * 3650), 200);
        let (until, count) = decision.leave_out.unwrap();
        assert_eq!(until, CURSOR.after(HOUR * 24 * 3650).before(ON_TIME + Duration::from_millis(100)));
        assert_eq!((count, decision.fire.len()), (3_153_599_899, 101));
    }
}
