//! Where a run's store lies: a SQLite file, or servers that the run starts itself, with a proxy before them where the
//! network is to fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tidemill::job::JobId;
use tidemill_testkit::{Fsync, Proxy, RedisServer, Sentinels};

/// What is wrong with the keys, found by the server itself.
const AUDIT: &str = include_str!("place/audit.lua");
/// Keys deleted by hand.
const DELETE: &str = include_str!("place/delete.lua");

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// The embedded one.
    Sqlite,
    /// A `redis-server` of the run's own.
    Redis,
}

impl StoreKind {
    /// Its one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
        }
    }
}

/// A run's store.
#[derive(Debug)]
pub struct Place {
    url: String,
    fsync: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    File { file: PathBuf, mounted: Option<PathBuf> },
    // The proxy first: it is let go before what it leads to.
    Server { proxy: Option<Proxy>, server: Box<RedisServer> },
    Set(Box<Sentinels>),
}

impl Place {
    /// A SQLite file below `dir`; with `megabytes` on a file system of its own that is no larger.
    ///
    /// # Errors
    /// When the file system can't be mounted.
    pub fn sqlite(dir: &Path, megabytes: Option<u32>) -> anyhow::Result<Self> {
        let folder = dir.join("store");
        std::fs::create_dir_all(&folder)?;
        if let Some(megabytes) = megabytes {
            let size = format!("size={megabytes}m");
            let mount =
                Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tidemill-faults"]).arg(&folder).output();
            let mount = mount.context("run `mount`")?;
            ensure!(mount.status.success(), "mount a tmpfs: {}", String::from_utf8_lossy(&mount.stderr).trim());
        }
        let file = folder.join("queue.db");
        let url = format!("sqlite:{}", file.display());
        Ok(Self { url, fsync: false, kind: Kind::File { file, mounted: megabytes.map(|_| folder) } })
    }

    /// A server with the append-only file: synced with every write, or each second.
    pub fn redis(fsync: bool) -> Self {
        let appendfsync = if fsync { Fsync::Always } else { Fsync::Everysec };
        let server = RedisServer::with().appendfsync(appendfsync).start();
        Self { url: packing(&server.url()), fsync, kind: Kind::Server { proxy: None, server: Box::new(server) } }
    }

    /// A server behind a proxy; all processes of the run go through it.
    pub fn redis_behind_proxy() -> Self {
        let server = RedisServer::start();
        let proxy = Proxy::to_port(server.port());
        let url = packing(&format!("redis://127.0.0.1:{}", proxy.port()));
        Self { url, fsync: false, kind: Kind::Server { proxy: Some(proxy), server: Box::new(server) } }
    }

    /// A master, two replicas, three sentinels.
    pub fn sentinels() -> Self {
        let set = Sentinels::start();
        Self { url: packing(&set.url()), fsync: false, kind: Kind::Set(Box::new(set)) }
    }

    /// How processes open it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Processes shall ask for `durability = "fsync"`.
    pub fn fsync(&self) -> bool {
        self.fsync
    }

    /// The embedded store's file.
    ///
    /// # Errors
    /// When it is another store.
    pub fn file(&self) -> anyhow::Result<&Path> {
        match &self.kind {
            Kind::File { file, .. } => Ok(file),
            Kind::Server { .. } | Kind::Set(_) => anyhow::bail!("a server has no file of ours"),
        }
    }

    /// The server that answers now.
    ///
    /// # Errors
    /// When it is the embedded store.
    pub fn server(&self) -> anyhow::Result<&RedisServer> {
        match &self.kind {
            Kind::Server { server, .. } => Ok(server),
            Kind::Set(set) => Ok(set.master()),
            Kind::File { .. } => anyhow::bail!("a file has no server"),
        }
    }

    /// The proxy before the server.
    ///
    /// # Errors
    /// When there is none.
    pub fn proxy(&self) -> anyhow::Result<&Proxy> {
        match &self.kind {
            Kind::Server { proxy: Some(proxy), .. } => Ok(proxy),
            _ => anyhow::bail!("no proxy was asked for"),
        }
    }

    /// The set of servers.
    ///
    /// # Errors
    /// When there is none.
    pub fn set(&self) -> anyhow::Result<&Sentinels> {
        match &self.kind {
            Kind::Set(set) => Ok(set),
            _ => anyhow::bail!("no set was asked for"),
        }
    }

    /// Deletes keys by hand, as no process of ours would: how many entries of indexes that was, and which jobs.
    ///
    /// # Errors
    /// When there is no server.
    pub fn delete_keys(&self) -> anyhow::Result<(u64, Vec<JobId>)> {
        let answer: Vec<String> = self.server()?.try_command(&["EVAL", DELETE, "0"])?;
        let [gone, jobs @ ..] = &answer[..] else { anyhow::bail!("the script has answered nothing") };
        let jobs = jobs.iter().map(|id| Ok(id.parse()?)).collect::<anyhow::Result<_>>()?;
        Ok((gone.parse()?, jobs))
    }

    /// What an inspection of the file or of the keys finds wrong.
    ///
    /// # Errors
    /// When it can't be inspected.
    pub fn inspect(&self) -> anyhow::Result<Vec<String>> {
        let Kind::File { file, .. } = &self.kind else {
            return Ok(self.server()?.try_command(&["EVAL", AUDIT, "0"])?);
        };
        let conn = rusqlite::Connection::open(file)?;
        let mut check = conn.prepare("pragma integrity_check")?;
        let lines = check.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Kind::File { mounted: Some(folder), .. } = &self.kind {
            // A mount that stays is seen in the folder's removal, which fails.
            drop(Command::new("umount").arg(folder).status());
        }
    }
}

/// The same store, where already two jobs that come together are kept together.
fn packing(url: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}pack_from=2")
}
