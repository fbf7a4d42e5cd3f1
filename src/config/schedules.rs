//! `[schedules]`: what the configuration puts in the place of the schedules' own plans.
//!
//! Only text, as people write it in TOML and in operators' overrides; [`Plan`](crate::schedule::Plan) gives it meaning
//! and refuses what makes no sense, naming the field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Plans by the schedule's name, `[schedules."market.poll"]`. A name that no schedule has is refused at start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct SchedulesConfig(pub BTreeMap<String, PlanText>);

/// A plan as text; what is left out stays as it was declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PlanText {
    /// Five cron fields, or six with seconds first: `*/15 9-17 * * mon-fri`. Replaces `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// An interval instead of cron: `500ms`, `2s`, `15m`, `1h`, `1d`. Replaces `cron`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// The IANA zone in which the cron fields are read. Default: `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What happens to due times that passed while nobody ran the scheduler: `skip`, `latest` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<String>,
    /// How far back `all` reaches, `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up_window: Option<String>,
    /// What happens while the last job lives: `allow`, `skip` or `queue_one`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// Each job's `run_at` is put off by a random time up to this, `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
}
