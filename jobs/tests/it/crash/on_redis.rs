//! The same binary with its queue in a real Redis: a webhook's whole way while either side is killed, and what the service says
//! when the server is too weak, hangs, or has a password.

use std::time::{Duration, Instant};

use serde_json::Value;
use tidemill::clock::Entropy;
use tidemill_testkit::{Fsync, RedisServer};

use super::checker::AtLeast;
use super::rig::Rig;
use super::{HASTY, PATIENCE, give_moods, judge, killed_under_load, seed};

/// Fewer than over the file: the same code is under it.
const KILLS: usize = 8;
const REDIS_KILLS: usize = 5;

fn synced_always() -> RedisServer {
    RedisServer::with().appendfsync(Fsync::Always).start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_webhook_is_lost_and_none_finishes_twice_through_kills_of_the_service() {
    let seed = seed();
    let rig = Rig::on_redis(RedisServer::start(), "everysec", HASTY, Entropy::seeded(seed)).await;
    killed_under_load("eight kills over Redis", seed, rig, KILLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_webhook_is_lost_and_none_is_repeated_through_kills_of_the_server() {
    let seed = seed();
    let entropy = Entropy::seeded(seed);
    let mut rig = Rig::on_redis(synced_always(), "fsync", "", entropy.clone()).await;
    give_moods(&rig, Entropy::seeded(seed ^ 1));
    rig.start();
    rig.ready().await;
    let sender = rig.sender(Duration::from_millis(40));
    for _ in 0..REDIS_KILLS {
        // At any moment.
        tokio::time::sleep(Duration::from_millis(300 + entropy.below(1_500))).await;
        let redis = rig.redis.as_ref().unwrap();
        redis.kill();
        tokio::time::sleep(Duration::from_millis(entropy.below(1_000))).await;
        redis.restart();
    }
    let sent = sender.stop(PATIENCE).await;
    rig.drained().await;
    rig.stop().await;
    let history = rig.history(sent, 0);
    judge("five kills of Redis", seed, &history, AtLeast { acked: 50, ..AtLeast::default() });
    assert!(history.dump.jobs.iter().all(|job| job.crashes == 0), "nobody's worker has died");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_promises_less_than_asked_is_refused_in_words() {
    let mut rig = Rig::on_redis(RedisServer::start(), "fsync", "", Entropy::seeded(1)).await;
    rig.start();
    let (status, _) = rig.ended(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(1));
    rig.says("can't promise durability \"fsync\"").await;
    rig.says("set appendfsync to always").await;
}

/// A probe's status and what it names.
async fn ready(rig: &Rig) -> (u16, Value) {
    let http = tidemill::outbound::client(Duration::from_secs(5)).unwrap();
    let reply = http.get(format!("http://127.0.0.1:{}/ready", rig.operators)).send().await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap())
}

async fn ready_becomes(rig: &Rig, what: &str, is: impl Fn(u16, &Value) -> bool) {
    let start = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(100));
    loop {
        look.tick().await;
        let (status, said) = ready(rig).await;
        if is(status, &said) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {status} {said}");
    }
}

/// A command's output as JSON.
fn answer(rig: &Rig, command: &str, args: &[&str]) -> Value {
    let output = rig.command(command).args(args).arg("--json").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_hangs_readiness_is_red_and_the_watchdog_counts_and_all_of_it_passes() {
    let mut rig = Rig::on_redis(RedisServer::start(), "everysec", "", Entropy::seeded(2)).await;
    rig.start();
    rig.ready().await;
    let key = answer(&rig, "keys", &["create", "probe", "--role", "viewer"])["key"].as_str().unwrap().to_owned();
    ready_becomes(&rig, "ready at first", |status, _| status == 200).await;
    let names = |said: &Value, check: &str| said["failing"].as_array().unwrap().iter().any(|one| one == check);
    rig.redis.as_ref().unwrap().stop();
    ready_becomes(&rig, "the claims' silence", |status, said| {
        status == 503 && names(said, "store") && names(said, "claims")
    })
    .await;
    let http = tidemill::outbound::client(Duration::from_secs(10)).unwrap();
    let scrape = http.get(format!("http://127.0.0.1:{}/metrics", rig.operators)).bearer_auth(key);
    let scrape = scrape.send().await.unwrap().text().await.unwrap();
    let value = |name: &str| {
        let line = scrape.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {scrape}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(value("tidemill_store_up"), 0.0);
    assert!(value("tidemill_claim_silence_seconds{queue=\"high_priority\"}") > 5.0, "{scrape}");
    assert!(value("tidemill_clock_skew_seconds").abs() < 5.0, "one machine, one clock: {scrape}");
    rig.redis.as_ref().unwrap().cont();
    ready_becomes(&rig, "all of it passes", |status, _| status == 200).await;
    rig.stop().await;
}

/// What the README says a user needs.
const RIGHTS: &str = "resetkeys ~{tidemill}:* resetchannels &{tidemill}:* -@all \
                      +@read +@write +@scripting +@pubsub +@connection +@transaction +info +config|get +time";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tries_the_server_and_shows_what_it_promises_but_no_password() {
    let redis = RedisServer::with().user("tidemill", &format!("on >hush-hush {RIGHTS}")).start();
    let url = redis.url().replace("//", "//tidemill:hush-hush@");
    let rig = Rig::on_redis(redis, "everysec", "", Entropy::seeded(3)).await;
    let check = |variable: (&str, &str)| {
        let output =
            rig.command("check").arg("--json").env("QUEUE_URL", &url).env(variable.0, variable.1).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("hush-hush"), "{text}");
        let said: Value = serde_json::from_str(&text).unwrap();
        let all = said["connections"].as_array().unwrap();
        let store = all.iter().find(|one| one["name"] == "queue store").unwrap().clone();
        (output.status.code(), said["settings"].clone(), store)
    };
    let (code, settings, store) = check(("TIDEMILL_DURABILITY", "everysec"));
    assert_eq!((code, &settings["durability"]), (Some(0), &"everysec".into()), "{store}");
    assert!(settings["queue_url"].as_str().unwrap().starts_with("redis://127.0.0.1:"), "{settings}");
    let promise = "survives a restart; a crash of the server or its machine may take about the last second";
    assert!(store["ok"] == true && store["says"].as_str().unwrap().contains(promise), "{store}");
    let (code, _, store) = check(("TIDEMILL_DURABILITY", "fsync"));
    assert!(code == Some(5) && store["says"].as_str().unwrap().contains("set appendfsync to always"), "{store}");
    let migrated = rig.command("migrate").env("QUEUE_URL", &url).output().unwrap();
    assert!(String::from_utf8_lossy(&migrated.stdout).contains("nothing to migrate"), "{migrated:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_url_names_the_queue_where_nothing_of_ours_does() {
    let rig = Rig::new("", Entropy::seeded(4)).await;
    let shown = |variables: &[(&str, &str)]| {
        let output = rig.command("check").arg("--json").envs(variables.iter().copied()).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        said["settings"]["queue_url"].as_str().unwrap().to_owned()
    };
    let nobody = ("REDIS_URL", "redis://127.0.0.1:1/7");
    assert_eq!(shown(&[nobody]), "redis://127.0.0.1:1/7");
    let path = format!("sqlite:{}", rig.data().join("mine.db").display());
    assert_eq!(shown(&[nobody, ("QUEUE_URL", &path)]), path, "ours goes before it");
    let other = format!("sqlite:{}", rig.data().join("other.db").display());
    assert_eq!(shown(&[nobody, ("QUEUE_URL", &path), ("TIDEMILL_QUEUE_URL", &other)]), other);
}
