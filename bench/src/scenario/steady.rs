//! `steady`: an open loop. A job is sent at each beat of a clock that waits for nobody, and its latency runs from the
//! *intended* moment to the handler's first line, so that a stall shows in every job that it held up.
//!
//! The sender is a thread of its own that meets its moments to a few microseconds and makes the call itself: neither a
//! timer's lateness nor a hand-over between threads of the bench is taken for the engine's.

use std::task::{Context as Polling, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tidemill::queue::Queue;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{OURS, rate};
use crate::cli::Common;
use crate::latency::Latencies;
use crate::machine;
use crate::measurement::Measurement;
use crate::payload::{Noop, Stage};
use crate::rig::{CONCURRENCY, Rig};

/// Connections, caches and the scheduler get so long before the first job that counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// A sleep ends up to a tenth of a millisecond late, twice that on a bad day: so long before its moment the sender wakes up and
/// looks at the clock until it has come. At 100 a second this is 2 % of one core.
const AWAKE_BEFORE: Duration = Duration::from_micros(200);

type Sent = JoinHandle<anyhow::Result<()>>;

/// Sends at a fixed rate and takes the pick-up latency
#[derive(Debug, Args)]
pub struct Steady {
    #[command(flatten)]
    common: Common,
    /// Jobs a second
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Seconds, where --jobs is not given
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
}

impl Steady {
    /// Runs it.
    ///
    /// # Errors
    /// When the store fails or a job is lost.
    pub async fn run(self) -> anyhow::Result<()> {
        anyhow::ensure!(self.rate > 0.0 && self.seconds > 0.0, "a rate and a time above zero are needed");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be above zero")]
        let jobs = self.common.jobs((self.rate * self.seconds) as u64);
        let every = Duration::from_secs_f64(1.0 / self.rate);
        let place = self.common.place().await?;
        let rig = Rig::open(place.url()).await?;
        let stage = Stage::timing(jobs);
        let worker = rig.worker(&stage, CONCURRENCY).await?;
        machine::reset_peak();
        let start = machine::resident();

        let first = stage.begun.elapsed() + WARM_UP;
        let intended = move |i: u64| first + every.mul_f64(i as f64);
        let sending = sender(stage.begun, intended, jobs, rig.queue.clone())?;
        for sent in sending.await.context("the sending thread ended early")?? {
            sent.await??;
        }
        stage.census.reaches(jobs).await?;
        let last = stage.begun.elapsed();
        rig.settled(jobs).await?;
        let mut line = Measurement::new("steady", OURS, &place.facts().await?, jobs).memory(start);
        worker.drain(Duration::from_secs(25)).await?;
        stage.census.verdict()?;

        let mut waits = Latencies::new()?;
        for i in 0..jobs {
            let arrival = stage.arrival(i).context("a job that was counted has no arrival")?;
            waits.record(arrival.saturating_sub(intended(i)));
        }
        line = line.latencies(&waits);
        line.offered_per_second = Some(self.rate);
        line.achieved_per_second = Some(rate(jobs, last.saturating_sub(first) + every));
        line.concurrency = Some(u64::try_from(CONCURRENCY)?);
        line.lost = Some(0);
        self.common.out().print(&line)?;
        rig.end().await;
        place.clear().await
    }
}

/// Sends each job at its moment from a thread of its own; answers when the last is on its way.
fn sender(
    begun: Instant,
    intended: impl Fn(u64) -> Duration + Send + 'static,
    jobs: u64,
    queue: Queue,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<Vec<Sent>>>> {
    let (done, all) = oneshot::channel();
    let runtime = Handle::current();
    let run = move || {
        let send_all = || (0..jobs).map(|i| send(&runtime, &queue, i, || wait_until(begun, intended(i)))).collect();
        // Nobody waits any more when the run was broken off.
        drop(done.send(send_all()));
    };
    std::thread::Builder::new().name("sender".to_owned()).spawn(run)?;
    Ok(all)
}

/// Makes job `i`'s call at the moment that `wait` ends at, and leaves the rest of it to the runtime: an open loop waits for
/// no answer.
fn send(runtime: &Handle, queue: &Queue, i: u64, wait: impl FnOnce()) -> anyhow::Result<Sent> {
    let spec = Noop::spec(i)?;
    let queue = queue.clone();
    let mut enqueue = Box::pin(async move { queue.enqueue(spec).await.map(drop).map_err(anyhow::Error::from) });
    let _inside = runtime.enter();
    wait();
    // This poll hands the job over; the runtime's first one hears the answer.
    Ok(match enqueue.as_mut().poll(&mut Polling::from_waker(Waker::noop())) {
        Poll::Ready(sent) => runtime.spawn(std::future::ready(sent)),
        Poll::Pending => runtime.spawn(enqueue),
    })
}

fn wait_until(begun: Instant, moment: Duration) {
    std::thread::sleep(moment.saturating_sub(begun.elapsed() + AWAKE_BEFORE));
    while begun.elapsed() < moment {
        std::hint::spin_loop();
    }
}
