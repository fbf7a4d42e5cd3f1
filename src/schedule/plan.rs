//! A schedule's plan: when, and what happens when the time has passed or the last job still lives.
//!
//! Declared in the code, changed in part by configuration and by operators ([`PlanText`]). Every way in goes through
//! [`Plan::changed`], so a plan that exists can be followed.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Cadence, CatchUp, InvalidPlan, span};
use crate::clock::Timestamp;
use crate::config::schedules::PlanText;
use crate::store::Overlap;

const JITTER_MAX: Duration = Duration::from_secs(24 * 3600);
const SPAN: &str = "a whole number and a unit: `500ms`, `2s`, `15m`, `1h`, `1d`";
const PLAN_FIELDS: &str = "cron, every, time_zone, catch_up, catch_up_window, overlap and jitter, each a text, like \
                           {\"cron\": \"*/15 * * * *\", \"time_zone\": \"Europe/Berlin\"}";

/// When a schedule is due, and what happens when it could not be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// When it is due.
    pub(super) cadence: Cadence,
    /// What happens to due times that passed unseen.
    pub(super) catch_up: CatchUp,
    /// What happens while the last job lives.
    pub(super) overlap: Overlap,
    /// Each job's `run_at` is put off by up to this.
    pub(super) jitter: Duration,
}

impl Plan {
    /// Due as `cadence` says; of missed due times the latest, no overlap, no jitter.
    pub fn new(cadence: Cadence) -> Self {
        Self { cadence, catch_up: CatchUp::default(), overlap: Overlap::default(), jitter: Duration::ZERO }
    }

    /// As [`Cadence::cron`].
    ///
    /// # Errors
    /// When the text or the zone is none.
    pub fn cron(text: &str, zone: &str) -> Result<Self, InvalidPlan> {
        Cadence::cron(text, zone).map(Self::new)
    }

    /// As [`Cadence::every`].
    ///
    /// # Errors
    /// When the interval is too short or too long.
    pub fn every(interval: Duration) -> Result<Self, InvalidPlan> {
        Cadence::every(interval).map(Self::new)
    }

    /// What happens to due times that passed while nobody ran the scheduler.
    #[must_use]
    pub fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// What happens while the last job lives.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Each job's `run_at` is put off by a random time up to `most`, at most a day.
    #[must_use]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.jitter = most.min(JITTER_MAX);
        self
    }

    /// When it is due.
    pub fn cadence(&self) -> &Cadence {
        &self.cadence
    }

    /// This plan with the fields of `text` in place of its own.
    ///
    /// # Errors
    /// When a field, or the fields together, make no sense; this plan stays as it is.
    pub fn changed(&self, text: &PlanText) -> Result<Self, InvalidPlan> {
        let (catch_up, window) = (text.catch_up.as_deref(), text.catch_up_window.as_deref());
        Ok(Self {
            cadence: self.changed_cadence(text)?,
            catch_up: self.changed_catch_up(catch_up, window)?,
            overlap: text.overlap.as_deref().map_or(Ok(self.overlap), read_overlap)?,
            jitter: match text.jitter.as_deref() {
                None => self.jitter,
                Some(given) => span::read(given)
                    .filter(|jitter| *jitter <= JITTER_MAX)
                    .ok_or_else(|| InvalidPlan::new("jitter", given, format!("0s to 1d as {SPAN}")))?,
            },
        })
    }

    /// All fields as text: what the store keeps as declared and operators see.
    pub fn describe(&self) -> PlanText {
        let (catch_up, window) = match self.catch_up {
            CatchUp::Skip => ("skip", None),
            CatchUp::Latest => ("latest", None),
            CatchUp::All { within } => ("all", Some(span::write(within))),
        };
        let overlap = match self.overlap {
            Overlap::Allow => "allow",
            Overlap::Skip => "skip",
            Overlap::QueueOne => "queue_one",
        };
        PlanText {
            cron: self.cadence.as_cron().map(|(text, _)| text.to_owned()),
            every: self.cadence.as_every().map(span::write),
            time_zone: self.cadence.as_cron().map(|(_, zone)| zone.to_owned()),
            catch_up: Some(catch_up.to_owned()),
            catch_up_window: window,
            overlap: Some(overlap.to_owned()),
            jitter: Some(span::write(self.jitter)),
        }
    }

    /// The plan that [`Plan::describe`] described.
    pub(super) fn read(text: &PlanText) -> Result<Self, InvalidPlan> {
        // Every description names its cadence, so nothing of this one is left.
        Self::every(Duration::from_secs(1))?.changed(text)
    }

    /// [`Plan::describe`] as JSON.
    pub(super) fn to_json(&self) -> Value {
        let PlanText { cron, every, time_zone, catch_up, catch_up_window, overlap, jitter } = self.describe();
        let fields = [
            ("cron", cron),
            ("every", every),
            ("time_zone", time_zone),
            ("catch_up", catch_up),
            ("catch_up_window", catch_up_window),
            ("overlap", overlap),
            ("jitter", jitter),
        ];
        fields.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::String(text?)))).collect()
    }

    fn changed_cadence(&self, text: &PlanText) -> Result<Cadence, InvalidPlan> {
        match (text.cron.as_deref(), text.every.as_deref(), text.time_zone.as_deref()) {
            (Some(_), Some(every), _) => Err(InvalidPlan::new("every", every, "either `cron` or `every`, not both")),
            (None, Some(_), Some(zone)) => Err(InvalidPlan::new("time_zone", zone, "only together with `cron`")),
            (None, Some(every), None) => {
                let interval = span::read(every).ok_or_else(|| InvalidPlan::new("every", every, SPAN))?;
                Cadence::every(interval)
            }
            (Some(cron), None, zone) => {
                let own = self.cadence.as_cron().map_or("UTC", |(_, zone)| zone);
                let cadence = Cadence::cron(cron, zone.unwrap_or(own))?;
                // Nobody asks for a schedule that never fires; nothing would ever tell them.
                match cadence.next_after(Timestamp::from_ms(0)) {
                    Some(_) => Ok(cadence),
                    None => Err(InvalidPlan::new("cron", cron, "a time that comes; 30 February, for one, never does")),
                }
            }
            (None, None, Some(zone)) => match self.cadence.as_cron() {
                Some((cron, _)) => Cadence::cron(cron, zone),
                None => {
                    Err(InvalidPlan::new("time_zone", zone, "only together with `cron`; this schedule is an interval"))
                }
            },
            (None, None, None) => Ok(self.cadence.clone()),
        }
    }

    fn changed_catch_up(&self, word: Option<&str>, window: Option<&str>) -> Result<CatchUp, InvalidPlan> {
        let invalid = |given: &str| InvalidPlan::new("catch_up", given, "`skip`, `latest` or `all`");
        let base = match word {
            None => self.catch_up,
            Some("skip") => CatchUp::Skip,
            Some("latest") => CatchUp::Latest,
            Some("all") => match self.catch_up {
                CatchUp::All { within } => CatchUp::All { within },
                CatchUp::Skip | CatchUp::Latest => CatchUp::All { within: CatchUp::WINDOW },
            },
            Some(other) => return Err(invalid(other)),
        };
        let Some(given) = window else { return Ok(base) };
        if !matches!(base, CatchUp::All { .. }) {
            return Err(InvalidPlan::new("catch_up_window", given, "only together with `catch_up` = `all`"));
        }
        let within = span::read(given).filter(|w| !w.is_zero() && *w <= CatchUp::WINDOW_MAX);
        let within =
            within.ok_or_else(|| InvalidPlan::new("catch_up_window", given, format!("1ms to 31d as {SPAN}")))?;
        Ok(CatchUp::All { within })
    }
}

/// Reads an operator's override; unlike serde it says which field is wrong.
pub(super) fn read_override(value: &Value) -> Result<PlanText, InvalidPlan> {
    let no_plan =
        || InvalidPlan::new("the plan", &value.to_string(), format!("an object with at least one of {PLAN_FIELDS}"));
    let given: &Map<String, Value> = value.as_object().ok_or_else(no_plan)?;
    let mut text = PlanText::default();
    let mut any = false;
    for (field, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let place = match field.as_str() {
            "cron" => &mut text.cron,
            "every" => &mut text.every,
            "time_zone" => &mut text.time_zone,
            "catch_up" => &mut text.catch_up,
            "catch_up_window" => &mut text.catch_up_window,
            "overlap" => &mut text.overlap,
            "jitter" => &mut text.jitter,
            other => return Err(InvalidPlan::new(other, &value.to_string(), format!("the fields {PLAN_FIELDS}"))),
        };
        let words = value.as_str().ok_or_else(|| InvalidPlan::new(field, &value.to_string(), "a text in quotes"))?;
        *place = Some(words.to_owned());
        any = true;
    }
    if any { Ok(text) } else { Err(no_plan()) }
}

fn read_overlap(word: &str) -> Result<Overlap, InvalidPlan> {
    match word {
        "allow" => Ok(Overlap::Allow),
        "skip" => Ok(Overlap::Skip),
        "queue_one" => Ok(Overlap::QueueOne),
        other => Err(InvalidPlan::new("overlap", other, "`allow`, `skip` or `queue_one`")),
    }
}
