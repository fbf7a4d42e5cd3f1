//! What a sandbox shows: who is where, then counts that move. On a terminal the counts are renewed in place.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidemill::clock::{Clock, Timestamp};
use tidemill::metrics;
use tidemill::store::{Counts, Store};
use tidemill::telemetry::Recorder;
use tokio_util::sync::CancellationToken;

use super::SandboxOptions;
use super::story::Story;
use super::world::World;
use crate::fakes::gpu_market::Market;
use crate::fakes::receiver::Receiver;

const ON_TERMINAL: Duration = Duration::from_secs(1);
const IN_A_FILE: Duration = Duration::from_secs(10);

/// Says where everything is.
pub(super) fn introduce(
    options: &SandboxOptions,
    public: SocketAddr,
    operators: SocketAddr,
    world: &World,
    key: &str,
    link: &str,
) {
    println!(
        "Tidemill sandbox. Everything below runs on this machine; Ctrl-C stops it, and it goes on from there next time.

  webhooks in     http://{public}/webhooks/stripe
  operators       http://{operators}/api/v1/queues      (docs/api.md)
  operator key    {key}
                  good for 24 hours or until the next start; try:
                  curl -H 'X-API-Key: {key}' 'http://{operators}/api/v1/jobs?state=dead'
  consumers' page {link}
                  its endpoints, attempts and payloads; for a browser, good for 24 hours or until the next start
  fakes           market {}   bank {}   payments {}   receiver {}
  data            {}
",
        world.market.url,
        world.bank.url,
        world.stripe.url,
        world.receiver.url,
        options.data_dir.display(),
    );
}

/// Shows counts until it is told to stop, and once more then.
#[derive(Debug)]
pub(super) struct Summary {
    store: Arc<dyn Store>,
    recorder: Recorder,
    market: Market,
    receiver: Receiver,
    story: Arc<Story>,
    clock: Clock,
    begun: Timestamp,
}

impl Summary {
    pub(super) fn new(
        store: Arc<dyn Store>,
        recorder: Recorder,
        world: &World,
        story: Arc<Story>,
        clock: Clock,
    ) -> Self {
        let begun = clock.now();
        let (market, receiver) = (world.market.state.clone(), world.receiver.state.clone());
        Self { store, recorder, market, receiver, story, clock, begun }
    }

    pub(super) async fn show(self, stop: CancellationToken) {
        let terminal = std::io::stdout().is_terminal();
        let every = if terminal { ON_TERMINAL } else { IN_A_FILE };
        let mut shown = 0;
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let Ok(counts) = self.store.counts().await else { continue };
            let lines = self.lines(&counts);
            let mut out = std::io::stdout().lock();
            if terminal && shown > 0 {
                // Up by the lines shown before; each is cleared as it is written again.
                drop(write!(out, "\x1b[{shown}A"));
            }
            for line in &lines {
                let clear = if terminal { "\x1b[2K" } else { "" };
                drop(writeln!(out, "{clear}{line}"));
            }
            drop(out.flush());
            shown = lines.len();
        }
        println!("stopping: running jobs finish, then the process ends");
    }

    fn lines(&self, counts: &Counts) -> Vec<String> {
        let rendered = self.recorder.render();
        let outcome = |outcome: &str| total(&rendered, metrics::OUTCOMES, &[("outcome", outcome)]);
        let polls = total(&rendered, metrics::OUTCOMES, &[("kind", "market.poll"), ("outcome", "completed")]);
        let story = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        let delivered = self.receiver.counts();
        let mut lines = vec![
            format!(
                "{:>6} s   polls done {polls} (market asked {}x, {} unchanged)",
                self.clock.now().since(self.begun).as_secs(),
                self.market.moods.requests(),
                self.market.not_modified(),
            ),
            format!(
                "           webhooks verified {}   sent twice {}   forged and refused {}",
                story(&self.story.accepted),
                story(&self.story.repeated),
                story(&self.story.forged),
            ),
            format!(
                "           deliveries accepted by the receiver {}   repeated {}   bad signatures {}",
                delivered.accepted, delivered.repeated, delivered.refused,
            ),
            format!(
                "           retries {}   dead {}   snoozed {}",
                outcome("retry"),
                outcome("dead"),
                outcome("snooze")
            ),
            format!(
                "           {:<16} {:>10} {:>7} {:>8} {:>10} {:>6}",
                "queue", "completed", "ready", "running", "scheduled", "dead"
            ),
        ];
        lines.extend(counts.queues.iter().map(|queue| {
            format!(
                "           {:<16} {:>10} {:>7} {:>8} {:>10} {:>6}",
                queue.queue.as_str(),
                queue.completed_total,
                queue.ready,
                queue.running,
                queue.scheduled,
                queue.dead,
            )
        }));
        lines
    }
}

/// The sum of a counter's series that have all these labels, read from its own rendering.
fn total(rendered: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let has = |series: &str| labels.iter().all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")));
    let values = rendered.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (series, value) = rest.rsplit_once(' ')?;
        (series.starts_with('{') && has(series)).then(|| value.parse::<u64>().ok())?
    });
    values.sum()
}
