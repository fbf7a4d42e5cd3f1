//! One master, two replicas and three sentinels that fail over within seconds.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::RedisResult;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::process::Process;
use crate::redis::{RedisServer, Settings, free_port};

/// The name all of it is known by.
const MASTER: &str = "mymaster";
/// How long the set may take until the sentinels know everybody; replicas are looked for every ten seconds.
const STARTING: Duration = Duration::from_secs(45);
/// How many sentinels watch; two of them decide.
const SENTINELS: usize = 3;

/// What a set is started with.
#[derive(Clone, Debug)]
pub struct SentinelSettings {
    /// The password of master and replicas; the sentinels have none.
    pub password: Option<String>,
    /// More lines for `redis.conf` of master and replicas.
    pub lines: Vec<String>,
    /// So long silent is down.
    pub down_after: Duration,
}

impl Default for SentinelSettings {
    fn default() -> Self {
        Self { password: None, lines: Vec::new(), down_after: Duration::from_secs(1) }
    }
}

/// A running set. Dropping it kills all six.
#[derive(Debug)]
pub struct Sentinels {
    sentinels: Vec<Sentinel>,
    nodes: Vec<RedisServer>,
    settings: SentinelSettings,
}

#[derive(Debug)]
struct Sentinel {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl Sentinels {
    /// Starts a set with the default settings.
    pub fn start() -> Self {
        Self::start_with(SentinelSettings::default())
    }

    /// Starts a set and waits until the replicas follow and the sentinels agree that they could fail over.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn start_with(settings: SentinelSettings) -> Self {
        let node = || {
            let mut node = Settings::default().line("repl-diskless-sync-delay 0");
            if let Some(password) = &settings.password {
                node = node.password(password);
            }
            settings.lines.iter().fold(node, |node, line| node.line(line)).start()
        };
        let nodes = vec![node(), node(), node()];
        // By command, not by file: who is master changes, and the sentinels write the file anew.
        for replica in &nodes[1..] {
            replica.command::<String>(&["REPLICAOF", "127.0.0.1", &nodes[0].port().to_string()]);
        }
        eventually("the replicas to follow their master", STARTING, || {
            let online = |n: usize| nodes[0].info(&format!("slave{n}")).filter(|line| line.contains("state=online"));
            online(0).and(online(1))
        });
        let sentinels = (0..SENTINELS).map(|_| Sentinel::start(&nodes[0], &settings)).collect();
        let set = Self { sentinels, nodes, settings };
        set.wait_until_agreed();
        set
    }

    /// Waits until every sentinel sees a master, two replicas that could take its place, and the other sentinels.
    pub fn wait_until_agreed(&self) {
        for sentinel in &self.sentinels {
            eventually("the sentinels to know everybody", STARTING, || sentinel.is_content().then_some(()));
        }
    }

    /// `redis+sentinel://127.0.0.1:p1,127.0.0.1:p2,127.0.0.1:p3/mymaster`, with the nodes' password if there is one.
    pub fn url(&self) -> String {
        let userinfo = self.settings.password.as_ref().map(|p| format!(":{p}@")).unwrap_or_default();
        let hosts: Vec<_> = self.sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
        format!("redis+sentinel://{userinfo}{}/{MASTER}", hosts.join(","))
    }

    /// All data nodes; the first was the first master.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The node that the sentinels call master now, living or not.
    pub fn master(&self) -> &RedisServer {
        eventually("a sentinel to name the master", STARTING, || self.named_master())
    }

    fn named_master(&self) -> Option<&RedisServer> {
        let port = self.sentinels.iter().find_map(|sentinel| {
            let place: Vec<String> = sentinel.ask(&["get-master-addr-by-name", MASTER]).ok()?;
            place.get(1)?.parse().ok()
        });
        self.nodes.iter().find(|node| Some(node.port()) == port)
    }

    /// Waits until the sentinels name another master than `old` and it says so itself.
    ///
    /// # Panics
    /// When that takes longer than `patience`.
    pub fn wait_for_new_master(&self, old: &RedisServer, patience: Duration) -> &RedisServer {
        eventually("a new master", patience, || {
            let new = self.named_master().filter(|new| new.port() != old.port())?;
            (new.info("role").as_deref() == Some("master")).then_some(new)
        })
    }

    /// Asks for a failover though the master is well, as an operator does for an upgrade.
    ///
    /// # Panics
    /// When no sentinel starts one.
    pub fn fail_over(&self) {
        eventually("a sentinel to start a failover", STARTING, || {
            self.sentinels.iter().find_map(|sentinel| sentinel.ask::<String>(&["failover", MASTER]).ok())
        });
    }

    /// Waits until a node that came back follows the master.
    ///
    /// # Panics
    /// When that takes longer than `patience`.
    pub fn wait_until_replica(&self, node: &RedisServer, patience: Duration) {
        eventually("the old master to follow the new one", patience, || {
            let follows = node.info("role").as_deref() == Some("slave");
            (follows && node.info("master_link_status").as_deref() == Some("up")).then_some(())
        });
    }

    /// SIGSTOP to one of the three sentinels.
    pub fn stop_sentinel(&self, n: usize) {
        self.sentinels[n].process.signal(Signal::STOP).expect("a signal to our own process");
    }

    /// SIGCONT to it.
    pub fn cont_sentinel(&self, n: usize) {
        self.sentinels[n].process.signal(Signal::CONT).expect("a signal to our own process");
    }
}

impl Sentinel {
    /// Tries other ports when somebody else was quicker.
    fn start(master: &RedisServer, settings: &SentinelSettings) -> Self {
        for _ in 0..10 {
            let sentinel = Self::launch(master, settings).expect("start a sentinel");
            let pid = format!("process_id:{}\r\n", sentinel.process.pid());
            let ready = eventually("a sentinel to answer", STARTING, || {
                let output = std::fs::read_to_string(sentinel._folder.path().join("output")).unwrap_or_default();
                assert!(!output.contains("FATAL"), "the sentinel does not start:\n{output}");
                if output.contains("Failed listening on port") {
                    return Some(false);
                }
                let info: String = sentinel.command(redis::cmd("INFO").arg("server")).ok()?;
                info.contains(&pid).then_some(true)
            });
            if ready {
                return sentinel;
            }
        }
        panic!("no port for a sentinel");
    }

    fn launch(master: &RedisServer, settings: &SentinelSettings) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sentinel-").tempdir().context("a temporary folder")?;
        let port = free_port()?;
        let mut text = format!("port {port}\nbind 127.0.0.1\ndir {}\n", folder.path().display());
        text += &format!("sentinel monitor {MASTER} 127.0.0.1 {} 2\n", master.port());
        text += &format!("sentinel down-after-milliseconds {MASTER} {}\n", settings.down_after.as_millis());
        text += &format!("sentinel failover-timeout {MASTER} 5000\nsentinel parallel-syncs {MASTER} 2\n");
        if let Some(password) = &settings.password {
            text += &format!("sentinel auth-pass {MASTER} {password}\n");
        }
        let conf = folder.path().join("sentinel.conf");
        std::fs::write(&conf, text).context("write sentinel.conf")?;
        let process = Process::start(folder.path(), &["redis-server", &conf.to_string_lossy(), "--sentinel"])?;
        Ok(Self { process, port, _folder: folder })
    }

    fn command<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> RedisResult<T> {
        let patience = Duration::from_secs(2);
        let client = redis::Client::open(("127.0.0.1", self.port))?;
        let mut connection = client.get_connection_with_timeout(patience)?;
        connection.set_read_timeout(Some(patience))?;
        command.query(&mut connection)
    }

    fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        self.command(redis::cmd("SENTINEL").arg(words))
    }

    fn is_content(&self) -> bool {
        let state: RedisResult<std::collections::HashMap<String, String>> = self.ask(&["master", MASTER]);
        let replicas: RedisResult<Vec<std::collections::HashMap<String, String>>> = self.ask(&["replicas", MASTER]);
        let (Ok(state), Ok(replicas)) = (state, replicas) else { return false };
        let is = |key: &str, value: &str| state.get(key).map(String::as_str) == Some(value);
        let up = |replica: &std::collections::HashMap<String, String>| {
            replica.get("flags").map(String::as_str) == Some("slave")
                && replica.get("master-link-status").map(String::as_str) == Some("ok")
        };
        let others = (SENTINELS - 1).to_string();
        is("flags", "master") && is("num-other-sentinels", &others) && replicas.iter().filter(|r| up(r)).count() == 2
    }
}
