//! The handlers: each writes a line when it begins and one when it ends, and between does what its job says.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tidemill::job::{Done, JobError, JobId};
use tidemill::worker::{Context, Handler};

use crate::act::{Act, Tick, Work};
use crate::event::{Log, What};
use crate::steps::{self, Doom};

/// What the handlers of a process share.
#[derive(Debug)]
pub struct Bench {
    /// Where effects are written.
    pub log: Arc<Log>,
    /// The process' end.
    pub doom: Doom,
}

impl Bench {
    /// Runs `act` as one effect: entered and left in the log. Answers how it ended.
    pub async fn effect(&self, job: JobId, epoch: u64, attempt: u32, act: Act, pace: &impl Pace) -> How {
        self.log.write(What::Enter { job, epoch, attempt });
        // What is dropped in its middle has ended too.
        let mut leaving = Leaving { log: &self.log, job, epoch, how: "dropped" };
        self.doom.reach(steps::HANDLER_BEGIN);
        let how = self.act(epoch, attempt, act, pace).await;
        leaving.how = match &how {
            How::Well => "well",
            How::Stopped => "stopped",
            How::Failed => "failed",
            How::Later => "later",
            How::Panic => "panic",
            How::Abort => "abort",
        };
        drop(leaving);
        how
    }

    async fn act(&self, epoch: u64, attempt: u32, act: Act, pace: &impl Pace) -> How {
        let well = |well: bool| if well { How::Well } else { How::Stopped };
        match act {
            Act::Fine { ms } => {
                let first = pace.pause(ms / 2).await;
                self.doom.reach(steps::HANDLER_MID);
                if first && ms > 200 {
                    pace.note().await;
                }
                well(first && pace.pause(ms - ms / 2).await)
            }
            Act::Fail { times } if attempt <= times => How::Failed,
            Act::Hopeless => How::Failed,
            Act::Panic { times } if attempt <= times => How::Panic,
            Act::Block { ms } => {
                std::thread::sleep(Duration::from_millis(ms));
                How::Well
            }
            Act::Abort => How::Abort,
            Act::Snooze { times } if epoch <= times => How::Later,
            Act::LongFirst if epoch == 1 => well(pace.pause(110_000).await),
            Act::LongFirst | Act::Fail { .. } | Act::Panic { .. } | Act::Snooze { .. } => well(pace.pause(2).await),
        }
    }
}

struct Leaving<'a> {
    log: &'a Log,
    job: JobId,
    epoch: u64,
    how: &'static str,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.log.write(What::Exit { job: self.job, epoch: self.epoch, how: self.how.into() });
    }
}

/// How an effect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say it themselves")]
pub enum How {
    Well,
    Stopped,
    Failed,
    Later,
    Panic,
    Abort,
}

/// How an effect passes its time.
pub trait Pace: Send + Sync {
    /// Waits; false when it shall stop.
    fn pause(&self, ms: u64) -> impl Future<Output = bool> + Send;
    /// Keeps a word with the job.
    fn note(&self) -> impl Future<Output = ()> + Send;
}

impl Pace for Context {
    async fn pause(&self, ms: u64) -> bool {
        Context::pause(self, Duration::from_millis(ms)).await
    }

    async fn note(&self) {
        // What the store answers stands in the log.
        drop(self.progress(50, "half of it").await);
    }
}

impl Handler for Work {
    type State = Bench;

    async fn run(self, ctx: Context, bench: &Bench) -> Result<Done, JobError> {
        let how = bench.effect(ctx.job_id(), ctx.lease().epoch, ctx.attempt(), self.act, &ctx).await;
        match how {
            How::Well => Ok(Done::default()),
            How::Failed | How::Stopped => Err(anyhow!("it failed as it was told to").into()),
            How::Later => Err(JobError::snooze(Duration::from_millis(100), "told to come later")),
            How::Panic => panic!("told to panic"),
            How::Abort => std::process::abort(),
        }
    }
}

impl Handler for Tick {
    type State = Bench;

    async fn run(self, ctx: Context, bench: &Bench) -> Result<Done, JobError> {
        bench.effect(ctx.job_id(), ctx.lease().epoch, ctx.attempt(), Act::Fine { ms: 2 }, &ctx).await;
        Ok(Done::default())
    }
}
