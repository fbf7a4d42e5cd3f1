//! Handlers that do what a test tells them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::job::{Done, JobError, JobKind, JobSpec, RetryPolicy};
use tidemill::worker::{Context, Handler, Registry};
use tokio::sync::Notify;

/// What handlers have seen, and what lets them go.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) starts: AtomicUsize,
    pub(super) ends: AtomicUsize,
    pub(super) seen: Mutex<Vec<String>>,
    pub(super) go: Notify,
}

impl Stage {
    pub(super) fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }

    pub(super) fn ends(&self) -> usize {
        self.ends.load(Ordering::SeqCst)
    }
}

/// One job that behaves as its payload says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Act {
    Finish,
    FailUntil(u32),
    FailWithRetryAfter(u64),
    Snooze(u64),
    GiveUp,
    Cancel,
    Panic,
    Hang,
    WaitForGo,
    HeedStop,
    Block(u64),
    Follow,
    FollowNowhere,
    Report,
}

impl JobKind for Act {
    const KIND: &'static str = "test.act";
    const QUEUE: &'static str = "fast";
    const MAX_ATTEMPTS: u32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(20);

    fn retry_policy() -> RetryPolicy {
        RetryPolicy::List { delays: vec![Duration::from_millis(5)], jitter: 0.0 }
    }
}

impl Handler for Act {
    type State = Arc<Stage>;

    async fn run(self, ctx: Context, stage: &Arc<Stage>) -> Result<Done, JobError> {
        stage.starts.fetch_add(1, Ordering::SeqCst);
        let done = self.play(&ctx, stage).await;
        stage.ends.fetch_add(1, Ordering::SeqCst);
        done
    }
}

impl Act {
    async fn play(self, ctx: &Context, stage: &Stage) -> Result<Done, JobError> {
        match self {
            Self::Finish => Ok(Done::with("done")),
            Self::FailUntil(attempt) if ctx.attempt() < attempt => {
                Err(anyhow::anyhow!("attempt {} fails", ctx.attempt()).into())
            }
            Self::FailUntil(_) => Ok(Done::default()),
            Self::FailWithRetryAfter(ms) if ctx.attempt() == 1 => {
                Err(JobError::retry_after(anyhow::anyhow!("too many requests"), Duration::from_millis(ms)))
            }
            Self::FailWithRetryAfter(_) => Ok(Done::default()),
            Self::Snooze(ms) if stage.starts() == 1 => {
                Err(JobError::snooze(Duration::from_millis(ms), "not ready yet"))
            }
            Self::Snooze(_) => Ok(Done::with(ctx.attempt())),
            Self::GiveUp => Err(JobError::dead(anyhow::anyhow!("no such account"))),
            Self::Cancel => Err(JobError::cancelled("no longer wanted")),
            Self::Panic => panic!("a bug in a handler"),
            Self::Hang => std::future::pending().await,
            Self::WaitForGo => {
                stage.go.notified().await;
                Ok(Done::default())
            }
            Self::HeedStop => {
                ctx.cancelled().cancelled().await;
                Err(JobError::retry(anyhow::anyhow!("stopped half way")))
            }
            Self::Block(ms) => {
                std::thread::sleep(Duration::from_millis(ms));
                Ok(Done::default())
            }
            Self::Follow => Ok(Done::default().then(JobSpec::of(&Self::Finish)?.tag("child"))),
            Self::FollowNowhere => Ok(Done::default().then(JobSpec::of(&Self::Finish)?.on("nowhere".parse()?))),
            Self::Report => {
                ctx.progress(40, "half way").await?;
                ctx.log("looked at page 1").await?;
                stage.seen.lock().unwrap().push(format!("{} {:?}", ctx.correlation_id(), ctx.tenant()));
                Ok(Done::with(ctx.lease().epoch))
            }
        }
    }
}

pub(super) fn registry(stage: &Arc<Stage>) -> Registry {
    let mut registry = Registry::new();
    registry.register::<Act>(Arc::new(Arc::clone(stage))).unwrap();
    registry
}
