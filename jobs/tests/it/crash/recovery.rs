//! `kill -9` of a recovery under way. Promised: it goes on at the batch that it was killed in; a delivery is opened again once
//! and gets one job, so only a POST that a kill has cut off is made again; its counts are those of a run without kills; and it
//! can be cancelled after a restart, which leaves at most the batch in flight to the mending of deliveries.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use tidemill::clock::Entropy;

use super::fanout::{look, publish_all};
use super::rig::{HOOK_SECRET, Rig};
use super::{HASTY, say};

const EVENTS: usize = 6_000;
const KILLS: usize = 6;
/// Of one recovery, at a time.
const BATCH: i64 = 200;
const PATIENCE: Duration = Duration::from_secs(200);

/// A recovery as its row has it.
#[derive(Debug)]
struct Run {
    state: String,
    looked_at: i64,
    sent_again: i64,
}

fn run(data: &Path, id: &str) -> Run {
    let db = look(data).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok(Run { state: row.get(0)?, looked_at: row.get(1)?, sent_again: row.get(2)? });
    db.query_row("select state, looked_at, sent_again from recoveries where id = ?1", [id], row).unwrap()
}

fn count(db: &Connection, sql: &str, id: &str) -> i64 {
    db.query_row(sql, [id], |row| row.get(0)).unwrap()
}

/// Waits until it is so.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(2));
    while !is() {
        look.tick().await;
        assert!(begun.elapsed() < PATIENCE, "unknown: {what}, not within {PATIENCE:?}");
    }
}

/// One command of an operator's, beside the service; what it answers.
fn command(rig: &Rig, arguments: &[&str]) -> Value {
    let ended = rig.command(arguments[0]).args(&arguments[1..]).arg("--json").output().unwrap();
    assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// An endpoint that comes when all events are published.
async fn with_latecomer(entropy: &Entropy) -> (Rig, String) {
    let mut rig = Rig::new(HASTY, entropy.clone()).await;
    publish_all(&rig.data(), entropy, EVENTS).await;
    rig.start();
    rig.ready().await;
    rig.drained().await;
    let secret = rig.data().join("secret");
    std::fs::write(&secret, HOOK_SECRET).unwrap();
    let url = format!("{}/hooks", rig.receiver.url);
    let secret = secret.to_str().unwrap();
    let add = ["endpoints", "add", &url, "--tenant", "many", "--event", "*", "--secret-file", secret];
    let id = command(&rig, &add)["endpoint"]["id"].as_str().unwrap().to_owned();
    (rig, id)
}

fn start(rig: &Rig, what: &str, endpoint: &str) -> String {
    command(rig, &["recoveries", "start", what, endpoint, "--since", "1h"])["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_killed_again_and_again_sends_each_message_once_and_counts_right() {
    let seed = super::seed();
    let (mut rig, endpoint) = with_latecomer(&Entropy::seeded(seed)).await;
    let begun = Instant::now();
    let id = start(&rig, "missed", &endpoint);
    let mut amid = Vec::new();
    for nth in 0..KILLS {
        let share = i64::try_from(nth * EVENTS / (KILLS + 2)).unwrap();
        until("it goes on", || run(&rig.data(), &id).looked_at >= share).await;
        rig.kill();
        let at = run(&rig.data(), &id);
        amid.extend((at.state == "running").then_some(at.looked_at));
        rig.start();
    }
    rig.ready().await;
    until("it ends", || run(&rig.data(), &id).state != "running").await;
    rig.drained().await;
    rig.stop().await;

    let whole = i64::try_from(EVENTS).unwrap();
    let ended = run(&rig.data(), &id);
    assert_eq!((&*ended.state, ended.looked_at, ended.sent_again), ("completed", whole, whole), "seed {seed}");
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    for post in rig.receiver.state.deliveries().into_iter().chain(rig.receiver.state.repeats()) {
        *seen.entry(post.id).or_default() += 1;
    }
    assert_eq!(seen.len(), EVENTS, "seed {seed}: not every message has arrived");
    let jobs = rig.dump().jobs.into_iter().filter(|job| job.kind == "webhook.deliver").count();
    assert_eq!(jobs, EVENTS, "seed {seed}: one job for each delivery, however often its batch was repeated");
    let db = look(&rig.data()).unwrap();
    let lines =
        "select count(*) from delivery_attempts a join deliveries d on d.id = a.delivery_id where d.message_id = ?1";
    let (mut repeated, mut cut_off) = (0, 0);
    for (message, posts) in &seen {
        let interrupted = count(&db, &format!("{lines} and a.error_class = 'interrupted'"), message);
        assert_eq!(
            count(&db, lines, message),
            1 + interrupted,
            "seed {seed}: {message} was posted again without a reason"
        );
        assert!(*posts <= 1 + interrupted, "seed {seed}: {message} was seen {posts} times");
        repeated += posts - 1;
        cut_off += interrupted;
    }
    let unsettled = "select count(*) from deliveries where endpoint_id = ?1 and state <> 'succeeded'";
    assert_eq!(count(&db, unsettled, &endpoint), 0, "seed {seed}");
    say(&format!(
        "kills amid a recovery: seed {seed}, {EVENTS} messages, {KILLS} kills at {amid:?} looked at, {cut_off} POSTs cut off, \
         {repeated} seen twice, {:.0} s",
        begun.elapsed().as_secs_f64()
    ));
    assert!(amid.len() >= KILLS / 2, "seed {seed}: the kills missed the recovery: {amid:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_was_killed_is_cancelled_after_the_restart_and_sends_no_more() {
    let seed = super::seed();
    let (mut rig, endpoint) = with_latecomer(&Entropy::seeded(seed)).await;
    let id = start(&rig, "all", &endpoint);
    until("it goes on", || run(&rig.data(), &id).looked_at >= BATCH).await;
    rig.kill();
    rig.start();
    rig.ready().await;
    let cancelled = command(&rig, &["recoveries", "cancel", &id]);
    assert_eq!(cancelled["items"][0]["done"], true, "{cancelled}");
    let at_cancel = run(&rig.data(), &id);
    rig.drained().await;
    rig.stop().await;

    let after = run(&rig.data(), &id);
    assert_eq!((&*after.state, after.sent_again), ("cancelled", at_cancel.sent_again), "seed {seed}");
    assert!(after.sent_again < i64::try_from(EVENTS).unwrap(), "seed {seed}: it had ended before");
    let db = look(&rig.data()).unwrap();
    let opened = count(&db, "select count(*) from deliveries where recovery_id = ?1", &id);
    let more = opened - after.sent_again;
    assert!((0..=BATCH).contains(&more), "seed {seed}: {opened} opened, {} counted", after.sent_again);
    let waiting = count(&db, "select count(*) from deliveries where recovery_id = ?1 and settled_at is null", &id);
    assert!(waiting <= more, "seed {seed}: {waiting} of those that were counted have no outcome");
    say(&format!("replay cancelled after a kill: seed {seed}, {opened} of {EVENTS} opened, {waiting} left to mending"));
}
