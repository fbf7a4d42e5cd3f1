//! The real binary, killed again and again under load, and judged from outside: nothing lost, nothing finished twice.
//!
//! [`rig`] runs the binary with fakes around it, [`sender`] posts signed webhooks until they are accepted, [`history`] is
//! what an observer knows afterwards, [`checker`] judges it, [`ingress`] has the promises of webhooks in, [`fanout`] and
//! [`recovery`] those of webhooks out, and [`forged`] proves that the checker sees what it must.

mod checker;
mod dump;
mod fanout;
mod forged;
mod history;
mod ingress;
mod on_redis;
mod recovery;
mod rig;
mod sender;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, Instant};

use tidemill::clock::Entropy;
use tidemill_jobs::fakes::Trouble;

use self::checker::{AtLeast, Report, check};
use self::history::{History, Job};
use self::rig::Rig;

/// Set it to the seed that a failed run has printed, to have the same events and the same times between kills again.
const SEED: Option<u64> = None;
const KILLS: usize = 30;
const PATIENCE: Duration = Duration::from_secs(60);
/// Shorter leases than shipped, so that jobs come back between one kill and the next; and any number of crashes, because
/// here they are nobody's fault.
const HASTY: &str = "[worker]\nlease_ms = 1500\nbeat_ms = 300\ncrash_limit = 100\n";

fn seed() -> u64 {
    SEED.unwrap_or_else(|| Entropy::system().below(u64::MAX))
}

/// Past the test harness, which would keep it for failures alone.
fn say(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

fn judge(name: &str, seed: u64, history: &History, at_least: AtLeast) -> Report {
    let report = check(history, at_least);
    say(&format!("{name}: seed {seed}, {report}"));
    let some: Vec<_> = report.faults.iter().take(20).collect();
    assert!(some.is_empty(), "seed {seed}: {} faults, the first are {some:#?}", report.faults.len());
    report
}

fn running_deliveries(jobs: &[Job]) -> usize {
    jobs.iter().filter(|job| job.kind == "webhook.deliver" && job.state == "running").count()
}

/// One in six deliveries is slow, heard but answered late, or refused.
fn give_moods(rig: &Rig, entropy: Entropy) {
    let ms = Duration::from_millis;
    let troubles = vec![
        Trouble::Slow(ms(300)),
        Trouble::Slow(ms(1_200)),
        Trouble::Late(ms(300)),
        Trouble::Late(ms(1_200)),
        Trouble::Status(503),
    ];
    rig.receiver.state.moods.at_rate(0.15, troubles, entropy);
}

async fn killed_under_load(name: &str, seed: u64, mut rig: Rig, kills: usize) {
    let entropy = Entropy::seeded(seed);
    give_moods(&rig, Entropy::seeded(seed ^ 1));
    rig.start();
    rig.ready().await;
    let sender = rig.sender(Duration::from_millis(25));
    for _ in 0..kills {
        // At any moment, also while it is starting.
        tokio::time::sleep(Duration::from_millis(150 + entropy.below(3_700))).await;
        rig.kill();
        rig.start();
    }
    rig.ready().await;
    let sent = sender.stop(PATIENCE).await;
    rig.drained().await;
    rig.stop().await;
    let at_least = AtLeast { acked: 33 * kills, kills, kills_with_running: kills / 3 };
    judge(name, seed, &rig.history(sent, 0), at_least);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_webhook_is_lost_and_none_finishes_twice_through_thirty_kills() {
    let seed = seed();
    let rig = Rig::new(HASTY, Entropy::seeded(seed)).await;
    killed_under_load("thirty kills", seed, rig, KILLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_shipped_settings_a_killed_workers_jobs_run_again_within_ten_seconds() {
    let seed = seed();
    let entropy = Entropy::seeded(seed);
    let mut rig = Rig::new("", entropy.clone()).await;
    rig.receiver.state.moods.at_rate(0.5, vec![Trouble::Slow(Duration::from_secs(1))], Entropy::seeded(seed ^ 1));
    rig.start();
    rig.ready().await;
    let sender = rig.sender(Duration::from_millis(50));
    for _ in 0..3 {
        rig.when("deliveries run", |jobs| running_deliveries(jobs) >= 3).await;
        tokio::time::sleep(Duration::from_millis(entropy.below(500))).await;
        rig.kill();
        rig.start();
        // To the end: a job that three kills in a row cut off would be dead, and rightly so.
        let cut_off: BTreeSet<String> = rig.kills.last().unwrap().running().map(|job| job.id.clone()).collect();
        rig.when("what was cut off is done", |jobs| !jobs.iter().any(|job| cut_off.contains(&job.id))).await;
    }
    rig.ready().await;
    let sent = sender.stop(PATIENCE).await;
    rig.drained().await;
    rig.stop().await;
    let at_least = AtLeast { acked: 100, kills: 3, kills_with_running: 3 };
    let report = judge("shipped settings", seed, &rig.history(sent, 0), at_least);
    assert!(report.recovery.len() >= 3, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_under_load_hands_back_at_once_and_exits_0() {
    let seed = seed();
    let mut rig = Rig::new("[worker]\ngrace_seconds = 1\n", Entropy::seeded(seed)).await;
    rig.start();
    rig.ready().await;
    rig.receiver.state.moods.always(Some(Trouble::Slow(Duration::from_secs(30))));
    let sender = rig.sender(Duration::from_millis(10));
    rig.when("deliveries run", |jobs| running_deliveries(jobs) >= 20).await;
    rig.terminate();
    let (status, took) = rig.ended(Duration::from_secs(15)).await;
    assert_eq!(status.code(), Some(0), "a clean stop");
    assert!(took < Duration::from_secs(1 + 5), "the grace is a second, it took {took:?}");

    let left = rig.dump();
    assert_eq!(left.alive, [""; 0], "it has signed off");
    let back: Vec<_> = left
        .jobs
        .iter()
        .filter(|job| job.kind == "webhook.deliver" && job.epoch > 0 && job.state != "completed")
        .collect();
    assert!(back.len() >= 20, "{} deliveries were handed back", back.len());
    for job in &back {
        assert_eq!((job.state.as_str(), job.attempt, job.crashes), ("ready", 0, 0), "at once and uncharged: {job:?}");
    }
    let handed_back = back.len();

    rig.receiver.state.moods.always(None);
    rig.start();
    rig.ready().await;
    let sent = sender.stop(PATIENCE).await;
    rig.drained().await;
    rig.stop().await;
    let history = rig.history(sent, 1);
    judge("a clean stop", seed, &history, AtLeast { acked: 20, ..AtLeast::default() });
    assert!(history.dump.jobs.iter().all(|job| job.crashes == 0 && job.attempt == 1), "each was charged one attempt");
    assert_eq!(history.received.len(), history.dump.deliveries.len(), "the receiver got each once");
    say(&format!("a clean stop: {handed_back} deliveries handed back, exit 0 after {} ms", took.as_millis()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_exits_at_once() {
    let seed = seed();
    let mut rig = Rig::new(HASTY, Entropy::seeded(seed)).await;
    rig.start();
    rig.ready().await;
    rig.receiver.state.moods.always(Some(Trouble::Slow(Duration::from_secs(30))));
    let sender = rig.sender(Duration::from_millis(10));
    rig.when("deliveries run", |jobs| running_deliveries(jobs) >= 5).await;
    rig.terminate();
    rig.says("stopping: no more work is taken").await;
    rig.terminate();
    let (status, took) = rig.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(130));
    assert!(took < Duration::from_secs(2), "at once, not after {took:?} of a grace of 25 s");

    rig.receiver.state.moods.always(None);
    rig.start();
    rig.ready().await;
    let sent = sender.stop(PATIENCE).await;
    rig.drained().await;
    rig.stop().await;
    judge("a second signal", seed, &rig.history(sent, 1), AtLeast { acked: 5, ..AtLeast::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_is_idle_in_under_60_mib() {
    let mut rig = Rig::new("", Entropy::seeded(seed())).await;
    rig.start();
    rig.ready().await;
    let (start, mut most) = (Instant::now(), 0);
    let mut look = tokio::time::interval(Duration::from_millis(100));
    while start.elapsed() < Duration::from_secs(5) {
        look.tick().await;
        most = most.max(rig.resident_kib());
    }
    rig.stop().await;
    say(&format!("idle: at most {:.1} MiB resident", most as f64 / 1024.0));
    assert!(most < 60 * 1024, "{most} KiB");
}
