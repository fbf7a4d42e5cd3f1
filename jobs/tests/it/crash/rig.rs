//! The real binary as a child process, with fakes around it, and the ways to end it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tidemill::clock::{Clock, Entropy};
use tidemill_jobs::fakes::receiver::Receiver;
use tidemill_jobs::fakes::stripe::{Account, SECRET_KEY};
use tidemill_jobs::fakes::{self, Fake};
use tidemill_testkit::RedisServer;

use super::dump::{self, Queue};
use super::history::{Dump, History, Job, Kill, Post, Sent};
use super::sender::Sender;

pub(super) const WEBHOOK_SECRET: &str = "whsec_from_stripe";
pub(super) const HOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Rig {
    pub(super) receiver: Fake<Receiver>,
    pub(super) kills: Vec<Kill>,
    stripe: Fake<Account>,
    clock: Clock,
    entropy: Entropy,
    pub(super) public: u16,
    pub(super) operators: u16,
    folder: tempfile::TempDir,
    /// Where its queue is, when that is not a file.
    pub(super) redis: Option<RedisServer>,
    child: Option<Child>,
}

impl Rig {
    /// Starts the fakes; `settings` is TOML added to the configuration. The queue is a file.
    pub(super) async fn new(settings: &str, entropy: Entropy) -> Self {
        Self::with(None, settings, entropy).await
    }

    /// The same, but the queue is in a Redis, asked for this durability.
    pub(super) async fn on_redis(redis: RedisServer, durability: &str, settings: &str, entropy: Entropy) -> Self {
        Self::with(Some((redis, durability)), settings, entropy).await
    }

    async fn with(redis: Option<(RedisServer, &str)>, settings: &str, entropy: Entropy) -> Self {
        let clock = Clock::system();
        let receiver = fakes::receiver::start(0, clock.clone()).await.unwrap();
        receiver.state.trust(HOOK_SECRET);
        receiver.state.keep(usize::MAX);
        let stripe = fakes::stripe::start(0, clock.clone()).await.unwrap();
        let (public, operators) = (free_port(&entropy), free_port(&entropy));
        let folder = tempfile::tempdir().unwrap();
        let store = redis.as_ref().map_or_else(String::new, |(redis, durability)| {
            format!("queue_url = \"{}\"\ndurability = \"{durability}\"\n", redis.url())
        });
        // No delivery is put off by its endpoint's limits: the checker counts each start of a job against its attempts.
        let config = format!(
            "{store}[ingress]\nlisten = \"127.0.0.1:{public}\"\n[admin]\nlisten = \"127.0.0.1:{operators}\"\n\
             [fanout]\nallow_http = true\nallow_addresses = [\"127.0.0.0/8\"]\n\
             retry_delays_ms = [100, 200, 400, 800, 1600, 3200, 6400]\n\
             max_concurrency = 1000\nbreaker_failures = 1000\n\
             [[fanout.endpoints]]\ntenant = \"default\"\nurl = \"{}/hooks\"\nevent_types = [\"billing.*\"]\n\
             secret_env = \"RECEIVER_SECRET\"\n{settings}",
            receiver.url
        );
        std::fs::write(folder.path().join("tidemill.toml"), config).unwrap();
        let redis = redis.map(|(redis, _)| redis);
        Self { receiver, kills: Vec::new(), stripe, clock, entropy, public, operators, folder, redis, child: None }
    }

    /// Starts the binary; does not wait for it.
    pub(super) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let child = self.command("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    /// The binary with the service's configuration.
    pub(super) fn command(&self, command: &str) -> Command {
        let mut binary = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        binary.args([command, "--config"]).arg(self.folder.path().join("tidemill.toml"));
        binary.arg("--data-dir").arg(self.data()).env_clear();
        binary
            .env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
            .env("STRIPE_SECRET_KEY", SECRET_KEY)
            .env("STRIPE_API_URL", &self.stripe.url)
            .env("GPU_MARKET_URL", "off")
            .env("RECEIVER_SECRET", HOOK_SECRET);
        binary
    }

    /// Waits until it answers.
    pub(super) async fn ready(&mut self) {
        let http = tidemill::outbound::client(Duration::from_secs(2)).unwrap();
        let url = format!("http://127.0.0.1:{}/health", self.public);
        let start = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while !http.get(&url).send().await.is_ok_and(|reply| reply.status().is_success()) {
            look.tick().await;
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended while it started: {ended:?}\n{}", self.last_words());
            assert!(start.elapsed() < PATIENCE, "unknown: it does not answer\n{}", self.last_words());
        }
    }

    /// `kill -9`, and a look at what it has left.
    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {ended:?}\n{}", self.last_words());
        child.kill().unwrap();
        child.wait().unwrap();
        let at = self.clock.now().as_ms();
        let since = self.kills.last().map_or(0, |kill| kill.at);
        self.kills.push(Kill { at, seen: dump::seen(self.queue(), since) });
    }

    /// SIGTERM.
    pub(super) fn terminate(&self) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self, within: Duration) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(5));
        loop {
            look.tick().await;
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                self.child = None;
                return (status, start.elapsed());
            }
            assert!(start.elapsed() < within, "it has not ended within {within:?}\n{}", self.last_words());
        }
    }

    /// A clean stop with nothing left to do.
    pub(super) async fn stop(&mut self) {
        self.terminate();
        let (status, _) = self.ended(Duration::from_secs(30)).await;
        assert_eq!(status.code(), Some(0), "{}", self.last_words());
    }

    /// Waits until something is true of the unfinished jobs.
    pub(super) async fn when(&self, what: &str, is: impl Fn(&[Job]) -> bool) {
        let start = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(50));
        loop {
            look.tick().await;
            let jobs = dump::unfinished(self.queue());
            if is(&jobs) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "unknown: {what}, not within {PATIENCE:?}: {}", summary(&jobs));
        }
    }

    /// Waits until all work is done.
    pub(super) async fn drained(&self) {
        self.when("the queue empties", <[Job]>::is_empty).await;
    }

    /// Waits until its log has this text.
    pub(super) async fn says(&self, text: &str) {
        let start = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while !std::fs::read_to_string(self.log()).unwrap().contains(text) {
            look.tick().await;
            assert!(start.elapsed() < PATIENCE, "unknown: it has not said `{text}`\n{}", self.last_words());
        }
    }

    /// One event each `every`.
    pub(super) fn sender(&self, every: Duration) -> Sender {
        let url = format!("http://127.0.0.1:{}/webhooks/stripe", self.public);
        Sender::start(url, self.stripe.state.clone(), every, self.entropy.clone())
    }

    /// All that is known of the run. The service must have ended.
    pub(super) fn history(&self, sent: Vec<Sent>, stops: u64) -> History {
        assert!(self.child.is_none(), "it still runs");
        let (mut received, repeats) = (self.receiver.state.deliveries(), self.receiver.state.repeats());
        received.extend(repeats);
        received.sort_by_key(|delivery| delivery.at);
        let post = |delivery: &fakes::receiver::Delivery| Post {
            message: delivery.id.clone(),
            event: delivery.body["data"]["stripe_event"].as_str().unwrap_or_default().to_owned(),
            at: delivery.at.as_ms(),
        };
        History {
            sent,
            received: received.iter().map(post).collect(),
            kills: self.kills.clone(),
            stops,
            books: dump::books(&self.stripe.state.snapshot()),
            dump: self.dump(),
        }
    }

    /// Its resident memory in KiB.
    pub(super) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.as_ref().unwrap().id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    /// Everything in the stores, which no service must have open.
    pub(super) fn dump(&self) -> Dump {
        dump::read(self.queue(), &self.data())
    }

    fn queue(&self) -> Queue<'_> {
        self.redis.as_ref().map_or_else(|| Queue::File(self.data()), Queue::Server)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn last_words(&self) -> String {
        last_lines(&self.log(), 30)
    }
}

impl Drop for Rig {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn last_lines(file: &Path, n: usize) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}

fn summary(jobs: &[Job]) -> String {
    let mut by_kind = std::collections::BTreeMap::new();
    for job in jobs {
        *by_kind.entry((job.kind.as_str(), job.state.as_str())).or_insert(0) += 1;
    }
    format!("{by_kind:?}")
}

/// Outside the range from which systems take the near ends of outgoing connections: whoever knocks at a port while
/// nobody listens there could be given that very port, and then the service could not have it back.
fn free_port(entropy: &Entropy) -> u16 {
    let candidates = (0..1_000).map(|_| u16::try_from(10_000 + entropy.below(20_000)).unwrap());
    let mut free = candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().unwrap()
}
