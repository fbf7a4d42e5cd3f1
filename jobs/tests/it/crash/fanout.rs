//! `kill -9` while 20,000 deliveries are under way: every message reaches every endpoint, every POST that a receiver saw has its
//! line in the log, and nothing stays without an outcome.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use tidemill::clock::{Clock, Entropy};
use tidemill::fanout::Event;
use tidemill::queue::Queue;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{QueueSettings, Retention, Store};
use tidemill_jobs::fakes;

use super::rig::{HOOK_SECRET, Rig};
use super::{HASTY, say};

const EVENTS: usize = 4_000;
const ENDPOINTS: usize = 5;
const KILLS: usize = 10;
/// A debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(400);

/// One delivery as the database has it in the end.
struct Told {
    message: String,
    url: String,
    state: String,
    counted: usize,
    lines: usize,
    interrupted: usize,
    open: usize,
}

/// Publishes so many events of tenant `many`, without a service.
pub(super) async fn publish_all(data: &Path, entropy: &Entropy, how_many: usize) {
    std::fs::create_dir_all(data).unwrap();
    let clock = Clock::system();
    let store = SqliteStore::open(SqliteOptions::at(data.join("queue.db")), clock.clone()).await.unwrap();
    let name: tidemill::job::QueueName = "notifications".parse().unwrap();
    let settings = QueueSettings { name: name.clone(), rate: None, retention: Retention::default() };
    store.declare_queues(vec![settings]).await.unwrap();
    let queue = Queue::new(std::sync::Arc::new(store), [name].into(), clock, entropy.clone());
    let event = |n: usize| Event {
        id: format!("evt_{n}"),
        event_type: "invoice.paid".into(),
        tenant: "many".into(),
        payload: json!({ "n": n, "note": "x".repeat(200) }),
    };
    let numbers: Vec<usize> = (0..how_many).collect();
    for some in numbers.chunks(500) {
        let specs = some.iter().map(|n| event(*n).into_spec().unwrap()).collect();
        queue.enqueue_all(specs).await.unwrap();
    }
}

/// The database beside a service.
pub(super) fn look(data: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = Connection::open_with_flags(data.join("tidemill.db"), flags).ok()?;
    open.busy_timeout(Duration::from_secs(5)).unwrap();
    Some(open)
}

/// How many deliveries have succeeded.
fn succeeded(data: &Path) -> usize {
    let count = |db: Connection| {
        db.query_row("select count(*) from deliveries where state = 'succeeded'", [], |row| row.get::<_, i64>(0)).ok()
    };
    look(data).and_then(count).map_or(0, |n| usize::try_from(n).unwrap())
}

fn all(data: &Path) -> Vec<Told> {
    let db = look(data).unwrap();
    let mut sql = db
        .prepare(
            "select d.message_id, e.url, d.state, d.attempts, count(a.id),
                    count(a.id) filter (where a.error_class = 'interrupted'),
                    (select count(*) from delivery_posts p where p.delivery_id = d.id)
             from deliveries d join endpoints e on e.id = d.endpoint_id
                  left join delivery_attempts a on a.delivery_id = d.id
             where d.tenant = 'many' group by d.id",
        )
        .unwrap();
    let number = |row: &rusqlite::Row<'_>, n| usize::try_from(row.get::<_, i64>(n).unwrap()).unwrap();
    let told = |row: &rusqlite::Row<'_>| {
        Ok(Told {
            message: row.get(0)?,
            url: row.get(1)?,
            state: row.get(2)?,
            counted: number(row, 3),
            lines: number(row, 4),
            interrupted: number(row, 5),
            open: number(row, 6),
        })
    };
    sql.query_map([], told).unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_delivers_every_message_reaches_every_endpoint_and_every_post_is_logged() {
    let seed = super::seed();
    let entropy = Entropy::seeded(seed);
    let (mut receivers, mut settings) = (Vec::new(), String::new());
    for _ in 0..ENDPOINTS {
        let receiver = fakes::receiver::start(0, Clock::system()).await.unwrap();
        receiver.state.trust(HOOK_SECRET);
        receiver.state.keep(usize::MAX);
        settings += &format!(
            "[[fanout.endpoints]]\ntenant = \"many\"\nurl = \"{}/hooks\"\nsecret_env = \"RECEIVER_SECRET\"\n",
            receiver.url
        );
        receivers.push(receiver);
    }
    let mut rig = Rig::new(&format!("{settings}{HASTY}"), entropy.clone()).await;
    publish_all(&rig.data(), &entropy, EVENTS).await;
    let began = Instant::now();
    rig.start();
    rig.ready().await;
    let (mut amid, mut at_kills) = (0, Vec::new());
    let all_of_it = EVENTS * ENDPOINTS;
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for nth in 0..KILLS {
        // The first one while messages are fanned out, the others when the deliveries have come so far, and a little more.
        let until = if nth == 0 { 0 } else { 1 + (nth - 1) * all_of_it / KILLS };
        while succeeded(&rig.data()) < until {
            pace.tick().await;
            assert!(began.elapsed() < PATIENCE, "seed {seed}: {until} were not delivered within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(entropy.below(1_000))).await;
        rig.kill();
        let done = succeeded(&rig.data());
        amid += usize::from(done > 0 && done < all_of_it);
        at_kills.push(done);
        rig.start();
    }
    rig.ready().await;
    while succeeded(&rig.data()) < all_of_it {
        pace.tick().await;
        let done = succeeded(&rig.data());
        assert!(began.elapsed() < PATIENCE, "seed {seed}: {done} delivered within {PATIENCE:?}");
    }
    rig.drained().await;
    rig.stop().await;
    let took = began.elapsed();

    let mut posts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for receiver in &receivers {
        for post in receiver.state.deliveries().into_iter().chain(receiver.state.repeats()) {
            *posts.entry((format!("{}/hooks", receiver.url), post.id)).or_default() += 1;
        }
        assert_eq!(receiver.state.deliveries().len(), EVENTS, "seed {seed}: {} has not got all", receiver.url);
    }
    let (told, mut lines, mut interrupted) = (all(&rig.data()), 0, 0);
    assert_eq!(told.len(), all_of_it, "seed {seed}");
    for one in &told {
        let seen = posts.get(&(one.url.clone(), one.message.clone())).copied().unwrap_or(0);
        let what = format!("seed {seed}: {} to {}", one.message, one.url);
        assert_eq!((one.state.as_str(), one.open), ("succeeded", 0), "{what}");
        assert_eq!(one.counted, one.lines, "{what}");
        assert!(seen <= one.lines, "{what}: {seen} POSTs seen, {} logged", one.lines);
        assert!(one.lines - one.interrupted <= seen, "{what}: an answer is logged that nobody gave");
        lines += one.lines;
        interrupted += one.interrupted;
    }
    let seen: usize = posts.values().sum();
    say(&format!(
        "kills amid deliveries: seed {seed}, {} deliveries, {KILLS} kills ({amid} amid) at {at_kills:?}, {seen} POSTs seen, \
         {lines} lines, {interrupted} interrupted, {:.0} s",
        told.len(),
        took.as_secs_f64()
    ));
    assert!(amid >= KILLS / 2 && interrupted > 0, "seed {seed}: the kills missed the deliveries: {at_kills:?}");
}
