//! `tidemill schedules`: list, run, pause, resume, history.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use tidemill::admin::{Admin, Ask, Desk, May, Place};
use tidemill::clock::Timestamp;
use tidemill::config::schedules::PlanText;
use tidemill::schedule::ScheduleView;
use tidemill::store::{Fired, HistoryEntry};

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Pages, Screen, Table};

/// Look at schedules; run, pause or resume them
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill schedules list
  tidemill schedules run market.poll
  tidemill schedules history reconcile.stripe

{EXIT_CODES}"))]
pub struct Schedules {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List all schedules and when they are due
    List(Pages<Place>),
    /// Enqueue a schedule's job now; its plan goes on as if nothing had happened
    Run {
        /// The schedule's name
        name: String,
    },
    /// Stop a schedule; due times pass without a job
    Pause {
        /// The schedule's name
        name: String,
    },
    /// Let it fire again, from now on
    Resume {
        /// The schedule's name
        name: String,
    },
    /// Show what happened to a schedule, newest first
    History {
        /// The schedule's name
        name: String,
    },
}

impl Schedules {
    /// Does what was asked.
    ///
    /// # Errors
    /// When the schedule is unknown or the store did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::List(pages) => list(desk, &may, &pages.into(), &mut screen).await?,
            What::Run { name } => {
                let job = desk.run_schedule(&may, &name).await?;
                screen.say(&json!({ "job": job }), format!("enqueued {job} for {name}"))?;
            }
            What::Pause { name } => {
                let schedule = desk.pause_schedule(&may, &name).await?;
                switched(&schedule, &mut screen, "is paused; due times pass without a job")?;
            }
            What::Resume { name } => {
                let schedule = desk.resume_schedule(&may, &name).await?;
                switched(&schedule, &mut screen, "fires again, from now on")?;
            }
            What::History { name } => history(&desk.schedule_history(&may, &name).await?, &mut screen)?,
        }
        Ok(Exit::Done.into())
    }
}

async fn list(desk: &Desk, may: &May<Admin>, ask: &Ask, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let page = desk.schedules(may, ask).await?;
    let columns = ["SCHEDULE", "PLAN", "NEXT", "LAST", "LAST JOB", ""].map(|name| (name, Align::Left));
    let none = "no schedules are known yet: `tidemill serve` makes the declared ones known";
    Ok(screen.page(&page, &columns, none, |schedule, screen| {
        let record = &schedule.record;
        let mut notes = Vec::new();
        notes.extend(record.paused.then(|| "paused".to_owned()));
        notes.extend(record.overridden.is_some().then(|| "changed by hand".to_owned()));
        notes.extend(schedule.problem.clone());
        vec![
            record.name.to_string(),
            schedule.plan.as_ref().map(plan).unwrap_or_default(),
            schedule.next_due.map(|at| screen.relative(at)).unwrap_or_default(),
            record.last_due.map(|at| screen.relative(at)).unwrap_or_default(),
            record.last_job.map(|job| job.to_string()).unwrap_or_default(),
            notes.join(", "),
        ]
    })?)
}

fn plan(plan: &PlanText) -> String {
    let zone = plan.time_zone.as_deref().filter(|zone| *zone != "UTC");
    match (&plan.cron, &plan.every, zone) {
        (Some(cron), _, Some(zone)) => format!("{cron} {zone}"),
        (Some(cron), _, None) => cron.clone(),
        (None, Some(every), _) => format!("every {every}"),
        (None, None, _) => String::new(),
    }
}

fn switched(schedule: &ScheduleView, screen: &mut Screen<'_>, words: &str) -> std::io::Result<()> {
    screen.say(schedule, format!("{} {words}", schedule.record.name))
}

fn history(entries: &[HistoryEntry], screen: &mut Screen<'_>) -> std::io::Result<()> {
    if screen.is_json() {
        return screen.json(&json!({ "items": entries, "next": null }));
    }
    let mut table = Table::new(&["WHEN", "WHAT", "DUE", "JOB", "NOTE"].map(|name| (name, Align::Left)));
    for entry in entries {
        let what = match entry.what {
            Fired::Enqueued => "enqueued",
            Fired::RunByHand => "run by hand",
            Fired::SkippedOverlap => "skipped, the last one was not done",
            Fired::Missed => "missed",
            Fired::Changed => "changed",
        };
        table.row([
            screen.relative(entry.at),
            what.to_owned(),
            entry.due.map(|at| at.to_string()).unwrap_or_default(),
            entry.job.map(|job| job.to_string()).unwrap_or_default(),
            entry.note.clone(),
        ]);
    }
    screen.table(&table, "nothing has happened to it yet")
}
