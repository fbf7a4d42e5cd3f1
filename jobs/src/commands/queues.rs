//! `tidemill queues`: list, pause, resume, purge.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidemill::admin::{Admin, Ask, Desk, May, Place};
use tidemill::clock::Timestamp;
use tidemill::job::QueueName;

use crate::cli::{Align, Common, EXIT_CODES, Exit, Failure, Pages, Screen};

/// Look at queues; pause, resume or purge them
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  tidemill queues list
  tidemill queues pause reports
  tidemill queues purge reports --yes

{EXIT_CODES}"))]
pub struct Queues {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List all queues with how many jobs are in which state
    List(Pages<Place>),
    /// Give out no more jobs of a queue; what runs goes on
    Pause {
        /// The queue's name
        queue: QueueName,
    },
    /// Give them out again
    Resume {
        /// The queue's name
        queue: QueueName,
    },
    /// Cancel all waiting jobs of a queue; what runs goes on
    Purge {
        /// The queue's name
        queue: QueueName,
        /// Yes, cancel them all
        #[arg(long)]
        yes: bool,
    },
}

impl Queues {
    /// Does what was asked.
    ///
    /// # Errors
    /// When the queue is unknown or the store did not answer.
    pub async fn run(self, desk: &Desk, now: Timestamp, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let may = self.common.may();
        let mut screen = Screen::new(out, self.common.json, now);
        match self.what {
            What::List(pages) => list(desk, &may, &pages.into(), &mut screen).await?,
            What::Pause { queue } => {
                let done = desk.pause(&may, &queue).await?;
                let words = if done.changed { "is paused" } else { "was paused before" };
                screen.say(&done, format!("{queue} {words}; what runs goes on"))?;
            }
            What::Resume { queue } => {
                let done = desk.resume(&may, &queue).await?;
                let words = if done.changed { "gives out jobs again" } else { "was not paused" };
                screen.say(&done, format!("{queue} {words}"))?;
            }
            What::Purge { queue, yes: false } => {
                let advice = format!("this cancels every waiting job of {queue}: repeat it with --yes");
                return Err(Failure::Usage(advice));
            }
            What::Purge { queue, yes: true } => {
                let done = desk.purge(&may, &queue).await?;
                let rest = if done.more { "; there are more, repeat it" } else { "" };
                screen.say(&done, format!("cancelled {} waiting jobs of {queue}{rest}", done.cancelled))?;
            }
        }
        Ok(Exit::Done.into())
    }
}

async fn list(desk: &Desk, may: &May<Admin>, ask: &Ask, screen: &mut Screen<'_>) -> Result<(), Failure> {
    use Align::{Left, Right};
    let page = desk.queues(may, ask).await?;
    let columns = [
        ("QUEUE", Left),
        ("READY", Right),
        ("SCHEDULED", Right),
        ("RUNNING", Right),
        ("DEAD", Right),
        ("COMPLETED", Right),
        ("OLDEST READY", Right),
        ("", Left),
    ];
    let none = "no queues are known yet: `tidemill serve` makes the configured ones known";
    Ok(screen.page(&page, &columns, none, |queue, _| {
        vec![
            queue.queue.to_string(),
            queue.ready.to_string(),
            queue.scheduled.to_string(),
            queue.running.to_string(),
            queue.dead.to_string(),
            queue.completed_total.to_string(),
            queue.oldest_ready_ms.map_or_else(String::new, |ms| format!("{}.{} s", ms / 1_000, ms / 100 % 10)),
            if queue.paused { "paused".to_owned() } else { String::new() },
        ]
    })?)
}
