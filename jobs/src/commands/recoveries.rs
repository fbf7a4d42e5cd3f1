//! `tidemill recoveries`: sending again what an endpoint did not get, or all of it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use tidemill::admin::{Admin, Desk, May};
use tidemill::clock::Timestamp;
use tidemill::fanout::recovery::{NewRecovery, Recovery, RecoveryState, What as Again};

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Pages, Screen, Since, each};

/// `watch` looks again after so long.
const LOOK: Duration = Duration::from_secs(1);

/// Send an endpoint again what failed, what it missed, or everything
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill recoveries start failed ep_… --since 2h
  tidemill recoveries start all ep_… --since 2026-01-02T03:00:00Z --watch
  tidemill recoveries cancel rcv_…

A recovery is a job of the service: it goes on when this command ends, survives restarts, has no
cap and lets live traffic go first. One delivery alone: `tidemill deliveries resend`.

{EXIT_CODES}"))]
pub struct Recoveries {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Begin to send again
    Start {
        /// `failed`: what was exhausted or cancelled; `missed`: events that were never for it, because it was disabled or
        /// not there; `all`: every event that it wants, also those that it has (a replay)
        what: Whatever,
        /// The endpoint's id, ep_…
        endpoint: String,
        /// From when on: so long ago, like 2h or 7d, or a time like 2026-01-02T03:04:05Z
        #[arg(long, value_name = "TIME")]
        since: Since,
        /// Stay and show how far it is
        #[arg(long)]
        watch: bool,
    },
    /// List recoveries, newest first
    List {
        /// Only of this endpoint, ep_…
        #[arg(long)]
        endpoint: Option<String>,
        #[command(flatten)]
        pages: Pages<String>,
    },
    /// Show how far one of them is
    Show(One),
    /// Show how far it is until it ends; leaving with Ctrl-C does not end it
    Watch(One),
    /// End recoveries; what was sent stays sent
    Cancel {
        /// The recoveries' ids, rcv_…
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Names one recovery.
#[derive(Debug, Args)]
struct One {
    /// The recovery's id, rcv_…
    id: String,
}

/// What may be asked for by name; one delivery and a backlog have ways of their own.
#[derive(Clone, Copy, Debug)]
struct Whatever(Again);

impl std::str::FromStr for Whatever {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "failed" => Ok(Self(Again::Failed)),
            "missed" => Ok(Self(Again::Missed)),
            "all" => Ok(Self(Again::All)),
            _ => Err("allowed: failed, missed, all"),
        }
    }
}

impl Recoveries {
    /// Does what was asked.
    ///
    /// # Errors
    /// When there is no such endpoint or recovery, its state does not allow it, or the database did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::Start { what: Whatever(what), endpoint, since, watch } => {
                let run = desk.recover(&may, NewRecovery { endpoint, what, since: since.time(now) }).await?;
                if watch {
                    return watched(desk, &may, &run.id, &mut screen).await;
                }
                let next = format!("{} has begun: `tidemill recoveries watch {}`", run.id, run.id);
                screen.say(&run, next)?;
            }
            What::List { endpoint, pages } => list(desk, &may, endpoint.as_deref(), pages, &mut screen).await?,
            What::Show(One { id }) => show(&desk.recovery(&may, &id).await?, &mut screen)?,
            What::Watch(One { id }) => return watched(desk, &may, &id, &mut screen).await,
            What::Cancel { ids } => {
                let cancel = async |id: &String| {
                    let run = desk.cancel_recovery(&may, id).await?;
                    Ok(format!("cancelled after {} were sent again", run.sent_again))
                };
                return each(&ids, &mut screen, cancel).await;
            }
        }
        Ok(Exit::Done.into())
    }
}

async fn list(
    desk: &Desk,
    may: &May<Admin>,
    endpoint: Option<&str>,
    pages: Pages<String>,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    use Align::{Left, Right};
    let page = desk.recoveries(may, endpoint, &pages.into()).await?;
    let columns = [
        ("ID", Left),
        ("ENDPOINT", Left),
        ("WHAT", Left),
        ("STATE", Left),
        ("DONE", Right),
        ("LOOKED AT", Right),
        ("SENT AGAIN", Right),
        ("BEGAN", Left),
        ("WHY", Left),
    ];
    Ok(screen.page(&page, &columns, "nothing was sent again yet", |run, screen| {
        vec![
            run.id.clone(),
            run.endpoint_id.clone(),
            word(run.what).to_owned(),
            run.state.to_string(),
            format!("{} %", run.progress().0),
            run.looked_at.to_string(),
            run.sent_again.to_string(),
            screen.relative(run.created_at),
            run.reason.clone().unwrap_or_default(),
        ]
    })?)
}

fn show(run: &Recovery, screen: &mut Screen<'_>) -> std::io::Result<()> {
    if screen.is_json() {
        return screen.json(run);
    }
    let time = |at: Timestamp| format!("{at} ({})", screen.relative(at));
    let facts = [
        ("id", run.id.clone()),
        ("endpoint", run.endpoint_id.clone()),
        ("tenant", run.tenant.clone()),
        ("what", word(run.what).to_owned()),
        ("delivery", run.delivery_id.clone().unwrap_or_default()),
        ("state", run.state.to_string()),
        ("why", run.reason.clone().unwrap_or_default()),
        ("since", run.since.to_string()),
        ("until", run.until.to_string()),
        ("reached", format!("{}, {} %", run.reached, run.progress().0)),
        ("looked at", run.looked_at.to_string()),
        ("sent again", run.sent_again.to_string()),
        ("began", time(run.created_at)),
        ("changed", time(run.updated_at)),
    ];
    screen.facts(facts)
}

/// A line whenever it has moved, until it ends; for scripts the end alone.
async fn watched(desk: &Desk, may: &May<Admin>, id: &str, screen: &mut Screen<'_>) -> Result<ExitCode, Failure> {
    let mut told = None;
    let run = loop {
        let run = desk.recovery(may, id).await?;
        let progress = run.progress();
        if !screen.is_json() && told.as_ref() != Some(&progress) {
            screen.line(format!("{id}  {:>3} %  {}", progress.0, progress.1))?;
            told = Some(progress);
        }
        if run.state != RecoveryState::Running {
            break run;
        }
        tokio::time::sleep(LOOK).await;
    };
    if screen.is_json() {
        screen.json(&run)?;
    }
    match run.state {
        RecoveryState::Completed => Ok(Exit::Done.into()),
        state => {
            let why = run.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            Err(Failure::Other(anyhow::anyhow!("{id} has not come to its end, it is {state}{why}")))
        }
    }
}

fn word(what: Again) -> &'static str {
    match what {
        Again::One => "one delivery",
        Again::Failed => "failed",
        Again::Missed => "missed",
        Again::All => "all",
        Again::Backlog => "backlog of a pause",
    }
}
