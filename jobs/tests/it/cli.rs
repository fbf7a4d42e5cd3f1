//! The operators' commands, from their arguments to what they print and how they end.

mod events;
mod outgoing;
mod portal;
mod webhooks;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, Parser};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;
use tidemill::admin::{ApiKeys, Desk, DeskParts, Role};
use tidemill::clock::{Clock, Entropy, Timestamp};
use tidemill::config::fanout::FanoutConfig;
use tidemill::config::portal::PortalConfig;
use tidemill::data::Database;
use tidemill::fanout::FanoutState;
use tidemill::job::{Done, JobError, JobKind, JobSpec, QueueName};
use tidemill::portal::Links;
use tidemill::queue::Queue;
use tidemill::schedule::{Plan, Schedule, Scheduler};
use tidemill::sealing::Sealer;
use tidemill::store::sqlite::{SqliteOptions, SqliteStore};
use tidemill::store::{Location, QueueSettings, Retention, Store};
use tidemill::worker::{Context, Handler, Registry};
use tidemill_jobs::cli::{EXIT_CODES, Exit, Failure};
use tidemill_jobs::commands::{
    Check, Connection, Deliveries, Endpoints, Enqueue, EventTypes, Events, Jobs, Keys, Messages, Migrate, Portal,
    Queues, Recoveries, Schedules, Setting, Webhooks,
};
use tidemill_jobs::inbox::RecordedWebhooks;

/// 2026-01-02T03:04:05Z.
const START: Timestamp = Timestamp::from_ms(1_767_323_045_000);
const NOBODY: &str = "0198c5b2-7f00-7000-8000-000000000000";

#[derive(Debug, Parser)]
#[command(name = "tidemill")]
enum Tidemill {
    Enqueue(Enqueue),
    Jobs(Jobs),
    Queues(Queues),
    Schedules(Schedules),
    Keys(Keys),
    Webhooks(Webhooks),
    Endpoints(Endpoints),
    EventTypes(EventTypes),
    Events(Events),
    Messages(Messages),
    Deliveries(Deliveries),
    Recoveries(Recoveries),
    Portal(Portal),
    Migrate(Migrate),
    Check(Check),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    text: String,
}

impl JobKind for Echo {
    const KIND: &'static str = "test.echo";
    const QUEUE: &'static str = "reports";
}

impl Handler for Echo {
    type State = ();
    async fn run(self, _ctx: Context, (): &()) -> Result<Done, JobError> {
        Ok(Done::default())
    }
}

struct House {
    clock: Clock,
    store: Arc<dyn Store>,
    db: Database,
    queue: Queue,
    fanout: Arc<FanoutState>,
    desk: Desk,
    dir: TempDir,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
struct Ended {
    exit: Exit,
    out: String,
    complaint: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("JSON and nothing else on standard output")
    }
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, entropy) = (Clock::manual(START), Entropy::seeded(3));
        let options = SqliteOptions::at(dir.path().join("queue.db"));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options, clock.clone()).await.unwrap());
        let names: BTreeSet<QueueName> =
            ["high_priority", "notifications", "reports"].map(|n| n.parse().unwrap()).into();
        let settings =
            |name: &QueueName| QueueSettings { name: name.clone(), rate: None, retention: Retention::default() };
        store.declare_queues(names.iter().map(settings).collect()).await.unwrap();
        let db = Database::open(&dir.path().join("tidemill.db")).await.unwrap();
        db.migrate(Some(tidemill_jobs::store::migrations())).await.unwrap();
        let mut kinds = Registry::new();
        kinds.register::<Echo>(Arc::new(())).unwrap();
        let queue = Queue::new(Arc::clone(&store), names, clock.clone(), entropy.clone());
        let plan = Plan::cron("0 6 * * *", "Europe/Berlin").unwrap();
        let daily = Schedule::new("test.daily", plan, |_| JobSpec::of(&Echo { text: "daily".into() })).unwrap();
        let scheduler = Scheduler::new(queue.clone(), vec![daily], clock.clone(), entropy.clone()).unwrap();
        scheduler.declare().await.unwrap();
        let sealer = Sealer::new(&Sealer::new_key(&entropy), &[]).unwrap();
        let (home, config) = ("https://hooks.example.com".parse().unwrap(), PortalConfig::default());
        let links = Links::new(db.clone(), sealer.clone(), home, &config, clock.clone(), entropy.clone());
        // Webhooks may go to this machine, so that no test asks a name server.
        let to_loopback = FanoutConfig {
            allow_http: true,
            allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
            ..FanoutConfig::default()
        };
        let fanout = FanoutState::new(db.clone(), to_loopback, sealer, clock.clone(), entropy.clone()).unwrap();
        let fanout = Arc::new(fanout);
        let desk = Desk::new(DeskParts {
            queue: queue.clone(),
            kinds: Arc::new(kinds),
            scheduler,
            fanout: Arc::clone(&fanout),
            inbox: Arc::new(RecordedWebhooks(db.clone())),
            db: db.clone(),
            clock: clock.clone(),
            entropy,
        })
        .linking(links);
        Self { clock, store, db, queue, fanout, desk, dir }
    }

    async fn run(&self, line: &str) -> Ended {
        self.run_with(&line.split_whitespace().collect::<Vec<_>>(), "").await
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let all = ["tidemill"].iter().chain(arguments).chain(&["--as", "mia"]);
        let command = match Tidemill::try_parse_from(all) {
            Ok(command) => command,
            Err(error) => {
                assert_eq!(error.exit_code(), Exit::Usage as i32);
                return Ended { exit: Exit::Usage, out: String::new(), complaint: error.to_string() };
            }
        };
        let (now, mut out) = (self.clock.now(), Vec::new());
        let result = match command {
            Tidemill::Enqueue(command) => command.run(&self.desk, now, &mut input.as_bytes(), &mut out).await,
            Tidemill::Jobs(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Queues(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Schedules(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Keys(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Webhooks(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Endpoints(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Events(command) => command.run(&self.desk, now, &mut input.as_bytes(), &mut out).await,
            Tidemill::EventTypes(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Messages(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Deliveries(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Recoveries(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Portal(command) => command.run(&self.desk, now, &mut out).await,
            Tidemill::Migrate(command) => {
                command.run(Location::Sqlite(self.dir.path().join("queue.db")), &self.db, now, &mut out).await
            }
            Tidemill::Check(command) => command.run(Vec::new(), Vec::new(), now, &mut out).await,
        };
        ended(result, out)
    }

    async fn enqueue(&self) -> String {
        let made = self.run_with(&["enqueue", "test.echo", "--payload", r#"{"text":"hello"}"#, "--json"], "").await;
        made.json()["job"].as_str().unwrap().to_owned()
    }

    async fn waiting(&self) -> u64 {
        self.store.counts().await.unwrap().queues.iter().map(|q| q.ready + q.scheduled).sum()
    }
}

fn ended(result: Result<ExitCode, Failure>, out: Vec<u8>) -> Ended {
    let out = String::from_utf8(out).unwrap();
    match result {
        Ok(code) => {
            let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::NotFound, Exit::Refused, Exit::Unavailable];
            let exit = all.into_iter().find(|exit| format!("{:?}", ExitCode::from(*exit)) == format!("{code:?}"));
            Ended { exit: exit.unwrap(), out, complaint: String::new() }
        }
        Err(failure) => Ended { exit: failure.exit(), out, complaint: failure.to_string() },
    }
}

#[test]
fn every_help_says_how_it_ends_and_gives_an_example() {
    let mut tidemill = Tidemill::command();
    tidemill.clone().debug_assert();
    for command in tidemill.get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Example") && help.contains(EXIT_CODES), "{help}");
        for inner in command.get_subcommands() {
            assert!(inner.get_about().is_some(), "{} {} says nothing of itself", command.get_name(), inner.get_name());
            for argument in inner.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {argument}", inner.get_name());
            }
        }
    }
}

#[tokio::test]
async fn a_job_is_enqueued_shown_and_cancelled_by_hand() {
    let house = House::new().await;
    let made = house.run_with(
        &["enqueue", "test.echo", "--payload", r#"{"text":"hello"}"#, "--delay", "90s", "--tenant", "t1"],
        "",
    );
    let made = made.await;
    assert_eq!(made.exit, Exit::Done, "{made:?}");
    let id = made.out.trim().strip_prefix("enqueued ").unwrap().to_owned();
    let shown = house.run(&format!("jobs show {id}")).await.out;
    for part in
        ["kind         test.echo", "by cli:mia", "(in 1m 30s)", r#"payload      {"text":"hello"}"#, "tenant       t1"]
    {
        assert!(shown.contains(part), "no `{part}` in\n{shown}");
    }
    let listed = house.run("jobs list --state scheduled").await.out;
    assert!(listed.starts_with("ID  ") && listed.contains(&id) && listed.contains("in 1m 30s"), "{listed}");
    assert_eq!(house.run(&format!("jobs cancel {id} --reason twice")).await.exit, Exit::Done);
    let again = house.run(&format!("jobs cancel {id}")).await;
    assert_eq!(again.exit, Exit::Refused, "{again:?}");
    assert!(again.complaint.contains("cancelled"), "{again:?}");
    assert_eq!(house.run(&format!("jobs delete {id}")).await.exit, Exit::Done);
    let gone = house.run(&format!("jobs show {id}")).await;
    assert_eq!(gone.exit, Exit::NotFound);
    assert!(gone.complaint.contains("tidemill jobs list"), "it says what to do: {gone:?}");
}

#[tokio::test]
async fn a_payload_comes_from_the_line_a_file_or_standard_input() {
    let house = House::new().await;
    let path: PathBuf = house.dir.path().join("payload.json");
    std::fs::write(&path, "{\"text\": \"from a file\"}\n").unwrap();
    let at_file = format!("@{}", path.display());
    for (payload, input, expected) in
        [(at_file.as_str(), "", "from a file"), ("-", r#"{"text":"from a pipe"}"#, "from a pipe")]
    {
        let made = house.run_with(&["enqueue", "test.echo", "--payload", payload, "--json"], input).await.json();
        let shown = house.run(&format!("jobs show {} --json", made["job"].as_str().unwrap())).await.json();
        assert_eq!(shown["job"]["payload"]["text"], expected);
    }
}

#[tokio::test]
async fn bad_arguments_end_with_two_name_what_is_allowed_and_change_nothing() {
    let house = House::new().await;
    for (line, parts) in [
        ("enqueue test.ehco", vec!["test.ehco", "test.echo"]),
        ("enqueue test.echo", vec!["payload", "text"]),
        ("enqueue test.echo --payload {", vec!["--payload", "JSON"]),
        ("enqueue test.echo --payload @/nowhere", vec!["/nowhere"]),
        ("enqueue test.echo --payload {\"text\":\"a\"} --queue repots", vec!["repots", "reports"]),
        ("enqueue test.echo --payload {\"text\":\"a\"} --priority 10", vec!["priority", "10", "0 (first)"]),
        ("enqueue test.echo --payload {\"text\":\"a\"} --priority -1", vec!["priority", "-1", "0 (first)"]),
        ("enqueue test.echo --delay=-5s", vec!["-5s", "30s"]),
        ("enqueue test.echo --delay -5s", vec!["-5s", "--delay", "30s"]),
        ("jobs list --limit -1", vec!["-1", "1 to 200"]),
        ("enqueue test.echo --delay 999999999999d", vec!["999999999999d", "30s"]),
        ("enqueue test.echo --payload {\"text\":\"a\"} --delay 400d", vec!["delay_ms", "366 days"]),
        ("enqueue test.echo --payload {\"text\":\"a\"} --at tomorrow", vec!["run_at", "tomorrow", "RFC 3339"]),
        ("enqueue test.echo --delay 1s --at 2026-01-02T03:04:05Z", vec!["--delay", "--at"]),
        ("jobs list --state deaf", vec!["deaf", "dead"]),
        ("jobs list --limit 0", vec!["0", "1 to 200"]),
        ("jobs list --cursor abc", vec!["abc", "next"]),
        ("jobs list --queue repots", vec!["repots", "reports"]),
        ("jobs show 4711", vec!["4711", "UUID"]),
        ("jobs retry", vec!["<IDS>"]),
        ("queues pause No!", vec!["No!", "a-z"]),
        ("queues purge reports", vec!["reports", "--yes"]),
        ("keys create k --role root", vec!["root", "viewer, operator, admin"]),
        ("keys create k --role viewer --expires-in 0s", vec!["expires_at", "ahead"]),
        ("keys create k --role viewer --expires-in 99999999999d", vec!["expires_at", "100 years"]),
        ("keys create k --role viewer --expires-in -1d", vec!["-1d", "30s"]),
        ("keys revoke x", vec!["x", "twelve"]),
    ] {
        let ended = house.run(line).await;
        assert_eq!(ended.exit, Exit::Usage, "{line}: {ended:?}");
        for part in parts {
            assert!(ended.complaint.contains(part), "{line} does not name `{part}`: {}", ended.complaint);
        }
        assert!(ended.out.is_empty(), "complaints stay out of standard output: {line}: {}", ended.out);
    }
    assert_eq!(house.waiting().await, 0);
}

#[tokio::test]
async fn what_is_not_there_ends_with_three() {
    let house = House::new().await;
    for line in [
        format!("jobs show {NOBODY}"),
        format!("jobs retry {NOBODY}"),
        "queues pause nothing".into(),
        "queues purge nothing --yes".into(),
        "schedules run nothing".into(),
        "schedules history nothing".into(),
        "keys revoke 000000000000".into(),
    ] {
        let ended = house.run(&line).await;
        assert_eq!(ended.exit, Exit::NotFound, "{line}: {ended:?}");
        assert!(ended.complaint.contains("`tidemill "), "{line} does not say what to do: {}", ended.complaint);
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_ends_with_five_and_changes_nothing() {
    let house = House::new().await;
    house.db.close().await;
    let ended = house.run("queues pause reports").await;
    assert_eq!(ended.exit, Exit::Unavailable, "{ended:?}");
    assert!(!house.store.counts().await.unwrap().queues.iter().any(|q| q.paused));
}

#[tokio::test]
async fn several_jobs_are_changed_at_once_and_the_worst_decides_the_exit() {
    let house = House::new().await;
    let (first, second) = (house.enqueue().await, house.enqueue().await);
    let ended = house.run(&format!("jobs cancel {first} {NOBODY} {second} --json")).await;
    assert_eq!(ended.exit, Exit::NotFound);
    let items = ended.json()["items"].clone();
    let done: Vec<_> = items.as_array().unwrap().iter().map(|i| i["done"].as_bool().unwrap()).collect();
    assert_eq!(done, [true, false, true]);
    assert_eq!(house.waiting().await, 0);
}

#[tokio::test]
async fn queues_are_listed_paused_and_purged() {
    let house = House::new().await;
    house.enqueue().await;
    house.clock.advance(Duration::from_millis(12_300));
    house.run("queues pause reports").await;
    let listed = house.run("queues list").await.out;
    let reports = listed.lines().find(|l| l.starts_with("reports")).unwrap();
    let cells: Vec<_> = reports.split_whitespace().collect();
    assert_eq!(cells, ["reports", "1", "0", "0", "0", "0", "12.3", "s", "paused"], "{listed}");
    let purged = house.run("queues purge reports --yes --json").await.json();
    assert_eq!(purged["cancelled"], 1);
    assert!(house.run("queues resume reports").await.out.contains("gives out jobs again"));
    assert!(house.run("queues resume reports").await.out.contains("was not paused"));
}

#[tokio::test]
async fn a_key_made_by_hand_opens_what_its_role_allows_and_is_listed_without_its_secret() {
    let house = House::new().await;
    let made = house.run("keys create grafana --role viewer --expires-in 90d --json").await.json();
    let key = made["key"].as_str().unwrap();
    let keys = ApiKeys::new(house.db.clone(), house.clock.clone(), Entropy::seeded(4));
    assert_eq!(keys.verify(key).await.unwrap().role, Role::Viewer);
    let listed = house.run("keys list").await.out;
    assert!(listed.contains("grafana") && listed.contains("expires in 90d"), "{listed}");
    assert!(!listed.contains(key.rsplit('_').next().unwrap()));
    let id = made["record"]["id"].as_str().unwrap();
    assert_eq!(house.run(&format!("keys revoke {id}")).await.exit, Exit::Done);
    assert!(keys.verify(key).await.is_err());
    assert_eq!(house.run(&format!("keys revoke {id}")).await.exit, Exit::Refused);
}

#[tokio::test]
async fn a_schedule_is_listed_run_and_paused() {
    let house = House::new().await;
    let run = house.run("schedules run test.daily --json").await.json();
    let job = run["job"].as_str().unwrap();
    assert!(house.run(&format!("jobs show {job}")).await.out.contains("cli:mia"));
    assert!(house.run("schedules pause test.daily").await.out.contains("is paused"));
    let listed = house.run("schedules list").await.out;
    let daily = listed.lines().find(|l| l.starts_with("test.daily")).unwrap();
    assert!(daily.contains("0 6 * * * Europe/Berlin") && daily.ends_with("paused"), "{listed}");
    let history = house.run("schedules history test.daily").await.out;
    assert!(history.contains("run by hand") && history.contains("changed"), "{history}");
    assert!(house.run("schedules resume test.daily").await.out.contains("fires again"));
    assert!(house.run("schedules list").await.out.contains("in 1h 55m"), "six in Berlin is five in UTC");
}

#[tokio::test]
async fn changes_by_hand_are_in_the_audit_log_under_the_persons_name() {
    let house = House::new().await;
    house.run("queues pause reports").await;
    let (actor, source): (String, String) = tidemill::on_pool!(house.db.read(), pool => {
        sqlx::query_as("select actor, source from audit_log").fetch_one(pool).await.unwrap()
    });
    assert_eq!((actor.as_str(), source.as_str()), ("cli:mia", "local"));
}

#[tokio::test]
async fn migrating_twice_changes_nothing_the_second_time() {
    let house = House::new().await;
    for _ in 0..2 {
        let migrated = house.run("migrate --json").await;
        assert_eq!(migrated.exit, Exit::Done, "{migrated:?}");
        assert_eq!(migrated.json()["queue_store"]["steps"], 0);
    }
}

#[tokio::test]
async fn a_check_tries_every_connection_and_says_which_one_failed() {
    let settings = || vec![Setting { name: "ingress.listen".into(), value: "0.0.0.0:8080".into() }];
    let trials = || {
        vec![
            Connection::new("store", async { Ok("sqlite, schema 1".to_owned()) }),
            Connection::new("plaid", async { Err(anyhow::anyhow!("401: the client id is not accepted")) }),
        ]
    };
    for json in [false, true] {
        let arguments = if json { vec!["tidemill", "check", "--json"] } else { vec!["tidemill", "check"] };
        let Tidemill::Check(check) = Tidemill::parse_from(arguments) else { panic!("not a check") };
        let mut out = Vec::new();
        let checked = ended(check.run(settings(), trials(), START, &mut out).await, out);
        assert_eq!(checked.exit, Exit::Unavailable);
        for part in ["ingress.listen", "0.0.0.0:8080", "sqlite, schema 1", "401: the client id is not accepted"] {
            assert!(checked.out.contains(part), "no {part} in {}", checked.out);
        }
        if json {
            assert_eq!(checked.json()["connections"][1]["ok"], false);
        }
    }
}
