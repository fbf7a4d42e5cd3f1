//! The producer's part: asks for jobs at a steady pace, and asks again, with the same ids, wherever it is unsure.
//!
//! Every call is written down before it is made and after it is answered. A timeout, and an error that may have come after the
//! write, is unsure and never a failure. A producer that was killed reads the logs of its earlier lives and goes on
//! from there; after SIGTERM it asks for nothing new, makes sure of the rest and exits 0.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidemill::clock::{Clock, Entropy};
use tidemill::store::{Store, StoreError};
use tokio::signal::unix::{SignalKind, signal};

use crate::act::{self, Mix, Order};
use crate::event::{Log, What};
use crate::history;
use crate::steps;
use crate::watch::Watched;
use crate::worker::{Part, opened, patiently, queues};

/// What a producer is told.
#[derive(Args, Clone, Debug)]
pub struct ProducerPart {
    /// What every part is told.
    #[command(flatten)]
    pub part: Part,
    /// The series; the same in all its lives.
    #[arg(long)]
    pub series: u64,
    /// New jobs a second.
    #[arg(long)]
    pub per_second: u64,
    /// Jobs in all; 0: until SIGTERM.
    #[arg(long, default_value_t = 0)]
    pub count: u64,
    /// Jobs of one call at most.
    #[arg(long, default_value_t = 5)]
    pub batch: u64,
    /// A call that takes longer is unsure.
    #[arg(long, default_value_t = 3_000)]
    pub timeout_ms: u64,
    /// What it asks for, as JSON.
    #[arg(long, value_parser = mix)]
    pub mix: Mix,
}

fn mix(text: &str) -> Result<Mix, serde_json::Error> {
    serde_json::from_str(text)
}

/// Plays a producer.
///
/// # Errors
/// When it can't begin.
pub async fn run(args: ProducerPart) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let before = Before::read(&args)?;
    let (log, doom) = args.part.begin("producer")?;
    doom.begin(steps::OPEN);
    let open = async || opened(&args.part.store, args.part.rules(), Clock::system()).await;
    let Some(store) = patiently(&mut term, open).await else { return Ok(()) };
    let store: Arc<dyn Store> = Arc::new(Watched::new(store?, Arc::clone(&log), doom));
    let Some(declared) = patiently(&mut term, async || store.declare_queues(queues()).await).await else {
        return Ok(());
    };
    declared?;
    let entropy = Entropy::seeded(args.part.seed);
    let mut producer = Producer { args, log, store, call: before.calls, unsure: before.unsure.into() };
    let (mut nth, mut stopping) = (before.next, false);
    let mut due = tokio::time::Instant::now();
    loop {
        let wanted = producer.args.count == 0 || nth < producer.args.count;
        if (stopping || !wanted) && producer.unsure.is_empty() {
            return Ok(());
        }
        if !stopping && wanted {
            let mut n = 1 + entropy.below(producer.args.batch);
            if producer.args.count > 0 {
                n = n.min(producer.args.count - nth);
            }
            producer.ask((nth..nth + n).collect()).await?;
            nth += n;
            due += Duration::from_micros(1_000_000 * n / producer.args.per_second.max(1));
        }
        if let Some(unsure) = producer.unsure.pop_front() {
            producer.ask(unsure).await?;
            due = due.max(tokio::time::Instant::now() + Duration::from_millis(20));
        }
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            _ = term.recv(), if !stopping => stopping = true,
        }
    }
}

struct Producer {
    args: ProducerPart,
    log: Arc<Log>,
    store: Arc<dyn Store>,
    call: u64,
    unsure: VecDeque<Vec<u64>>,
}

impl Producer {
    async fn ask(&mut self, nths: Vec<u64>) -> anyhow::Result<()> {
        let call = self.call;
        self.call += 1;
        let order = |nth: &u64| act::order(self.args.series, self.args.mix, *nth);
        let orders = nths.iter().map(order).collect::<anyhow::Result<Vec<Order>>>()?;
        let (asked, jobs) = orders.into_iter().map(|order| (order.asked, order.job)).unzip();
        self.log.write(What::Asked { call, jobs: asked });
        let limit = Duration::from_millis(self.args.timeout_ms);
        let error = match tokio::time::timeout(limit, self.store.enqueue(jobs)).await {
            Ok(Ok(_)) => {
                self.log.write(What::Acked { call });
                return Ok(());
            }
            Ok(Err(error @ (StoreError::Full { .. } | StoreError::ReadOnly { .. }))) => {
                self.log.write(What::Refused { call, error: error.to_string() });
                self.unsure.push_back(nths);
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {limit:?}"),
        };
        self.log.write(What::Unsure { call, error });
        self.unsure.push_back(nths);
        Ok(())
    }
}

/// What its earlier lives have left.
struct Before {
    next: u64,
    calls: u64,
    unsure: Vec<Vec<u64>>,
}

impl Before {
    fn read(args: &ProducerPart) -> anyhow::Result<Self> {
        let (mut asked, mut acked, mut calls) = (BTreeMap::new(), BTreeSet::new(), 0);
        for life in 0..args.part.life {
            let path = args.part.dir.join(format!("{}.{life}.log", args.part.node));
            for event in history::read_log(&path)?.0 {
                match event.what {
                    What::Asked { call, jobs } => {
                        calls = calls.max(call + 1);
                        asked.insert(call, jobs.iter().map(|job| job.nth).collect::<Vec<_>>());
                    }
                    What::Acked { call } => acked.extend(asked.get(&call).into_iter().flatten().copied()),
                    _ => {}
                }
            }
        }
        let next = asked.values().flatten().max().map_or(0, |nth| nth + 1);
        let open: Vec<u64> = (0..next).filter(|nth| !acked.contains(nth)).collect();
        let batch = usize::try_from(args.batch.max(1))?;
        Ok(Self { next, calls, unsure: open.chunks(batch).map(<[u64]>::to_vec).collect() })
    }
}
