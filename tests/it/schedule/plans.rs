//! Plans as text: what the configuration may say, and what is shown.

use std::time::Duration;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use tidemill::config::schedules::{PlanText, SchedulesConfig};
use tidemill::schedule::{CatchUp, Plan, Schedule, ScheduleError, configured};
use tidemill::store::Overlap;

use super::rig::poll;

fn schedules() -> Vec<Schedule> {
    let plan = Plan::cron("*/15 * * * *", "Europe/Berlin").unwrap().overlap(Overlap::QueueOne);
    vec![Schedule::new("market.poll", plan, poll).unwrap()]
}

fn read(toml: &str) -> Result<SchedulesConfig, Box<figment::Error>> {
    Figment::from(Toml::string(toml)).extract().map_err(Box::new)
}

#[test]
fn the_configuration_replaces_what_it_names_and_leaves_the_rest() {
    let config = read("[\"market.poll\"]\nevery = \"2s\"\njitter = \"1s\"\n").unwrap();
    let changed = configured(schedules(), &config).unwrap().remove(0);
    let expected =
        Plan::every(Duration::from_secs(2)).unwrap().overlap(Overlap::QueueOne).jitter(Duration::from_secs(1));
    assert_eq!(*changed.plan(), expected);
    let other_zone = read("[\"market.poll\"]\ntime_zone = \"America/New_York\"\n").unwrap();
    let changed = configured(schedules(), &other_zone).unwrap().remove(0);
    assert_eq!(changed.plan().cadence().as_cron(), Some(("*/15 * * * *", "America/New_York")));
}

#[test]
fn a_name_or_key_that_is_none_is_refused_and_named() {
    let config = read("[\"market.pol\"]\nevery = \"2s\"\n").unwrap();
    let refused = configured(schedules(), &config).unwrap_err();
    assert_eq!(refused.to_string(), "there is no schedule `market.pol`; known schedules: market.poll");
    let unknown_key = read("[\"market.poll\"]\nevry = \"2s\"\n").unwrap_err().to_string();
    assert!(unknown_key.contains("evry") && unknown_key.contains("market.poll"), "{unknown_key}");
    let wrong = read("[\"market.poll\"]\nevery = \"2 seconds\"\n").unwrap();
    let refused = configured(schedules(), &wrong).unwrap_err();
    assert!(
        matches!(&refused, ScheduleError::Invalid { schedule, source }
        if schedule == "market.poll" && source.field == "every" && source.value == "2 seconds"),
        "{refused}"
    );
}

#[test]
fn a_time_that_never_comes_is_refused() {
    let every = Plan::every(Duration::from_secs(1)).unwrap();
    let text = |cron: &str| PlanText { cron: Some(cron.into()), ..PlanText::default() };
    let refused = every.changed(&text("0 0 31 2,4 *")).unwrap_err();
    assert_eq!((refused.field.as_str(), refused.value.as_str()), ("cron", "0 0 31 2,4 *"));
    assert!(every.changed(&text("0 0 29 2 *")).is_ok(), "a leap day comes");
}

#[test]
fn a_plan_is_shown_as_the_text_that_makes_it() {
    let second = Plan::every(Duration::from_secs(1)).unwrap();
    for plan in [
        Plan::cron("0 30 2 * * mon-fri", "Europe/Berlin").unwrap().catch_up(CatchUp::Skip),
        Plan::every(Duration::from_millis(500)).unwrap().catch_up(CatchUp::All { within: Duration::from_secs(7200) }),
        Plan::cron("@daily", "UTC").unwrap().overlap(Overlap::Allow).jitter(Duration::from_millis(1500)),
    ] {
        let text: PlanText = plan.describe();
        assert_eq!(second.changed(&text).unwrap(), plan, "{text:?}");
    }
}

#[test]
fn a_schedules_name_is_a_short_word() {
    let plan = || Plan::every(Duration::from_secs(1)).unwrap();
    let long = "x".repeat(101);
    for name in ["", "Market", "market poll", "märkte", long.as_str()] {
        let refused = Schedule::new(name, plan(), poll).unwrap_err();
        assert_eq!(refused.field, "name", "{name}");
        assert!(refused.allowed.contains("`market.poll`"));
    }
    assert!(Schedule::new("market.poll_2-b", plan(), poll).is_ok());
}
