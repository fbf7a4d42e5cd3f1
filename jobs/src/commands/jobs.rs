//! `tidemill jobs`: list, show, retry, cancel, delete.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidemill::admin::{Admin, Desk, JobOnDesk, May};
use tidemill::clock::Timestamp;
use tidemill::job::{JobId, JobState, QueueName};
use tidemill::store::{Cancel, Cursor, ListQuery, RetryDead, WhyNot};

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Pages, Screen, each};

/// Look at jobs; retry, cancel or delete them
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill jobs list --state dead
  tidemill jobs show 0198c5b2-7f00-7000-8000-000000000000
  tidemill jobs list --state dead --json | jq -r '.items[].id' | xargs tidemill jobs retry

{EXIT_CODES}"))]
pub struct Jobs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List jobs, without their payloads
    List(List),
    /// Show one job: payload, result, errors, log, and why it is not running
    Show {
        /// The job's id
        id: JobId,
    },
    /// Run dead jobs again, or scheduled ones now
    Retry {
        /// The jobs' ids
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
    /// Cancel jobs; the holder of a running one is asked to stop
    Cancel {
        /// The jobs' ids
        #[arg(required = true)]
        ids: Vec<JobId>,
        /// Why; kept with the job
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take finished jobs away for good
    Delete {
        /// The jobs' ids
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
}

/// The filter of `jobs list`.
#[derive(Debug, Args)]
struct List {
    /// Only of this queue
    #[arg(long, short)]
    queue: Option<QueueName>,
    /// Only in this state: scheduled, ready, running, completed, dead, cancelled
    #[arg(long, short)]
    state: Option<JobState>,
    /// Only of this kind
    #[arg(long, short)]
    kind: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    pages: Pages<Cursor>,
}

impl Jobs {
    /// Does what was asked.
    ///
    /// # Errors
    /// When a job is unknown, its state does not allow it, or the store did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::List(filter) => list(desk, &may, filter, &mut screen).await,
            What::Show { id } => show(&desk.job(&may, id).await?, &mut screen),
            What::Retry { ids } => {
                each(&ids, &mut screen, async |id| {
                    let says = match desk.retry(&may, *id).await? {
                        RetryDead::Revived => "ready again, attempts counted from zero",
                        RetryDead::RunNow => "ready now",
                    };
                    Ok(says.to_owned())
                })
                .await
            }
            What::Cancel { ids, reason } => {
                each(&ids, &mut screen, async |id| {
                    let says = match desk.cancel(&may, *id, &reason).await? {
                        Cancel::Cancelled => "cancelled",
                        Cancel::Requested => "is running; its worker is told to stop it",
                    };
                    Ok(says.to_owned())
                })
                .await
            }
            What::Delete { ids } => {
                each(&ids, &mut screen, async |id| desk.delete(&may, *id).await.map(|()| "deleted".to_owned())).await
            }
        }
    }
}

async fn list(desk: &Desk, may: &May<Admin>, filter: List, screen: &mut Screen<'_>) -> Result<ExitCode, Failure> {
    use Align::{Left, Right};
    let List { queue, state, kind, tenant, pages: Pages { limit, cursor } } = filter;
    let (kind, tenant) = (kind.map(Into::into), tenant.map(Into::into));
    let page = desk.jobs(may, ListQuery { queue, state, kind, tenant, cursor, limit: limit.get() }).await?;
    let columns = [
        ("ID", Left),
        ("STATE", Left),
        ("QUEUE", Left),
        ("KIND", Left),
        ("TRIES", Right),
        ("WHEN", Left),
        ("LAST ERROR", Left),
    ];
    screen.page(&page, &columns, "no such jobs", |job, screen| {
        let when = match job.state {
            JobState::Scheduled | JobState::Ready => job.run_at,
            JobState::Running => job.started_at.unwrap_or(job.run_at),
            JobState::Completed | JobState::Dead | JobState::Cancelled => job.finished_at.unwrap_or(job.run_at),
        };
        vec![
            job.id.to_string(),
            job.state.to_string(),
            job.queue.to_string(),
            job.kind.to_string(),
            format!("{}/{}", job.attempt, job.max_attempts),
            screen.relative(when),
            job.failures.last().map(|f| f.error.clone()).unwrap_or_default(),
        ]
    })?;
    Ok(Exit::Done.into())
}

fn show(shown: &JobOnDesk, screen: &mut Screen<'_>) -> Result<ExitCode, Failure> {
    if screen.is_json() {
        screen.json(shown)?;
        return Ok(Exit::Done.into());
    }
    let job = &shown.job;
    let state = job.dead_reason.map_or(job.state.to_string(), |reason| format!("{} ({reason})", job.state));
    screen.facts([
        ("id", job.id.to_string()),
        ("kind", job.kind.to_string()),
        ("queue", format!("{}, priority {}", job.queue, job.priority.get())),
        ("state", state),
        ("why", shown.why.as_ref().map_or_else(|| "pruned in this moment".to_owned(), |why| words(why, screen))),
        ("tries", format!("{} of {}, {} crashes", job.attempt, job.max_attempts, job.crashes)),
        ("enqueued", format!("{} ({}) by {}", job.created_at, screen.relative(job.created_at), job.enqueued_by)),
        ("due", format!("{} ({})", job.run_at, screen.relative(job.run_at))),
        ("started", job.started_at.map_or_else(String::new, |at| format!("{at} ({})", screen.relative(at)))),
        ("finished", job.finished_at.map_or_else(String::new, |at| format!("{at} ({})", screen.relative(at)))),
        ("tenant", job.tenant.as_deref().unwrap_or_default().to_owned()),
        ("unique key", job.unique_key.as_deref().unwrap_or_default().to_owned()),
        ("correlation", job.correlation_id.as_deref().unwrap_or_default().to_owned()),
        ("tags", job.tags.join(", ")),
        ("progress", job.progress.as_ref().map_or_else(String::new, |p| format!("{} % {}", p.percent, p.note))),
        ("payload", job.payload.get().to_owned()),
        ("result", job.result.as_ref().map_or_else(String::new, |r| r.get().to_owned())),
    ])?;
    for failure in &job.failures {
        let when = screen.relative(failure.at);
        screen.line(format!("{:<11}  try {}, {when}: {}", "error", failure.attempt, failure.error))?;
    }
    for line in &shown.logs {
        let when = screen.relative(line.at);
        screen.line(format!("{:<11}  try {}, {when}: {}", "log", line.attempt, line.line))?;
    }
    Ok(Exit::Done.into())
}

fn words(why: &WhyNot, screen: &Screen<'_>) -> String {
    match why {
        WhyNot::Running { holder, since } => format!("worker {holder} runs it, since {}", screen.relative(*since)),
        WhyNot::Finished { state } => format!("it is {state}"),
        WhyNot::NotDue { run_at } => format!("it is due {}", screen.relative(*run_at)),
        WhyNot::QueuePaused => "its queue is paused: `tidemill queues resume`".to_owned(),
        WhyNot::NoWorker => "no live worker serves its queue: `tidemill serve`".to_owned(),
        WhyNot::RateLimited { until } => format!("its queue's rate is used up until {until}"),
        WhyNot::Waiting { ahead } => format!("{ahead} others are before it"),
    }
}
